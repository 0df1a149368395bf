//! Messages of a SOCKS5 client: any bytes, over a connection and in a datagram.

use proxy::socks5::{Host, Target, datagram, parse_datagram, read_methods, read_request};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Reads `data` as a client's connection and as its datagram.
///
/// What is taken is an address or a name that is safe to print and to resolve; a datagram has the payload
/// that it was made with.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn socks5(data: &[u8]) {
    let mut rest = data;
    if let Ok((_, may)) = now(read_methods(&mut rest)) {
        assert!(!may || data.contains(&0));
        if let Ok(Ok((_, target))) = now(read_request(&mut rest)) {
            check(&target);
        }
    }
    if let Ok(Ok((_, target))) = now(read_request(&mut &data[..])) {
        check(&target);
    }
    if let Some((target, payload)) = parse_datagram(data) {
        check(&target);
        assert!(data.ends_with(payload));
        if let Host::Ip(address) = target.host {
            let again = datagram(SocketAddr::new(address, target.port), payload);
            assert_eq!(parse_datagram(&again), Some((target, payload)));
        }
    }
}

fn check(target: &Target) {
    if let Host::Name(name) = &target.host {
        assert!((1..=255).contains(&name.len()), "{name:?}");
        assert!(!name.contains(|c: char| c.is_control() || c.is_whitespace()), "{name:?}");
    }
    let text = target.to_string();
    let (_, port) = text.rsplit_once(':').expect("a port");
    assert_eq!(port.parse(), Ok(target.port));
}

/// What is read from bytes that are all there.
fn now<T>(read: impl Future<Output = T>) -> T {
    match pin!(read).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => unreachable!("bytes do not wait"),
    }
}
