//! Sending messages and waiting for answers.

use super::super::message::{self, Answer, Query, SERVER_PORT};
use super::Session;
use crate::provided::is_end;
use crate::wire::DhcpMessageType;
use bytes::Bytes;
use std::convert::Infallible;
use std::future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;
use tokio::time::Instant;

/// The longest message that is taken on a link of any MTU, which every host takes (RFC 2131
/// section 2).
const MESSAGE_BYTES_MIN: usize = 576;
const MESSAGE_BYTES_MAX: usize = 1500;

/// Result of waiting for an answer.
pub(super) enum Heard<T> {
    Answer(T),
    Nothing,
    /// The stack may be on another link now.
    Moved,
}

/// Result of waiting for a message.
enum Received {
    Message(Bytes, SocketAddr),
    Nothing,
    Moved,
}

impl Session {
    /// A message of this type with the fields that all have in common.
    pub(super) fn query(&self, kind: DhcpMessageType) -> Query {
        let mtu = self.client.context.net.network().link.mtu;
        Query {
            kind,
            transaction: 0,
            elapsed: self.now() - self.began,
            own: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
            bytes_max: mtu.clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX) as u16,
        }
    }

    /// Sends a message. A failure to send counts as a lost message.
    pub(super) async fn send(&self, query: Query, to: Ipv4Addr) -> io::Result<()> {
        let message = query.write(&self.identity);
        match self.socket.send_to(&message, (to, SERVER_PORT)).await {
            Err(error) if is_end(&error) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "a message to the server was not sent");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }

    /// Waits for an answer that `wanted` takes, for a while.
    pub(super) async fn answer<T>(
        &mut self,
        transaction: u32,
        until: Option<Instant>,
        wanted: impl Fn(Answer) -> Option<T>,
    ) -> io::Result<Heard<T>> {
        // However many come: a flood does not hold the time up.
        while until.is_none_or(|until| self.now() < until) {
            let (bytes, from) = match self.receive(until).await {
                Ok(Received::Message(bytes, from)) => (bytes, from),
                Ok(Received::Nothing) => break,
                Ok(Received::Moved) => return Ok(Heard::Moved),
                Err(error) if is_end(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, "a message to the server was lost");
                    continue;
                }
            };
            let own = self.identity.hardware_address;
            match message::read(&bytes, transaction, own, &mut self.client.random) {
                Ok(answer) => {
                    if let Some(wanted) = wanted(answer) {
                        return Ok(Heard::Answer(wanted));
                    }
                }
                Err(reason) => tracing::debug!(%from, reason, "a message was ignored"),
            }
        }
        Ok(Heard::Nothing)
    }

    /// Waits for a message, the time, or a sign that the stack may be somewhere else now.
    async fn receive(&mut self, until: Option<Instant>) -> io::Result<Received> {
        let Self { client, socket, moves, .. } = self;
        let clock = &client.context.clock;
        let mut moved = pin!(moves.next());
        let mut received = pin!(socket.recv_bytes_from());
        let mut timer = pin!(async {
            match until {
                Some(until) => clock.sleep_until(until).await,
                None => future::pending().await,
            }
        });
        future::poll_fn(|cx| {
            if let Poll::Ready(moved) = moved.as_mut().poll(cx) {
                return Poll::Ready(moved.map(|()| Received::Moved).map_err(io::Error::from));
            }
            if let Poll::Ready(received) = received.as_mut().poll(cx) {
                return Poll::Ready(received.map(|(bytes, from)| Received::Message(bytes, from)));
            }
            timer.as_mut().poll(cx).map(|()| Ok(Received::Nothing))
        })
        .await
    }

    /// Waits; answers that arrive in the meantime are ignored.
    pub(super) async fn wait_until(
        &mut self,
        until: Option<Instant>,
    ) -> io::Result<Heard<Infallible>> {
        self.answer(0, until, |_| None).await
    }
}
