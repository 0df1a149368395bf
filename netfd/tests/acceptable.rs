//! Waiting for a connection to accept, without a copy of the near end.
#![cfg(target_os = "linux")]

use netfd::Mode;
use std::io::ErrorKind;
use std::sync::Arc;

#[tokio::test]
async fn a_listener_says_when_there_is_a_connection_to_accept() {
    let (near, far) = netstack::pair().expect("a runtime");
    let listener = far.net().tcp_listen("0.0.0.0:80").await.expect("a free port");
    let (fd, end) = netfd::stream_pair(Mode::Nonblocking).expect("descriptors");
    let backlog = end.listen(listener, &fd).expect("a near end");
    let serving = tokio::spawn({
        let backlog = backlog.clone();
        async move { backlog.serve().await }
    });
    let waiting = tokio::spawn({
        let backlog = backlog.clone();
        async move { backlog.acceptable().await }
    });

    let client = near.net().tcp_connect("10.0.0.2:80").await.expect("a listener");

    assert!(waiting.await.expect("no panic"));
    let (stream, peer) = backlog.try_accept(&fd).expect("a connection");
    assert_eq!(client.local_addr().ok(), Some(peer));
    backlog.put_back(stream, peer);
    assert!(backlog.acceptable().await, "it is given back");
    drop(backlog.try_accept(&fd).expect("a connection"));
    let none = backlog.try_accept(&fd).map_err(|error| error.kind()).err();
    assert_eq!(none, Some(ErrorKind::WouldBlock));

    let waiting = tokio::spawn({
        let backlog = Arc::clone(&backlog);
        async move { backlog.acceptable().await }
    });
    drop(fd);
    serving.await.expect("no panic").expect("a stack");
    assert!(!waiting.await.expect("no panic"), "none will come");
}
