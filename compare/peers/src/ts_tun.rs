//! ts_netstack_smoltcp on a TUN.
//!
//! It uses that crate's device for threads, which polls every 50 µs: over its async one no
//! connection was ever made here.

use crate::OnTun;
use anyhow::{Context, Result};
use std::time::Duration;
use ts_netstack_smoltcp::netcore::{Config, NetstackControl};
use ts_netstack_smoltcp::{CreateSocket, HasChannel, Netstack, TunRsDevice};

pub(crate) async fn run(tun: &OnTun) -> Result<()> {
    let device = tun.builder().build_sync().context("making the TUN")?;
    device.set_nonblocking(true)?;
    let config = Config {
        tcp_buffer_size: 1 << 20,
        mtu: usize::from(tun.mtu),
        command_channel_capacity: Some(1024),
        ..Default::default()
    };
    let stack = Netstack::new(TunRsDevice::from(device), config);
    let channel = stack.command_channel();
    stack.spawn_threaded(Duration::from_micros(50));
    channel.set_ips([protocol::STACK.into()]).await?;
    let listener = channel.tcp_listen((protocol::STACK, protocol::PORT).into()).await?;
    let datagrams = channel.udp_bind((protocol::STACK, protocol::PORT).into()).await?;
    tokio::spawn(async move {
        while let Ok((client, datagram)) = datagrams.recv_from_bytes().await {
            let _ = datagrams.send_to(client, &datagram).await;
        }
    });
    loop {
        tokio::spawn(protocol::serve(listener.accept().await?));
    }
}
