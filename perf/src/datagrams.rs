//! Streams of UDP: numbered datagrams with the time of their departure.

use crate::connection::{Sending, check};
use crate::failure::Failure;
use crate::pacer::Pacer;
use crate::pattern;
use crate::tally::{Budget, Tally};
use bytes::Bytes;
use netsocket::UdpSocket;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::consume_budget;
use tokio::time::timeout;

/// How many bytes the number of a datagram has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    Short,
    Long,
}

impl Numbers {
    /// The bytes before the payload: the time and the number.
    pub(crate) fn header_bytes(self) -> usize {
        match self {
            Self::Short => 12,
            Self::Long => 16,
        }
    }
}

/// What a datagram begins with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Header {
    pub(crate) number: u64,
    /// Since 1970, by the sender's clock.
    pub(crate) sent: Duration,
}

impl Header {
    pub(crate) fn now(number: u64) -> Self {
        Self { number, sent: now() }
    }

    /// The header of a datagram, if that is long enough.
    pub(crate) fn read(datagram: &[u8], numbers: Numbers) -> Option<Self> {
        let (time, number) = datagram.split_at_checked(8)?;
        let seconds = u32::from_be_bytes(*time.first_chunk()?);
        let micros = u32::from_be_bytes(*time.last_chunk()?);
        let number = match numbers {
            Numbers::Short => u32::from_be_bytes(*number.first_chunk()?).into(),
            Numbers::Long => u64::from_be_bytes(*number.first_chunk()?),
        };
        let sent = Duration::from_secs(seconds.into()) + Duration::from_micros(micros.into());
        Some(Self { number, sent })
    }

    /// Writes the header at the beginning of a datagram that has room for it.
    pub(crate) fn write(self, datagram: &mut [u8], numbers: Numbers) {
        // iperf3's clock has 32 bits, and so has its number where it is short.
        datagram[..4].copy_from_slice(&(self.sent.as_secs() as u32).to_be_bytes());
        datagram[4..8].copy_from_slice(&self.sent.subsec_micros().to_be_bytes());
        match numbers {
            Numbers::Short => datagram[8..12].copy_from_slice(&(self.number as u32).to_be_bytes()),
            Numbers::Long => datagram[8..16].copy_from_slice(&self.number.to_be_bytes()),
        }
    }
}

/// With it the client announces a stream, and these four bytes are never data.
const ANNOUNCEMENT: [u8; 4] = *b"9876";
/// With it the server takes the stream.
const WELCOME: [u8; 4] = *b"6789";
/// That of older versions: 987654321.
const OLD_WELCOME: [u8; 4] = 987_654_321_u32.to_le_bytes();

/// Announces a stream to the server until it takes it. iperf3 announces it once; another one makes no
/// difference to it, since these bytes are too few for a datagram of a test.
pub(crate) async fn announce(socket: &UdpSocket) -> Result<(), Failure> {
    const TRIES: usize = 20;
    const PATIENCE: Duration = Duration::from_millis(500);
    let failed = || Failure::io("announcing a stream");
    for _ in 0..TRIES {
        socket.send(&ANNOUNCEMENT).await.map_err(failed())?;
        let answered = timeout(PATIENCE, async {
            loop {
                let (answer, _) = socket.recv_bytes_from().await?;
                // In a test where the server sends, its data may overtake this.
                if [WELCOME, OLD_WELCOME].iter().any(|welcome| answer[..] == welcome[..]) {
                    return io::Result::Ok(());
                }
            }
        });
        match answered.await {
            Ok(answer) => return answer.map_err(failed()),
            Err(_) => continue,
        }
    }
    Err(Failure::Silent("it does not take a stream of datagrams"))
}

/// Takes the next stream that is announced and not one of `known`.
pub(crate) async fn welcome(
    socket: &UdpSocket,
    is_known: impl Fn(SocketAddr) -> bool,
) -> io::Result<SocketAddr> {
    loop {
        let (datagram, peer) = socket.recv_bytes_from().await?;
        if is_announcement(&datagram) {
            socket.send_to(&WELCOME, peer).await?;
            if !is_known(peer) {
                return Ok(peer);
            }
        }
    }
}

/// Whether a client announces a stream: with any four bytes, as iperf3's servers take it.
fn is_announcement(datagram: &[u8]) -> bool {
    datagram.len() == ANNOUNCEMENT.len()
}

/// Sends datagrams until the budget is spent.
pub(crate) async fn send(
    socket: &UdpSocket,
    peer: SocketAddr,
    tally: &Tally,
    budget: &Budget,
    sending: &Sending,
    numbers: Numbers,
) -> io::Result<()> {
    let mut datagram = vec![0; sending.block_bytes.max(numbers.header_bytes())];
    let mut pacer = Pacer::new(sending.rate);
    for number in 1.. {
        if budget.take(datagram.len()) == 0 {
            break;
        }
        pacer.wait(datagram.len()).await;
        if sending.verify {
            write_payload(number, &mut datagram, numbers);
        }
        Header::now(number).write(&mut datagram, numbers);
        socket.send_to(&datagram, peer).await?;
        tally.count(|counts| {
            counts.bytes += datagram.len() as u64;
            counts.datagrams += 1;
        });
        consume_budget().await;
    }
    Ok(())
}

/// Receives the datagrams of all streams that come to a socket, for ever.
pub(crate) async fn receive(
    socket: &UdpSocket,
    streams: &HashMap<SocketAddr, Arc<Tally>>,
    budget: &Budget,
    verify: bool,
    numbers: Numbers,
) -> Result<(), Failure> {
    loop {
        let received = socket.recv_bytes_from().await;
        let (datagram, peer) = received.map_err(Failure::io("receiving datagrams"))?;
        welcome_again(socket, &datagram, peer);
        // Others may send to this port, too.
        let Some(tally) = streams.get(&peer) else { continue };
        let Some(header) = Header::read(&datagram, numbers) else { continue };
        if verify {
            check_payload(header.number, &datagram, numbers)?;
        }
        count(tally, header, &datagram);
        budget.take(datagram.len());
        consume_budget().await;
    }
}

/// Answers an announcement whose answer was lost.
pub(crate) fn welcome_again(socket: &UdpSocket, datagram: &[u8], peer: SocketAddr) {
    if is_announcement(datagram) {
        // It comes again if this one is lost, too.
        let _ = socket.try_send_to(&WELCOME, peer);
    }
}

pub(crate) fn count(tally: &Tally, header: Header, datagram: &Bytes) {
    let transit = now().as_secs_f64() - header.sent.as_secs_f64();
    tally.count(|counts| {
        counts.bytes += datagram.len() as u64;
        counts.datagrams += 1;
        counts.arrivals.count(header.number, transit);
    });
}

/// The payload of a datagram by its number, behind its header.
pub(crate) fn write_payload(number: u64, datagram: &mut [u8], numbers: Numbers) {
    pattern::fill(payload_start(number), &mut datagram[numbers.header_bytes()..]);
}

/// That the payload is the one of this number.
pub(crate) fn check_payload(number: u64, datagram: &[u8], numbers: Numbers) -> Result<(), Failure> {
    let payload = datagram.get(numbers.header_bytes()..).unwrap_or_default();
    check(payload_start(number), payload).map_err(|error| match error {
        Failure::Corrupt(what) => Failure::Corrupt(format!("datagram {number}: {what}")),
        other => other,
    })
}

/// No datagram is longer than 64 KiB.
fn payload_start(number: u64) -> u64 {
    number << 16
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for numbers in [Numbers::Short, Numbers::Long] {
            let header = Header { number: 77, sent: Duration::from_micros(1_700_000_000_123_456) };
            let mut datagram = [0; 16];
            header.write(&mut datagram, numbers);
            assert_eq!(Header::read(&datagram, numbers), Some(header));
            assert_eq!(Header::read(&datagram[..numbers.header_bytes() - 1], numbers), None);
        }
    }

    #[test]
    fn a_payload_of_another_datagram_is_a_mistake() {
        let mut datagram = vec![0; 65_507];
        for number in [1, u64::MAX] {
            write_payload(number, &mut datagram, Numbers::Long);
            assert!(check_payload(number, &datagram, Numbers::Long).is_ok());
        }
        assert!(check_payload(1, &datagram, Numbers::Long).is_err());
        assert!(check_payload(1, &[], Numbers::Long).is_ok());
    }
}
