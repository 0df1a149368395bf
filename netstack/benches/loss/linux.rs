//! The kernel with itself, over a TUN that reflects its packets.
//!
//! A client connects to the other address of the TUN's network, and its packets come back with
//! source and destination exchanged, which leaves checksums valid. So one namespace has both ends.
//! A packet crosses the link twice, on its way out of the kernel and back, which is why each
//! direction has half the delay and about half the loss.

use crate::with_us;
use crate::{BITS_PER_SECOND, DELAY, LUCK, Row, TIME, megabits_per_second, print_goodputs};
use bytes::BytesMut;
use netcore::{Link as _, Offload, Slot as _};
use netstack::device::{Device, InterfaceConfig, InterfaceOffload, Tun};
use netstack::sim::{Impaired, LinkConfig};
use socket2::{Domain, Socket, Type};
use std::error::Error;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

/// Set in a process in a namespace of its own, with what to measure: the ends, and the congestion
/// control.
const INSIDE: &str = "NETSTACK_BENCH_INSIDE";

pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Measures each congestion control in a namespace and prints the results.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for control in ["cubic", "bbr"] {
        for (name, ends) in
            [("Linux", "linux"), ("Linux to us", "to us"), ("us to Linux", "from us")]
        {
            let name = format!("{name}, {control}, in real time");
            match measure(&format!("{ends}, {control}")) {
                Ok(goodputs) => {
                    print_goodputs(&name, &goodputs);
                    rows.push((name, goodputs));
                }
                Err(error) => println!("{name:<36}not measured: {error}"),
            }
        }
    }
    rows
}

fn measure(what: &str) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--net"]).arg(std::env::current_exe()?);
    let output = unshare.env(INSIDE, what).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().into());
    }
    Ok(String::from_utf8(output.stdout)?.lines().flat_map(str::parse).collect())
}

/// Measures each case, inside.
pub(crate) fn run() {
    let what = std::env::var(INSIDE).unwrap_or_default();
    let (ends, control) = what.split_once(", ").expect("set by this program");
    for (name, loss, reorder) in LUCK {
        let each = |probability: f64| 1.0 - (1.0 - probability).sqrt();
        let half = LinkConfig::new().delay(DELAY / 2).bandwidth(BITS_PER_SECOND);
        let half = half.loss(each(loss)).reorder(each(reorder));
        let goodput = match ends {
            "to us" => with_us::from_linux(with_us::link(loss, reorder), control),
            "from us" => with_us::to_linux(with_us::link(loss, reorder), control),
            _ => stream(half, control),
        };
        match goodput {
            Ok(goodput) => println!("{goodput}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

fn stream(link: LinkConfig, control: &str) -> Result<f64, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let tun = Tun::open(&InterfaceConfig {
        name: "tun0".into(),
        host_addresses: vec!["10.9.0.1/24".parse()?],
        offload: InterfaceOffload::Off,
        ..InterfaceConfig::default()
    })?;
    let mut device = Impaired::new(tun, link, 1);
    let context = runtime.enter();
    device.attach()?;
    drop(context);
    let turning = runtime.spawn(turn(device));
    let listener = TcpListener::bind("10.9.0.1:0")?;
    let to = SocketAddr::from(([10, 9, 0, 2], listener.local_addr()?.port()));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Per socket, not the namespace's default: that must be one that the machine allows to all
    // users.
    socket.set_tcp_congestion(control.as_bytes())?;
    let sending = std::thread::spawn(move || {
        if socket.connect(&to.into()).is_err() {
            return;
        }
        let mut sender = TcpStream::from(socket);
        let block = vec![7; 64 * 1024];
        while sender.write_all(&block).is_ok() {}
    });
    let (mut receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(TIME))?;
    let (mut block, mut bytes, start) = (vec![0; 64 * 1024], 0, Instant::now());
    while start.elapsed() < TIME {
        bytes += receiver.read(&mut block)?;
    }
    let goodput = megabits_per_second(bytes, start.elapsed());
    // The sender gets a reset, since there is more to read.
    receiver.shutdown(Shutdown::Both)?;
    drop(receiver);
    sending.join().map_err(|_| "the sender panicked")?;
    turning.abort();
    runtime.shutdown_timeout(TIME);
    Ok(goodput)
}

/// Reflects packets with their addresses exchanged.
async fn turn(mut device: Impaired<Tun>) -> std::io::Result<()> {
    loop {
        poll_fn(|cx| device.poll_receive(cx)).await?;
        while let Some(frame) = device.receive() {
            let mut packet = BytesMut::from(frame.data);
            let Some(addresses) = packet.get_mut(12..20) else { continue };
            addresses.rotate_left(4);
            if let Some(slot) = device.transmit() {
                slot.send(packet.len(), |buffer| {
                    buffer.copy_from_slice(&packet);
                    ((), Offload::default())
                });
            }
        }
        device.flush();
    }
}
