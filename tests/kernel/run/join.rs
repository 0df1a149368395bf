//! The real `ip` and `ss` on the stack of another program: `netstack run --join`.

use super::text;
use crate::daemon::Daemon;
use crate::namespace::{Outcome, program};
use crate::seeing::World;
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Result<T> = super::Result<T>;

const PATIENCE: Duration = Duration::from_secs(30);
/// A request whose answer has no end.
const ENDLESS: &[u8] = b"GET /bytes/1000000000000 HTTP/1.1\r\nHost: a\r\n\r\n";

/// A program on the stack of the web server.
fn joined(world: &World, name: &str) -> Result<Command> {
    let mut run = world.command(&["run", "--join"])?;
    run.arg(world.path()).arg("--").arg(program(name)?.get_program());
    Ok(run)
}

/// Runs `ip`, or another program, with these words; returns what it prints.
fn done(world: &World, words: &str) -> Result<String> {
    let mut words = words.split(' ');
    let mut command = joined(world, words.next().unwrap_or_default())?;
    let Output { status, stdout, stderr } = command.args(words).output()?;
    match status.success() && stderr.is_empty() {
        true => Ok(text(&stdout)),
        false => Err(format!("{command:?}: {status}\n{}{}", text(&stdout), text(&stderr)).into()),
    }
}

pub(crate) fn ip_and_ss() -> Outcome {
    program("ss")?;
    let world = World::new()?;

    done(&world, "ip addr add 10.9.0.60/24 dev tun0")?;
    let mut client = TcpStream::connect("10.9.0.60:80")?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.write_all(ENDLESS)?;
    client.read_exact(&mut [0; 100_000])?;
    let addresses: Value = serde_json::from_str(&done(&world, "ip -d -j addr show dev tun0")?)?;
    let of_link = addresses[0]["addr_info"].as_array().ok_or("no addresses")?;
    assert!(of_link.iter().any(|it| it["local"] == "10.9.0.60"), "{addresses}");
    let shown = done(&world, "ss -tinOH sport = :80")?;
    let own = client.local_addr()?.to_string();
    assert!(shown.contains("10.9.0.60:80") && shown.contains(&own), "{shown}");
    assert!(shown.contains(" cubic ") && shown.contains("bytes_sent:"), "{shown}");
    assert!(done(&world, "ss -tlnH")?.contains("*:80"), "the listener");

    done(&world, "ip addr del 10.9.0.60/24 dev tun0")?;
    let ended = std::io::copy(&mut client, &mut std::io::sink());
    assert_eq!(ended.map_err(|error| error.kind()).err(), Some(ErrorKind::ConnectionReset));
    assert!(!done(&world, "ss -tnH")?.contains("10.9.0.60"), "it has ended");

    done(&world, "ip link set tun0 mtu 1400")?;
    done(&world, "ip route add 10.77.0.0/16 via 10.9.0.1")?;
    assert!(done(&world, "ip route get 10.77.1.1")?.contains("via 10.9.0.1 dev tun0 src 10.9.0.2"));
    assert!(done(&world, "ip -o link show dev tun0")?.contains("mtu 1400"));
    Ok(())
}

pub(crate) fn refusals() -> Outcome {
    let world = World::new()?;

    let twice =
        joined(&world, "ip")?.args(["addr", "add", "10.9.0.2/24", "dev", "tun0"]).output()?;
    assert_eq!(
        (twice.status.code(), text(&twice.stderr).contains("already assigned")),
        (Some(2), true)
    );
    let python = "import socket; socket.socket()";
    let other = joined(&world, "python3")?.args(["-c", python]).output()?;
    let told = text(&other.stderr);
    assert!(told.contains("with --join a program has netlink sockets alone"), "{told}");
    assert!(told.contains("PermissionError"), "{told}");
    let missing = world.command(&["run", "--join", "/nowhere/control", "--", "true"])?.output()?;
    assert_eq!(missing.status.code(), Some(125));
    assert!(text(&missing.stderr).contains("there is no control socket"));
    Ok(())
}

/// What one program changes another is told of.
pub(crate) fn monitor() -> Outcome {
    let world = World::new()?;
    let monitor = Daemon::start(joined(&world, "ip")?.args(["-o", "monitor", "address"]))?;
    let is_told = AtomicBool::new(false);

    std::thread::scope(|scope| {
        // Until it listens.
        let changing = scope.spawn(|| -> Result<()> {
            while !is_told.load(Ordering::Relaxed) {
                done(&world, "ip addr add 10.9.0.61/32 dev tun0")?;
                done(&world, "ip addr del 10.9.0.61/32 dev tun0")?;
            }
            Ok(())
        });
        let told = monitor.expect_output("10.9.0.61");
        is_told.store(true, Ordering::Relaxed);
        told?;
        changing.join().map_err(|_| "a panic")?
    })
}
