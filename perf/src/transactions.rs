//! Requests with their responses, and connections of one request each.

use crate::channel::Channel;
use crate::connection::check;
use crate::connector::Dialer;
use crate::datagrams::{Header, Numbers, check_payload, count, welcome_again, write_payload};
use crate::failure::Failure;
use crate::pattern;
use crate::tally::Tally;
use bytes::Bytes;
use netsocket::UdpSocket;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::consume_budget;
use tokio::time::{Instant, timeout};

/// The sizes of a request and its response, and whether each byte of both is compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) request: usize,
    pub(crate) response: usize,
    pub(crate) verify: bool,
}

/// How long a datagram's response may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);
const NUMBERS: Numbers = Numbers::Long;

/// Asks over a connection, again and again.
pub(crate) async fn ask(
    channel: &mut Channel,
    tally: &Tally,
    exchange: Exchange,
) -> Result<(), Failure> {
    let mut talk = Talk::new(exchange);
    loop {
        if channel.has_messages() {
            talk = Talk::new(exchange);
        }
        talk.ask(channel, tally, Instant::now()).await?;
        consume_budget().await;
    }
}

/// Answers on a connection, to its end.
pub(crate) async fn answer(
    channel: &mut Channel,
    tally: &Tally,
    exchange: Exchange,
) -> Result<(), Failure> {
    let mut talk = Talk::new(exchange);
    while talk.answer(channel, tally).await? {
        consume_budget().await;
    }
    Ok(())
}

/// Connects, asks and closes, again and again.
pub(crate) async fn connect(
    dialer: &Dialer,
    tally: &Tally,
    exchange: Exchange,
) -> Result<(), Failure> {
    loop {
        let start = Instant::now();
        let mut channel = dialer.connection().await?;
        Talk::new(exchange).ask(&mut channel, tally, start).await?;
        // The server closes first, so that the ports of this end are free again.
        if !channel.recv_bytes(1).await.map_err(Failure::io("receiving"))?.is_empty() {
            return Err(Failure::Protocol("more than a response".into()));
        }
    }
}

/// Answers the one request of a connection, and closes it.
pub(crate) async fn answer_once(
    channel: &mut Channel,
    tally: &Tally,
    exchange: Exchange,
) -> Result<(), Failure> {
    Talk::new(exchange).answer(channel, tally).await?;
    // A client that has left needs no end of the stream.
    let _ = channel.finish().await;
    // Its end, without which this one would be a reset.
    let _ = timeout(PATIENCE, channel.recv_bytes(1)).await;
    Ok(())
}

/// The direction of a message.
#[derive(Clone, Copy)]
enum Way {
    There,
    Back,
}

/// How far a connection has come in both directions.
struct Talk {
    exchange: Exchange,
    /// What is sent if nobody compares it.
    zeros: Bytes,
    there: u64,
    back: u64,
}

impl Talk {
    fn new(exchange: Exchange) -> Self {
        let zeros = Bytes::from(vec![0; exchange.request.max(exchange.response)]);
        Self { exchange, zeros, there: 0, back: 0 }
    }

    fn bytes(&self) -> u64 {
        (self.exchange.request + self.exchange.response) as u64
    }

    /// Sends a request and receives its response, and counts the time since `start`.
    async fn ask(
        &mut self,
        channel: &mut Channel,
        tally: &Tally,
        start: Instant,
    ) -> Result<(), Failure> {
        self.send(channel, self.exchange.request, Way::There).await?;
        if !self.receive(channel, self.exchange.response, Way::Back).await? {
            return Err(Failure::Protocol("the end of a stream before a response".into()));
        }
        tally.count(|counts| counts.bytes += self.bytes());
        tally.count_time(start.elapsed());
        Ok(())
    }

    /// Answers the next request; whether there was one.
    async fn answer(&mut self, channel: &mut Channel, tally: &Tally) -> Result<bool, Failure> {
        if !self.receive(channel, self.exchange.request, Way::There).await? {
            return Ok(false);
        }
        self.send(channel, self.exchange.response, Way::Back).await?;
        tally.count(|counts| {
            counts.bytes += self.bytes();
            counts.transactions += 1;
        });
        Ok(true)
    }

    fn place(&mut self, way: Way) -> &mut u64 {
        match way {
            Way::There => &mut self.there,
            Way::Back => &mut self.back,
        }
    }

    async fn send(&mut self, channel: &mut Channel, len: usize, way: Way) -> Result<(), Failure> {
        let place = *self.place(way);
        let message = match self.exchange.verify {
            true => pattern::bytes(place, len),
            false => self.zeros.slice(..len),
        };
        *self.place(way) += len as u64;
        channel.send_bytes(message).await.map_err(Failure::io("sending"))
    }

    /// Whether there was a message, and not the end of the stream before it.
    async fn receive(
        &mut self,
        channel: &mut Channel,
        len: usize,
        way: Way,
    ) -> Result<bool, Failure> {
        let mut left = len;
        while left > 0 {
            let piece = channel.recv_bytes(left).await.map_err(Failure::io("receiving"))?;
            match piece.len() {
                0 if left == len => return Ok(false),
                0 => return Err(Failure::Protocol("the end of a stream in a message".into())),
                _ => {}
            }
            if self.exchange.verify {
                check(*self.place(way), &piece)?;
            }
            *self.place(way) += piece.len() as u64;
            left -= piece.len();
        }
        Ok(true)
    }
}

/// Asks with datagrams, again and again; who does not answer in time is asked the next.
pub(crate) async fn ask_datagrams(
    socket: &UdpSocket,
    tally: &Tally,
    exchange: Exchange,
) -> Result<(), Failure> {
    let mut request = vec![0; exchange.request];
    for number in 1.. {
        if exchange.verify {
            write_payload(number, &mut request, NUMBERS);
        }
        Header::now(number).write(&mut request, NUMBERS);
        let start = Instant::now();
        socket.send(&request).await.map_err(Failure::io("sending a datagram"))?;
        match timeout(PATIENCE, response(socket, number)).await {
            Ok(response) => {
                let response = response.map_err(Failure::io("receiving a datagram"))?;
                if exchange.verify {
                    check_payload(number, &response, NUMBERS)?;
                }
                tally.count(|counts| counts.bytes += (request.len() + response.len()) as u64);
                tally.count_time(start.elapsed());
            }
            Err(_) => tally.count(|counts| counts.timeouts += 1),
        }
        consume_budget().await;
    }
    Ok(())
}

/// The response with this number; those that came too late are not.
async fn response(socket: &UdpSocket, number: u64) -> io::Result<Bytes> {
    loop {
        let (datagram, _) = socket.recv_bytes_from().await?;
        if Header::read(&datagram, NUMBERS).is_some_and(|header| header.number == number) {
            return Ok(datagram);
        }
    }
}

/// Answers the datagrams of all streams that come to a socket, for ever.
pub(crate) async fn answer_datagrams(
    socket: &UdpSocket,
    streams: &HashMap<SocketAddr, Arc<Tally>>,
    exchange: Exchange,
) -> Result<(), Failure> {
    let mut response = vec![0; exchange.response];
    loop {
        let received = socket.recv_bytes_from().await;
        let (datagram, peer) = received.map_err(Failure::io("receiving datagrams"))?;
        welcome_again(socket, &datagram, peer);
        let Some(tally) = streams.get(&peer) else { continue };
        let Some(header) = Header::read(&datagram, NUMBERS) else { continue };
        if exchange.verify {
            check_payload(header.number, &datagram, NUMBERS)?;
            write_payload(header.number, &mut response, NUMBERS);
        }
        header.write(&mut response, NUMBERS);
        count(tally, header, &datagram);
        tally.count(|counts| counts.transactions += 1);
        // What finds no room is lost, as on any link.
        let _ = socket.try_send_to(&response, peer);
        consume_budget().await;
    }
}
