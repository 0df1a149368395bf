//! A congestion controller of one's own, beside those of the stack, on a simulated link that loses
//! packets.
//!
//! ```sh
//! cargo run --release -p examples --example congestion -- --loss 1
//! ```

use anyhow::{Context, Result, ensure};
use examples::println;
use netstack::CongestionControl;
use netstack::congestion::{Acked, Algorithm, CongestionController, Lost};
use netstack::sim::{self, LinkConfig, Sim};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

/// Compares congestion controllers on a simulated link
#[derive(clap::Parser)]
struct Args {
    /// Packets that the link loses, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    loss: f64,
}

/// A controller by delay, as TCP Vegas: keeps two to four segments in the queue, whatever is lost.
#[derive(Debug)]
struct Vegas {
    mss: u64,
    window: u64,
    /// The round trip that has changed the window last.
    round: u64,
}

static VEGAS: Algorithm = Algorithm::new("vegas", |mss| {
    let mss = u64::from(mss);
    Box::new(Vegas { mss, window: 10 * mss, round: 0 })
});

impl CongestionController for Vegas {
    fn window(&self) -> u64 {
        self.window
    }

    fn on_acked(&mut self, acked: &Acked) {
        if acked.round == self.round || !acked.is_window_limited {
            return;
        }
        self.round = acked.round;
        let [least, now] = [acked.min_rtt, acked.smoothed_rtt].map(|rtt| rtt.as_secs_f64());
        // What of the window lies in the queue, and not on the path.
        let queued = self.window as f64 * (1.0 - least / now.max(least));
        match (queued / self.mss as f64) as u64 {
            0 => self.window += self.window / 4,
            1 => self.window += self.mss,
            2..=4 => {}
            _ => self.window = (self.window - self.mss).max(2 * self.mss),
        }
    }

    fn on_lost(&mut self, _lost: &Lost) {}

    fn on_timeout(&mut self, _lost: &Lost) {
        self.window = 2 * self.mss;
    }

    fn set_mss(&mut self, mss: u32) {
        self.mss = mss.into();
    }
}

const TIME: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    examples::run(async |args: Args| -> Result<()> {
        ensure!((0.0..=100.0).contains(&args.loss), "--loss takes 0 to 100 percent");
        let link = LinkConfig::new().delay(Duration::from_millis(10)).bandwidth(100_000_000);
        let link = link.loss(args.loss / 100.0);
        println!("100 Mbit/s, 20 ms, {} % lost:", args.loss);
        for control in [
            CongestionControl::Reno,
            CongestionControl::Cubic,
            CongestionControl::Bbr,
            CongestionControl::Custom(&VEGAS),
        ] {
            let link = link.clone();
            // A simulation has a thread and a clock of its own.
            let run = move || sim::run(1, |sim| transfer(sim, link, control));
            let bytes = tokio::task::spawn_blocking(run).await??;
            let megabits = bytes as f64 * 8.0 / TIME.as_secs_f64() / 1e6;
            println!("  {control:<6} {megabits:6.1} Mbit/s");
        }
        Ok(())
    })
}

/// Sends for the whole time; returns how many bytes have arrived.
async fn transfer(sim: Sim, link: LinkConfig, control: CongestionControl) -> Result<usize> {
    let (near, far) = sim.pair(link);
    let listener = far.net().tcp_listen("10.0.0.2:80").await?;
    let mut sender = near.net().tcp_connect("10.0.0.2:80").await?;
    sender.set_congestion_control(Some(control))?;
    sim.spawn(async move {
        let block = vec![7; 64 * 1024];
        while sender.write_all(&block).await.is_ok() {}
    });
    let (mut receiver, _) = listener.accept().await?;
    let end = Instant::now() + TIME;
    let (mut block, mut bytes) = (vec![0; 64 * 1024], 0);
    while let Ok(read) = timeout_at(end, receiver.read(&mut block)).await {
        bytes += read.context("the connection ended")?;
    }
    Ok(bytes)
}
