//! The blocking sockets, in plain threads and real time.

use netstack::netsocket::{TcpStream, blocking};
use netstack::{Pair, Stack};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};
use tests::noise;

fn pair() -> (Stack, Stack) {
    Pair::new().spawn_threads().expect("threads")
}

fn connect(near: &Stack, far: &Stack) -> (blocking::TcpStream, blocking::TcpStream) {
    let listener = far.net().blocking().tcp_listen("10.0.0.2:80").expect("free");
    let client = near.net().blocking().tcp_connect("10.0.0.2:80").expect("a listener");
    let (server, peer) = listener.accept().expect("a client");
    assert_eq!(peer, client.local_addr().expect("infallible"));
    (client, server)
}

#[test]
fn threads_talk_line_by_line() {
    let (near, far) = pair();
    let listener = far.net().blocking().tcp_listen("[::]:80").expect("free");
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(2) {
            let mut stream = stream?;
            let reader = BufReader::new(stream.try_clone()?);
            for line in reader.lines() {
                writeln!(stream, "echo {}", line?)?;
            }
        }
        Ok::<_, std::io::Error>(())
    });

    for address in ["10.0.0.2:80", "[fd00::2]:80"] {
        let mut client = near.net().blocking().tcp_connect(address).expect("a listener");
        client.write_all(b"one\ntwo\n").expect("open");
        client.shutdown(Shutdown::Write).expect("open");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("open");
        assert_eq!(answer, "echo one\necho two\n");
    }
    server.join().expect("no panic").expect("open");
}

#[test]
fn megabytes_are_sent_in_both_directions_at_once() {
    let (near, far) = pair();
    let (client, server) = connect(&near, &far);
    let data = noise(20 << 20);

    std::thread::scope(|scope| {
        for stream in [&client, &server] {
            let data = &data;
            scope.spawn(move || {
                let mut writer = stream;
                writer.write_all(data).expect("open");
                writer.shutdown(Shutdown::Write).expect("open");
            });
            scope.spawn(move || {
                let (mut reader, mut received) = (stream, Vec::new());
                reader.read_to_end(&mut received).expect("open");
                assert!(received == *data, "{} bytes", received.len());
            });
        }
    });
}

#[test]
fn a_read_timeout_loses_nothing() {
    let (near, far) = pair();
    let (mut client, mut server) = connect(&near, &far);
    client.set_read_timeout(Some(Duration::from_millis(50))).expect("not zero");
    let start = Instant::now();

    let error = client.read(&mut [0; 10]).expect_err("nothing was sent");
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    server.write_all(b"late").expect("open");
    client.set_read_timeout(None).expect("none is fine");
    let mut late = [0; 4];
    client.read_exact(&mut late).expect("open");

    assert_eq!(&late, b"late");
    let zero = client.set_read_timeout(Some(Duration::ZERO));
    assert_eq!(zero.map_err(|error| error.kind()).err(), Some(ErrorKind::InvalidInput));
}

#[test]
fn nonblocking_calls_never_wait() {
    let (near, far) = pair();
    let (mut client, _server) = connect(&near, &far);
    client.set_nonblocking(true).expect("infallible");

    let read = client.read(&mut [0]).map_err(|error| error.kind()).err();
    let full = std::iter::repeat_with(|| client.write(&[7; 10_000])).find_map(Result::err);

    assert_eq!(read, Some(ErrorKind::WouldBlock));
    assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
}

#[test]
fn a_shut_down_read_half_wakes_its_reader() {
    let (near, far) = pair();
    let (client, mut server) = connect(&near, &far);
    let mut reader = client.try_clone().expect("infallible");
    let reading = std::thread::spawn(move || reader.read(&mut [0]));
    std::thread::sleep(Duration::from_millis(20));

    client.shutdown(Shutdown::Read).expect("open");

    assert_eq!(reading.join().expect("no panic").expect("the end"), 0);
    (&client).write_all(b"still writes").expect("open");
    let mut received = [0; 12];
    server.read_exact(&mut received).expect("open");
    assert_eq!(&received, b"still writes");
}

#[test]
fn connect_to_an_unused_address_fails_at_its_timeout() {
    let (near, _far) = pair();
    let (start, timeout) = (Instant::now(), Duration::from_millis(100));

    let target = "10.0.0.99:80".parse().expect("an address");
    let error = near.net().blocking().tcp_connect_timeout(&target, timeout).expect_err("unused");

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= timeout);
    let zero = near.net().blocking().tcp_connect_timeout(&target, Duration::ZERO);
    assert_eq!(zero.map_err(|error| error.kind()).err(), Some(ErrorKind::InvalidInput));
}

#[test]
fn handles_change_between_async_and_blocking() {
    let (near, far) = pair();
    let (client, server) = connect(&near, &far);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

    let mut client = TcpStream::from(client);
    runtime.block_on(async {
        use tokio::io::AsyncWriteExt;
        client.write_all(b"from a task").await.expect("open");
    });
    let mut client = blocking::TcpStream::from(client);
    client.write_all(b", from a thread").expect("open");
    drop(client);
    let mut received = String::new();
    let mut server = server;
    server.read_to_string(&mut received).expect("open");

    assert_eq!(received, "from a task, from a thread");
}

#[test]
fn datagrams_and_pings_from_threads() {
    let (near, far) = pair();
    let receiver = far.net().blocking().udp_bind("[::]:9").expect("free");
    let sender = near.net().blocking().udp_bind("10.0.0.1:0").expect("free");
    sender.connect("10.0.0.2:9").expect("an address");
    sender.send(b"hello").expect("room");
    let mut buffer = [0; 10];

    let (n, peer) = receiver.recv_from(&mut buffer).expect("a datagram");
    receiver.send_to(&buffer[..n], peer).expect("room");

    assert_eq!(sender.recv(&mut buffer).expect("the echo"), 5);
    sender.set_read_timeout(Some(Duration::from_millis(20))).expect("not zero");
    let nothing = sender.recv(&mut buffer).map_err(|error| error.kind()).err();
    assert_eq!(nothing, Some(ErrorKind::TimedOut));
    let target = "fd00::2".parse().expect("an address");
    assert!(near.net().blocking().ping(target, Duration::from_secs(5)).is_ok());
}

#[test]
fn threads_intercept_traffic_to_any_address() {
    let (near, far) = Pair::new().spawn_threads().expect("threads");
    let (near, far) = (near.net().blocking(), far.net().blocking());
    let route = netstack::netsocket::Route::default_via("10.0.0.2".parse().expect("an address"));
    near.control().add_route(route).expect("a route");
    far.control().set_any_ip(true).expect("it runs");
    let (tcp, udp) =
        (far.tcp_intercept_accept().expect("free"), far.udp_intercept().expect("free"));

    let sender = near.udp_bind("0.0.0.0:0").expect("free");
    sender.connect("192.0.2.7:53").expect("somebody's");
    sender.send(b"hello").expect("room");
    let (n, peer, local) = udp.recv_from_to(&mut [0; 16]).expect("a datagram");
    assert_eq!((n, local), (5, "[::ffff:192.0.2.7]:53".parse().expect("an address")));
    udp.send_from_to(b"there", local, peer).expect("room");
    assert_eq!(sender.recv(&mut [0; 16]).expect("from the address it sent to"), 5);
    let _client = near.tcp_connect("192.0.2.7:443").expect("intercepted");
    let (taken, _) = tcp.accept().expect("a client");
    assert_eq!(taken.local_addr().expect("connected").port(), 443);
}
