//! Waiting for a datagram without a copy of the near end.
#![cfg(target_os = "linux")]

use netfd::Mode;
use std::io::ErrorKind;
use std::sync::Arc;

#[tokio::test]
async fn a_socket_says_when_a_datagram_has_arrived() {
    let (near, far) = netstack::pair().expect("a runtime");
    let socket = near.net().udp_bind("10.0.0.1:0").await.expect("a free port");
    let to = socket.local_addr().expect("it is bound");
    let (fd, end) = netfd::datagram_pair(Mode::Nonblocking).expect("descriptors");
    let datagrams = end.attach(Arc::new(socket));
    let serving = tokio::spawn({
        let datagrams = datagrams.clone();
        async move { datagrams.serve().await }
    });
    let peer = far.net().udp_bind("10.0.0.2:0").await.expect("a free port");
    let mut buf = [0; 8];

    for i in 0..10 {
        let arrival = datagrams.arrival();
        let none = datagrams.try_recv_from(&fd, &mut buf).map_err(|error| error.kind());
        assert_eq!(none.err(), Some(ErrorKind::WouldBlock));
        peer.send_to(&[i], to).await.expect("a receiver");
        assert!(arrival.await);
        let (n, from) = datagrams.try_recv_from(&fd, &mut buf).expect("it has arrived");
        assert_eq!((&buf[..n], from), (&[i][..], peer.local_addr().expect("it is bound")));
    }

    let arrival = datagrams.arrival();
    drop(fd);
    assert!(!arrival.await, "none will come");
    assert!(!datagrams.arrival().await, "none will come");
    serving.await.expect("no panic").expect("a stack");
}
