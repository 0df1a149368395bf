//! netstack-smoltcp, with the sizes of its own examples.

use crate::OnTun;
use anyhow::{Context, Result};
use futures::{SinkExt, StreamExt};
use std::sync::Arc;

pub(crate) async fn run(tun: &OnTun) -> Result<()> {
    let device = Arc::new(tun.open()?);
    let (stack, runner, datagrams, listener) = netstack_smoltcp::StackBuilder::default()
        .enable_tcp(true)
        .enable_udp(true)
        .mtu(usize::from(tun.mtu))
        .stack_buffer_size(1024)
        .tcp_buffer_size(1024)
        .build()?;
    tokio::spawn(runner.context("a runner comes with TCP")?);
    let (mut sink, mut packets) = stack.split();
    let out = device.clone();
    tokio::spawn(async move {
        while let Some(Ok(packet)) = packets.next().await {
            // A packet that finds no room is lost, as on any link.
            let _ = out.send(&packet).await;
        }
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(n) = device.recv(&mut buffer).await {
            let _ = sink.send(buffer[..n].to_vec()).await;
        }
    });
    let (mut received, mut to_send) = datagrams.context("a socket comes with UDP")?.split();
    tokio::spawn(async move {
        while let Some((payload, from, to)) = received.next().await {
            let _ = to_send.send((payload, to, from)).await;
        }
    });
    let mut listener = listener.context("a listener comes with TCP")?;
    while let Some((stream, ..)) = listener.next().await {
        tokio::spawn(protocol::serve(stream));
    }
    Ok(())
}
