//! Much data through two descriptors.

use netfd::{Mode, StreamEnd};
use netsocket::TcpStream;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use tokio::task::JoinHandle;

const LEN: usize = 10_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_there_and_back() {
    let (near, far) = netstack::pair().expect("a runtime");
    let listener = far.net().tcp_listen("[::]:80").await.expect("a free port");
    let (client_fd, client_end) = netfd::stream_pair(Mode::Blocking).expect("descriptors");
    let connecting = client_end.connecting(&client_fd).expect("a near end");
    let (client, accepted) = tokio::join!(near.net().tcp_connect("10.0.0.2:80"), listener.accept());
    let client_task = carry(connecting.finish().expect("the filler"), client.expect("a listener"));
    let (server_fd, server_end) = netfd::stream_pair(Mode::Blocking).expect("descriptors");
    let server_task = carry(server_end, accepted.expect("a client").0);

    let client = thread::spawn(move || send_and_receive(client_fd));
    let server = thread::spawn(move || receive_and_send(server_fd));
    // The carrying ends when both threads have closed.
    client_task.await.expect("no panic").expect("no error");
    server_task.await.expect("no panic").expect("no error");

    assert_eq!(server.join().expect("no panic").expect("no error"), LEN);
    assert_eq!(client.join().expect("no panic").expect("no error"), LEN);
}

fn carry(end: StreamEnd, stream: TcpStream) -> JoinHandle<io::Result<()>> {
    tokio::spawn(end.carry(Arc::new(stream), |_| None))
}

fn send_and_receive(fd: OwnedFd) -> io::Result<usize> {
    let mut stream = UnixStream::from(fd);
    stream.write_all(&vec![7; LEN])?;
    stream.shutdown(Shutdown::Write)?;
    let mut echo = Vec::new();
    stream.read_to_end(&mut echo)
}

fn receive_and_send(fd: OwnedFd) -> io::Result<usize> {
    let mut stream = UnixStream::from(fd);
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    stream.write_all(&received)?;
    Ok(received.len())
}
