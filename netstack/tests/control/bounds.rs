//! What clients cannot do: be too many, ask for too long, or leave something behind.

use super::{World, connect, stack};
use netstack::control::{Answer, CLIENTS_MAX, Command, REQUEST_BYTES_MAX, Request};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[test]
fn a_client_too_many_is_refused_until_another_leaves() {
    let world = World::new();
    let mut clients: Vec<_> = (0..CLIENTS_MAX).map(|_| world.client()).collect();
    for client in &mut clients {
        stack(client);
    }

    let mut refusal = String::new();
    let mut late = UnixStream::connect(&world.path).expect("it listens");
    late.read_to_string(&mut refusal).expect("a line and the end");
    assert_eq!(
        refusal,
        "{\"error\":{\"message\":\"the control socket has 16 clients already\"}}\n"
    );

    let mut last = clients.pop().expect("there are some");
    assert_eq!(stack(&mut last).clients, CLIENTS_MAX);
    drop(last);
    wait_for(&mut clients[0], CLIENTS_MAX - 1);
    stack(&mut world.client());
}

#[test]
fn malformed_requests_are_answered_and_change_nothing() {
    let world = World::new();
    let stream = UnixStream::connect(&world.path).expect("it listens");
    let mut reader = BufReader::new(stream.try_clone().expect("a duplicate"));
    let requests: [&[u8]; 5] = [b"\n", b"{}\n", b"\xff\xfe\n", b"{\"version\":1}\n", b"[[[[[[[[\n"];

    // At once: they are answered in order.
    (&stream).write_all(&requests.concat()).expect("open");
    (&stream).write_all(b"{\"version\":1,\"command\":\"stack\"}\n").expect("open");

    for request in requests {
        let answer = line(&mut reader);
        assert!(answer.starts_with("{\"error\":"), "{request:?}: {answer}");
    }
    assert!(line(&mut reader).starts_with("{\"stack\":"));
    assert_eq!(line(&mut reader), "{\"done\":{}}\n");
}

#[test]
fn a_request_too_long_ends_its_client() {
    let world = World::new();
    let mut stream = UnixStream::connect(&world.path).expect("it listens");

    // Fails once the server has closed it.
    let _ = stream.write_all(&vec![b'['; 4 * REQUEST_BYTES_MAX]);
    let mut answer = Vec::new();
    // What was not read makes the end a reset.
    let _ = stream.read_to_end(&mut answer);

    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("a request has at most 16384 bytes"), "{answer}");
    wait_for(&mut world.client(), 1);
}

#[tokio::test]
async fn a_client_gone_in_the_middle_of_an_answer_leaves_nothing() {
    let world = World::new();
    let (_listener, _connections) = world.connections(500).await;
    let line = format!("{}\n", Request::new(Command::Sockets {}));

    for _ in 0..5 {
        let mut stream = UnixStream::connect(&world.path).expect("it listens");
        stream.write_all(line.repeat(10).as_bytes()).expect("open");
        // The answers are more than the socket takes, so that the server is writing.
        stream.read_exact(&mut [0; 1000]).expect("the beginning of an answer");
    }

    let mut client = world.client();
    wait_for(&mut client, 1);
    let before = client.ask(&Command::Sockets {}).expect("open").count();
    assert_eq!(before, 501);
}

#[tokio::test]
async fn the_end_of_the_stack_is_that_of_its_clients() {
    let world = World::new();
    let mut client = world.client();
    stack(&mut client);
    let World { near, path, _folder, .. } = world;

    near.shutdown(Duration::from_secs(1)).await.expect("a good end");

    assert!(!path.exists());
    let mut stream = client.ask(&Command::Stack {});
    // The request may still be written.
    let answer = stream.as_mut().map(Iterator::next);
    assert!(!matches!(answer, Ok(Some(Ok(Answer::Stack(_))))), "{answer:?}");
}

/// Waits until the control socket has so many clients.
fn wait_for(client: &mut netstack::control::Client, clients: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while stack(client).clients != clients {
        assert!(Instant::now() < deadline, "{:?}", stack(client));
        std::thread::yield_now();
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    line
}

#[test]
fn a_slow_reader_of_answers_delays_nobody() {
    let world = World::new();
    let mut slow = UnixStream::connect(&world.path).expect("it listens");
    let line = b"{\"version\":1,\"command\":\"counters\"}\n";
    slow.set_nonblocking(true).expect("a socket");
    // Until neither side takes more.
    while slow.write(line).is_ok() {}

    let mut other = connect(&world.path);

    assert_eq!(stack(&mut other).clients, 2);
}
