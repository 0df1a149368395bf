//! Two stacks on a simulated network.

use crate::TIME;
use netstack::CongestionControl;
use netstack::sim::{self, LinkConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Sends for the whole time; returns how many bytes arrived.
pub(crate) fn stream(link: LinkConfig, seed: u64, control: CongestionControl) -> usize {
    sim::run(seed, |sim| async move {
        let (near, far) = sim.pair(link);
        let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("free");
        sim.spawn(async move {
            let mut sender = near.net().tcp_connect("10.0.0.2:80").await.expect("a listener");
            sender.set_congestion_control(Some(control)).expect("open");
            let block = vec![7; 64 * 1024];
            while sender.write_all(&block).await.is_ok() {}
        });
        let end = Instant::now() + TIME;
        let (mut receiver, _) = listener.accept().await.expect("a sender");
        let (mut block, mut bytes) = (vec![0; 64 * 1024], 0);
        while let Ok(count) = timeout_at(end, receiver.read(&mut block)).await {
            bytes += count.expect("open");
        }
        bytes
    })
}
