//! Sockets behave as the kernel's: one script, on both.

use super::{KERNEL, failure, on_stack_with, text};
use crate::namespace::{Outcome, program};
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Command;

const SCRIPT: &str = include_str!("semantics.py");

/// What the script talks to, on the kernel: an echo for TCP and UDP, a port that resets, and one
/// that is closed.
fn peer() -> super::Result<[String; 4]> {
    let (echo, resets) = (TcpListener::bind("0.0.0.0:0")?, TcpListener::bind("0.0.0.0:0")?);
    let datagrams = UdpSocket::bind("0.0.0.0:0")?;
    let closed = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
    let ports = [
        echo.local_addr()?.port(),
        datagrams.local_addr()?.port(),
        resets.local_addr()?.port(),
        closed,
    ];
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = echo.accept() {
            std::thread::spawn(move || {
                let mut copy = stream.try_clone()?;
                std::io::copy(&mut copy, &mut stream)
            });
        }
    });
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = resets.accept() {
            let _ = stream.read(&mut [0; 1]);
            let _ = stream.write_all(b"before");
            let _ = socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((n, from)) = datagrams.recv_from(&mut buffer) {
            let _ = datagrams.send_to(&buffer[..n], from);
        }
    });
    Ok(ports.map(|port| port.to_string()))
}

fn shown(command: &mut Command, host: &str, ports: &[String]) -> super::Result<String> {
    let output = command.args(["-c", SCRIPT, host]).args(ports).output()?;
    if !output.status.success() {
        return Err(failure(command, &output));
    }
    Ok(text(&output.stdout))
}

pub(crate) fn as_the_kernel() -> Outcome {
    compare(&["--udp-msg"])
}

/// Two stacks and their relay are between the program and its peer.
pub(crate) fn as_the_kernel_in_a_namespace() -> Outcome {
    compare(&["--netns"])
}

fn compare(flags: &[&str]) -> Outcome {
    let ports = peer()?;
    program("ip")?.args(["link", "set", "lo", "up"]).status()?;
    let on_kernel = shown(&mut program("python3")?, "127.0.0.1", &ports)?;
    let on_stack = shown(&mut on_stack_with(flags, "python3")?, KERNEL, &ports)?;
    assert!(on_kernel.lines().count() > 30, "{on_kernel}");
    for (kernel, stack) in on_kernel.lines().zip(on_stack.lines()) {
        assert_eq!(stack, kernel, "\n{on_stack}");
    }
    assert_eq!(on_stack.lines().count(), on_kernel.lines().count());
    Ok(())
}
