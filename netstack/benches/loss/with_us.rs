//! Linux and this stack with each other, over an impaired TUN, in real time.
//!
//! A packet crosses the link once, so each direction has the whole delay and the whole loss. That
//! is what the reflecting TUN of `linux.rs` has after both of its crossings: there too, data and
//! acknowledgements are lost with the same probability. What differs: there both share the rate of
//! one lane, here each direction has one of its own.

use crate::{BITS_PER_SECOND, DELAY, TIME, megabits_per_second};
use netstack::device::{InterfaceConfig, InterfaceOffload, Tun};
use netstack::sim::{Impaired, LinkConfig};
use netstack::{Builder, CongestionControl, Stack};
use socket2::{Domain, Socket, Type};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(crate) fn link(loss: f64, reorder: f64) -> LinkConfig {
    LinkConfig::new().delay(DELAY).bandwidth(BITS_PER_SECOND).loss(loss).reorder(reorder)
}

fn spawn(link: LinkConfig) -> Result<Stack, Box<dyn Error>> {
    let tun = Tun::open(&InterfaceConfig {
        name: "tun0".into(),
        host_addresses: vec!["10.9.0.1/24".parse()?],
        offload: InterfaceOffload::Off,
        ..InterfaceConfig::default()
    })?;
    Ok(Builder::new().address("10.9.0.2/24".parse()?).spawn(Impaired::new(tun, link, 1))?)
}

/// The goodput from a socket of Linux, with a congestion control, to the stack.
pub(crate) fn from_linux(link: LinkConfig, control: &str) -> Result<f64, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Per socket, as in linux.rs.
    socket.set_tcp_congestion(control.as_bytes())?;
    let goodput = runtime.block_on(async {
        let stack = spawn(link)?;
        let listener = stack.net().tcp_listen("10.9.0.2:7").await?;
        let to = SocketAddr::from(([10, 9, 0, 2], 7));
        let sending = std::thread::spawn(move || {
            if socket.connect(&to.into()).is_err() {
                return;
            }
            let mut sender = TcpStream::from(socket);
            let block = vec![7; 64 * 1024];
            while sender.write_all(&block).is_ok() {}
        });
        let (mut receiver, _) = listener.accept().await?;
        let (mut block, mut bytes, start) = (vec![0; 64 * 1024], 0, Instant::now());
        while let Some(left) = TIME.checked_sub(start.elapsed()) {
            let Ok(read) = tokio::time::timeout(left, receiver.read(&mut block)).await else {
                break;
            };
            bytes += read?;
        }
        let goodput = megabits_per_second(bytes, start.elapsed());
        // The sender gets a reset, since there is more to read.
        drop(receiver);
        tokio::task::spawn_blocking(move || sending.join())
            .await?
            .map_err(|_| "the sender panicked")?;
        Ok::<_, Box<dyn Error>>(goodput)
    })?;
    Ok(goodput)
}

/// The goodput from the stack, with a congestion control, to a socket of Linux.
pub(crate) fn to_linux(link: LinkConfig, control: &str) -> Result<f64, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stack = spawn(link)?;
        let listener = TcpListener::bind("10.9.0.1:0")?;
        let mut sender = stack.net().tcp_connect(listener.local_addr()?).await?;
        let control = CongestionControl::from_name(control).ok_or("no such control")?;
        sender.set_congestion_control(Some(control))?;
        let sending = tokio::spawn(async move {
            let block = vec![7; 64 * 1024];
            while sender.write_all(&block).await.is_ok() {}
        });
        let receiving = tokio::task::spawn_blocking(move || {
            let (mut receiver, _) = listener.accept()?;
            receiver.set_read_timeout(Some(TIME))?;
            let (mut block, mut bytes, start) = (vec![0; 64 * 1024], 0, Instant::now());
            while start.elapsed() < TIME {
                bytes += receiver.read(&mut block)?;
            }
            Ok::<_, std::io::Error>(megabits_per_second(bytes, start.elapsed()))
        });
        let goodput = receiving.await??;
        sending.abort();
        Ok(goodput)
    })
}
