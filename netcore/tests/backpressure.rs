//! Flow control with a reader that does not read.

mod harness;

use harness::{Pair, Side, read};
use netcore::{Config, Error, TcpConfig, tcp};
use std::task::Waker;
use std::time::Duration;

#[test]
fn writer_is_blocked_at_the_bounds_of_an_unread_stream() {
    let config = Config {
        tcp: TcpConfig {
            recv_buffer_bytes: 64 * 1024,
            recv_buffer_bytes_max: 64 * 1024,
            send_buffer_bytes: 64 * 1024,
            send_buffer_bytes_max: 64 * 1024,
            stream_queue_bytes: 32 * 1024,
            ..TcpConfig::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::with(config, 1500);
    let (near, far, listener) = pair.connected();

    let mut written = 0u32;
    while let Ok(n) = near.try_send(&counted(written, 1000)) {
        written += n as u32;
        pair.run();
    }

    assert_eq!(near.try_send(b"x"), Err(Error::WouldBlock));
    assert!(written <= 2 * (64 + 32) * 1024, "{written} bytes were taken");
    assert!(near.poll_writable(&mut Default::default(), Waker::noop()).is_pending());
    let mut received = 0;
    pair.advance_until(|_| {
        while let Ok(bytes) = read(&far, 5000) {
            assert!(bytes == counted(received, bytes.len()), "at byte {received}");
            received += bytes.len() as u32;
        }
        received == written
    });
    assert!(near.poll_writable(&mut Default::default(), Waker::noop()).is_ready());
    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn zero_window_reopens_after_a_long_time() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let mut written = 0u32;
    while let Ok(n) = near.try_send(&counted(written, 60_000)) {
        written += n as u32;
        pair.run();
    }

    pair.advance(Duration::from_secs(2000));
    let mut received = 0;
    pair.advance_until(|_| {
        while let Ok(bytes) = read(&far, 70_000) {
            assert!(bytes == counted(received, bytes.len()), "at byte {received}");
            received += bytes.len() as u32;
        }
        received == written
    });

    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

#[test]
fn small_writes_and_large_ones_keep_their_order() {
    let mut pair = Pair::new();
    let (near, far, listener) = pair.connected();
    let (mut written, mut received) = (0u32, 0u32);

    for size in [1, 2000, 1, 1, 70_000, 3, 16_384, 4096, 4095, 1] {
        assert_eq!(near.try_send(&counted(written, size)), Ok(size));
        written += size as u32;
    }
    pair.advance_until(|_| {
        while let Ok(chunk) = far.try_recv_bytes(usize::MAX) {
            assert!(chunk == counted(received, chunk.len()), "at byte {received}");
            received += chunk.len() as u32;
        }
        received == written
    });

    near.close();
    far.close();
    pair.call(Side::Far, Some(listener), tcp::Command::Close).expect("a listener");
}

/// Bytes that say where in the stream they belong.
fn counted(start: u32, len: usize) -> Vec<u8> {
    (start..start + len as u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}
