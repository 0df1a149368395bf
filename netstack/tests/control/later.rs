//! A stack of a later version, which says what this one does not know.

use netstack::control::{Answer, Client, Command};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// A client of a stack that answers each request with these lines.
fn client_of(lines: &str) -> (Client, JoinHandle<()>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control");
    let listener = UnixListener::bind(&path).expect("a free path");
    let lines = lines.to_owned();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let requests = BufReader::new(stream.try_clone().expect("a descriptor"));
        for _ in requests.lines().map_while(Result::ok) {
            stream.write_all(lines.as_bytes()).expect("a client that reads");
        }
    });
    (Client::connect(&path).expect("a server"), server)
}

fn flow(id: &str, limit: &str) -> String {
    format!(
        r#"{{"id":"{id}","local":"10.9.0.2:80","peer":"10.9.0.1:5001","state":"established","limit":"{limit}","age":1,"rtt":null,"bytes_sent":1,"bytes_received":1,"total_retrans":0,"mood":"good"}}"#
    )
}

#[test]
fn of_connections_with_unknown_limits_the_others_are_shown() {
    let flows = [flow("1v1", "idle"), flow("2v1", "the-moon"), flow("3v1", "pacing")].join(",");
    let (mut client, server) = client_of(&format!("{{\"flows\":[{flows}]}}\n{{\"done\":{{}}}}\n"));

    let answer = client.ask_one(&Command::Flows {}).expect("an answer");

    let Some(Answer::Flows(known)) = answer else { panic!("{answer:?}") };
    let ids: Vec<_> = known.iter().map(|flow| flow.id.to_string()).collect();
    assert_eq!((ids.join(" "), client.skipped()), ("1v1 3v1".to_owned(), 1));
    drop(client);
    server.join().expect("no panic");
}

#[test]
fn an_answer_that_is_not_known_is_an_error_and_not_none() {
    let (mut client, server) = client_of("{\"weather\":{\"is\":\"fine\"}}\n{\"done\":{}}\n");

    for command in [Command::Stack {}, Command::Network {}, Command::Counters {}] {
        let error = client.ask_one(&command).expect_err("an unknown answer");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("later version"), "{error}");
    }
    // The connection goes on.
    assert_eq!(client.ask(&Command::Sockets {}).expect("an answer").count(), 0);
    assert_eq!(client.skipped(), 4);
    drop(client);
    server.join().expect("no panic");
}

#[test]
fn commands_without_an_answer_succeed_whatever_is_added() {
    let (mut client, server) = client_of("{\"weather\":{}}\n{\"done\":{}}\n");
    let id = "1v1".parse().expect("an id");

    // What has been done has been done.
    let done = client.ask_one(&Command::Abort { id }).expect("it is done");

    assert_eq!((done, client.skipped()), (None, 1));
    drop(client);
    server.join().expect("no panic");
}
