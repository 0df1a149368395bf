//! A bulk transfer does not starve other connections.

mod harness;

use bytes::Bytes;
use harness::{Pair, Side, read};
use netcore::Medium;
use netcore::{Config, Frame, Link, LinkCapabilities, Offload, Slot, TcpConfig, tcp};
use std::time::Duration;

/// A link that keeps what is sent.
#[derive(Default)]
struct Sent(Vec<Bytes>);

impl Link for Sent {
    type Slot<'a> = &'a mut Self;

    fn capabilities(&self) -> LinkCapabilities {
        LinkCapabilities::new(Medium::Ip, 1500)
    }

    fn receive(&mut self) -> Option<Frame> {
        None
    }

    fn transmit(&mut self) -> Option<Self::Slot<'_>> {
        Some(self)
    }
}

impl Slot for &mut Sent {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let mut frame = vec![0; len];
        let (result, _) = fill(&mut frame);
        self.0.push(frame.into());
        result
    }
}

#[test]
fn bulk_connection_does_not_starve_the_others() {
    let tcp = TcpConfig {
        recv_buffer_bytes: 640 * 1024,
        send_buffer_bytes: 640 * 1024,
        ..TcpConfig::default()
    };
    let mut pair = Pair::with(Config { tcp, ..Config::default() }, 1500);
    let (bulk, bulk_far, listener) = pair.connected();
    let small = pair.connect(Side::Near, "10.0.0.2:80").expect("a listener");
    let small_far = pair.accept(Side::Far, listener).expect("a connection");
    // Until the congestion window exceeds the send buffer.
    for _ in 0..20 {
        bulk.try_send(&[1; 200_000]).expect("room");
        pair.advance(Duration::from_millis(100));
        assert_eq!(read(&bulk_far, 300_000).map(|bytes| bytes.len()), Ok(200_000));
    }

    bulk.try_send(&[1; 200_000]).expect("room");
    small.try_send(b"hello").expect("room");
    let mut sent = Sent::default();
    pair.near.stack.poll_link(pair.now, &mut sent);

    let bulk_bytes: usize = sent.0.iter().map(Bytes::len).filter(|len| *len > 100).sum();
    assert!((60_000..=64 * 1024 + 1500).contains(&bulk_bytes), "{bulk_bytes} bytes in one round");
    assert!(sent.0.iter().any(|frame| frame.ends_with(b"hello")));

    // The recorded packets are lost on the wire and retransmitted.
    pair.advance(Duration::from_secs(10));
    let mut received = 0;
    while let Ok(bytes) = read(&bulk_far, 300_000) {
        received += bytes.len();
        pair.advance(Duration::from_secs(10));
    }
    assert_eq!(received, 200_000);
    assert_eq!(read(&small_far, 10), Ok(b"hello".to_vec()));
    for stream in [bulk, bulk_far, small, small_far] {
        stream.close();
    }
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}
