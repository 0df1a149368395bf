//! Programs of clients, and who takes them.

use super::{World, ask, connect, stack};
use netstack::control::{Answer, Command, Host, Joining, Serve};
use netstack::{Builder, device};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

/// Takes the programs whose messages are watched, and tells the number of the descriptor.
#[derive(Debug)]
struct Watched;

impl Host for Watched {
    fn join(&self, joining: Joining) -> io::Result<Serve> {
        assert_eq!((joining.process, &joining.interface[..]), (std::process::id(), "web0"));
        assert!(joining.net.network().any_ip, "the stack of the control socket");
        if !joining.messages {
            return Err(io::Error::other("its messages are not watched"));
        }
        Ok(Box::new(move |mut stream| {
            stream.set_nonblocking(false).expect("a socket");
            write!(stream, "descriptor {}", joining.listener).expect("a client");
        }))
    }
}

#[test]
fn a_host_takes_a_program_and_has_the_rest_of_the_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("control");
    let (device, _far) = device::pipe(16, 1500);
    let builder = Builder::new().control(&path).interface("web0").any_ip(true);
    let _stack = builder.host(Arc::new(Watched)).spawn_thread(device).expect("a stack");
    let descriptor = io::stdin();

    let refused = connect(&path).join(descriptor.as_fd(), false).map(|_| ());
    let mut told = String::new();
    let joined = connect(&path).join(descriptor.as_fd(), true);
    joined.expect("a host").read_to_string(&mut told).expect("text");

    assert_eq!(refused.expect_err("a reason").to_string(), "its messages are not watched");
    assert_eq!(told, format!("descriptor {}", descriptor.as_raw_fd()));
}

#[test]
fn without_a_host_the_client_goes_on() {
    let world = World::new();
    let mut client = world.client();

    let joined = ask(&mut client, &Command::Join { listener: 0, messages: false });

    let text = joined.expect_err("nobody takes it").to_string();
    assert!(text.starts_with("the program of this stack takes no sockets of others"), "{text}");
    assert_eq!(stack(&mut client).clients, 1);
    let answers = ask(&mut client, &Command::Counters {}).expect("an answer");
    assert!(matches!(answers[..], [Answer::Counters(_)]));
}
