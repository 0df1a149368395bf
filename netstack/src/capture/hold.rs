//! Frames that wait for the secrets of their TLS connection.
//!
//! Wireshark reads a file from its beginning, and needs a secret of TLS 1.3 before the ServerHello that
//! it decrypts behind. A client logs it when it has read that, a moment after the frame has arrived.

use crate::tap::Headers;
use crate::wire::IpProtocol;
use netcore::Medium;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// The frames with a ServerHello in a buffer, in order, and where each begins.
#[derive(Debug, Default)]
pub(super) struct Hold(VecDeque<(usize, Instant)>);

/// How long such a frame stays in the buffer, and those behind it.
const HOLD: Duration = Duration::from_millis(100);
/// Further ones are not waited for.
const HOLDS_MAX: usize = 1024;
/// A record with a handshake message (RFC 8446 section 5.1), and the type of ServerHello.
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
/// The length of a record's header.
const RECORD_HEADER: usize = 5;

impl Hold {
    /// A frame that begins here in the buffer has come from the peer.
    pub(super) fn received(&mut self, offset: usize, at: Instant, frame: &[u8], medium: Medium) {
        if self.0.len() < HOLDS_MAX && has_server_hello(frame, medium) == Some(true) {
            self.0.push_back((offset, at));
        }
    }

    /// Up to where a buffer of `len` bytes may be written.
    pub(super) fn limit(&mut self, now: Instant, len: usize) -> usize {
        while self.0.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) >= HOLD) {
            self.0.pop_front();
        }
        self.0.front().map_or(len, |(offset, _)| *offset)
    }

    /// So many bytes in front were written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.0.retain_mut(|(offset, _)| {
            let is_left = *offset >= bytes;
            *offset = offset.saturating_sub(bytes);
            is_left
        });
    }

    /// So many bytes were inserted in front of all frames that are left.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.0.iter_mut().for_each(|(offset, _)| *offset += bytes);
    }
}

/// Whether the payload of a segment begins with a ServerHello; `None` if it is no such segment.
fn has_server_hello(frame: &[u8], medium: Medium) -> Option<bool> {
    let headers = Headers::parse(frame, medium)?;
    if headers.protocol != IpProtocol::Tcp {
        return None;
    }
    let offset = usize::from(*headers.transport.get(12)? >> 4) * 4;
    let payload = headers.transport.get(offset..)?;
    Some(*payload.first()? == HANDSHAKE && *payload.get(RECORD_HEADER)? == SERVER_HELLO)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet with this at the beginning of a segment's payload.
    pub(super) fn segment(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[9], packet[32]) = (0x45, 6, 5 << 4);
        packet.extend_from_slice(payload);
        packet
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_hello_and_all_behind_it_wait_for_a_moment() {
        let (mut hold, now) = (Hold::default(), Instant::now());
        hold.received(10, now, &segment(b"HTTP/1.1 200 OK"), Medium::Ip);
        assert_eq!(hold.limit(now, 500), 500);

        hold.received(100, now, &segment(&[22, 3, 3, 0, 90, 2, 0]), Medium::Ip);
        assert_eq!(hold.limit(now, 500), 100);
        hold.moved(20);
        assert_eq!(hold.limit(now, 520), 120);
        hold.written(120);
        assert_eq!(hold.limit(now, 400), 0);
        assert_eq!(hold.limit(now + HOLD, 400), 400);
    }

    #[test]
    fn frames_cut_anywhere_are_looked_at() {
        let whole = segment(&[22, 3, 3, 0, 90, 2, 0]);
        for len in 0..whole.len() {
            let found = has_server_hello(&whole[..len], Medium::Ip);
            assert_eq!(found == Some(true), len > 45, "{len}");
        }
    }
}
