//! A simulated network: stacks on links that delay, lose and damage packets, in one thread and in
//! virtual time.
//!
//! For tests of asynchronous programs. [`run`] gives the program a [`Sim`], whose hosts are whole
//! stacks; nothing in it waits for real time, so minutes of retransmissions take milliseconds. All
//! randomness derives from a seed: the links, and the stacks' ports and sequence numbers. The same
//! seed gives the same packets at the same times.
//!
//! ```
//! use netstack::sim::{self, LinkConfig};
//! use std::time::Duration;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let answer = sim::run(1, |sim| async move {
//!     let link = LinkConfig::new().loss(0.03).delay(Duration::from_millis(40));
//!     let (client, server) = sim.pair(link);
//!     let listener = server.net().tcp_listen("10.0.0.2:80").await?;
//!     sim.spawn(async move {
//!         let (mut stream, _) = listener.accept().await?;
//!         let (mut from, mut to) = stream.split();
//!         tokio::io::copy(&mut from, &mut to).await
//!     });
//!
//!     let mut stream = client.net().tcp_connect("10.0.0.2:80").await?;
//!     stream.write_all(b"hello").await?;
//!     stream.shutdown().await?;
//!     let mut answer = String::new();
//!     stream.read_to_string(&mut answer).await?;
//!     Ok::<_, std::io::Error>(answer)
//! });
//! assert_eq!(answer.unwrap(), "hello");
//! ```
//!
//! # The network
//!
//! Each host has a [`LinkConfig`] of its own to one network in the middle, which forwards a packet
//! to the host with its destination address, and multicast and broadcast to all others. A packet to
//! an unknown address is silently dropped. A packet crosses the sender's link and then the
//! receiver's. Links can be changed at any time, which is how a rate varies: packets that wait in
//! a queue leave at the new one. A direction can have a configuration of its own
//! ([`HostBuilder::link_of`], [`Host::set_link_of`]).
//!
//! So the link of a host is a bottleneck that all who talk to it share: one queue holds the packets
//! of all of them, and the delays of their own links give them different round trips.
//!
//! ```
//! use netstack::Direction;
//! use netstack::sim::{self, LinkConfig};
//! use std::time::Duration;
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! sim::run(1, |sim| async move {
//!     let bottleneck = LinkConfig::new().bandwidth(10_000_000).queue(50);
//!     let server = sim.host().link_of(Direction::Inbound, bottleneck).spawn()?;
//!     let near = sim.host().link(LinkConfig::new().delay(Duration::from_millis(5))).spawn()?;
//!     let far = sim.host().link(LinkConfig::new().delay(Duration::from_millis(50))).spawn()?;
//!     // Both upload at once.
//! #   let listener = server.net().tcp_listen("10.0.0.1:80").await?;
//! #   let upload = async |host: &sim::Host| {
//! #       let mut stream = host.net().tcp_connect("10.0.0.1:80").await?;
//! #       stream.write_all(&[7; 1_000_000]).await?;
//! #       stream.shutdown().await
//! #   };
//! #   let receive = async || {
//! #       let (mut stream, _) = listener.accept().await?;
//! #       stream.read_to_end(&mut Vec::new()).await
//! #   };
//! #   tokio::try_join!(upload(&near), upload(&far), receive(), receive())?;
//!
//!     assert!(server.counters(Direction::Inbound).lost_queue > 0);
//! #   Ok::<_, std::io::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Failing runs
//!
//! A failing run prints the command that repeats it with the same seed, and writes the packets of
//! the hosts to a pcap file: in `tmp` in cargo's target directory, or in the system's temporary
//! directory if cargo has not built the test. The environment variable `NETSTACK_SIM_SEED`
//! overrides the seeds of the program, and `NETSTACK_SIM_PCAP` names the file.
//!
//! # Pictures
//!
//! [`Host::record`] records a connection over time: what was sent, sent again and acknowledged, the
//! windows, the round trip. [`Record::to_csv`] has it as a table; with the feature `plot` there is a
//! picture of it.
//!
//! # In front of a real device
//!
//! [`Impaired`] puts a [`LinkConfig`] in front of any device, such as a TUN, in real or virtual time.
//!
//! # Limitations
//!
//! * tokio's timers have a granularity of a millisecond, and so have arrivals.
//! * `tokio::select!` without `biased` picks its branch with a generator of tokio's own, which has
//!   another seed in each run.
//! * Blocking sockets would block the only thread. They need real time: use
//!   [`Pair::spawn_threads`](crate::Pair::spawn_threads).
//! * No router sends "packet too big" to a sender: packets beyond a link's MTU are lost.

mod burst_loss;
mod codel;
mod counters;
mod failure;
mod host;
mod impaired;
mod lane;
mod link;
mod network;
mod policer;
mod pure_ack;
mod queue;
mod record;
#[cfg(feature = "serde")]
mod serialized;
mod trace;

pub use burst_loss::BurstLoss;
pub use codel::Codel;
pub use counters::LinkCounters;
pub use failure::repeat_command;
pub use host::{Host, HostBuilder};
pub use impaired::{Impaired, ImpairedSlot, Impairment};
pub use link::LinkConfig;
pub use record::{Record, RecordEvent, RecordPoint};

use bytes::Bytes;
use network::Network;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Overrides the seeds that a program passes.
const SEED_VARIABLE: &str = "NETSTACK_SIM_SEED";
/// Where a failing run writes its packets.
const PCAP_VARIABLE: &str = "NETSTACK_SIM_PCAP";

/// Runs a future in a simulated network, in virtual time, and returns its output.
///
/// When the future is done, every task of [`Sim::spawn`] is aborted, and every stack must become
/// empty by itself: no sockets, no connections in TIME-WAIT, no buffers, no timers.
///
/// # Panics
///
/// If the future or a task of [`Sim::spawn`] does; if a stack is not empty 1,000 s after the end,
/// because a handle is still held or a socket leaked. The command that repeats the run is printed
/// first.
pub fn run<F, Fut>(seed: u64, test: F) -> Fut::Output
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    run_exactly(seed_asked_for().unwrap_or(seed), test)
}

/// As [`run`], with each of several seeds in turn.
///
/// ```
/// netstack::sim::run_seeds(0..10, |sim| async move {
///     let host = sim.host().spawn().expect("an address to spare");
///     assert!(host.net().udp_bind("127.0.0.1:0").await.is_ok());
/// });
/// ```
///
/// # Panics
///
/// As [`run`], at the first seed that fails.
pub fn run_seeds<F, Fut>(seeds: impl IntoIterator<Item = u64>, test: F)
where
    F: Fn(Sim) -> Fut,
    Fut: Future<Output = ()>,
{
    match seed_asked_for() {
        Some(seed) => run_exactly(seed, test),
        None => seeds.into_iter().for_each(|seed| run_exactly(seed, &test)),
    }
}

fn seed_asked_for() -> Option<u64> {
    let text = std::env::var(SEED_VARIABLE).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{SEED_VARIABLE}={text} is not a number")))
}

fn run_exactly<F, Fut>(seed: u64, test: F) -> Fut::Output
where
    F: FnOnce(Sim) -> Fut,
    Fut: Future,
{
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build();
    let runtime = runtime.expect("the system has a descriptor for a runtime");
    let sim = {
        let _context = runtime.enter();
        Sim::new(seed)
    };
    let whole = async {
        let output = test(sim.clone()).await;
        sim.finish().await;
        output
    };
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(whole))).unwrap_or_else(|panic| {
        print_repeat_command(&sim);
        resume_unwind(panic)
    })
}

/// Prints it on standard error, as the test harness does with the panic.
#[expect(clippy::print_stderr, reason = "a failed simulation prints its seed")]
fn print_repeat_command(sim: &Sim) {
    let seed = sim.seed();
    let path = std::env::var_os(PCAP_VARIABLE).filter(|path| !path.is_empty());
    let path = path.map_or_else(|| failure::capture_path(seed), PathBuf::from);
    let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    match folder.and_then(|()| sim.write_pcap(&path)) {
        Ok(()) => eprintln!("the packets of seed {seed} are in {}", path.display()),
        Err(error) => eprintln!("writing {}: {error}", path.display()),
    }
    eprintln!("to repeat this run: {}", repeat_command(&[(SEED_VARIABLE, &seed)]));
}

/// A simulated network, given to the future of [`run`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sim {
    network: Arc<Network>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// Longer than any state that a connection can be left in.
const DRAIN: Duration = Duration::from_secs(1000);

impl Sim {
    fn new(seed: u64) -> Self {
        Self { network: Network::new(seed), tasks: Arc::default() }
    }

    /// Describes one more host.
    ///
    /// By default it gets the next addresses, and a link without impairments: the first host is
    /// 10.0.0.1 and fd00::1, the second 10.0.0.2 and fd00::2, and so on.
    pub fn host(&self) -> HostBuilder {
        HostBuilder::new(self.network.clone())
    }

    /// Makes two hosts with one link between them.
    ///
    /// # Panics
    ///
    /// If there are 65,534 hosts already, or the link's MTU is under 1,280 bytes.
    pub fn pair(&self, link: LinkConfig) -> (Host, Host) {
        let mtu = link.mtu;
        let near = self.host().link(link).spawn();
        let far = self.host().link(LinkConfig::new().mtu(mtu)).spawn();
        (near.expect("a valid link"), far.expect("a valid link"))
    }

    /// Runs a task that is aborted when the future of [`run`] ends, such as a server's loop.
    ///
    /// Its output is dropped; if it panics, the run fails.
    pub fn spawn<Fut>(&self, task: Fut)
    where
        Fut: Future + Send + 'static,
    {
        self.tasks().spawn(async {
            task.await;
        });
    }

    /// Puts a packet on the network that no host has sent.
    pub fn inject(&self, packet: Bytes) {
        self.network.inject(packet);
    }

    /// How long the run has lasted, in virtual time.
    pub fn elapsed(&self) -> Duration {
        self.network.elapsed()
    }

    /// The seed of this run.
    pub fn seed(&self) -> u64 {
        self.network.seed()
    }

    /// A number that stands for all packets so far and their times: two runs of one program with
    /// one seed have the same.
    pub fn trace_hash(&self) -> u64 {
        self.network.trace_hash()
    }

    /// Writes the packets sent by the hosts to a pcap file, for Wireshark and tcpdump: the first
    /// 256 bytes of each of the last 65,536 packets.
    ///
    /// # Errors
    ///
    /// A failure to write the file.
    pub fn write_pcap(&self, path: &Path) -> io::Result<()> {
        self.network.write_pcap(path)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn finish(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        tasks.abort_all();
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic);
            }
        }
        let deadline = tokio::time::Instant::now() + DRAIN;
        for net in self.network.running() {
            // A stack that has ended since has nothing left.
            while let Ok(picture) = net.snapshot().await {
                let is_empty = picture.sockets.is_empty() && picture.time_wait.is_empty();
                if is_empty && picture.buffer_bytes == 0 && picture.timers == 0 {
                    let counters = &picture.counters;
                    assert_eq!(counters.received(), counters.accounted(), "{counters:?}");
                    break;
                }
                assert!(tokio::time::Instant::now() < deadline, "left behind:\n{picture}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        self.network.stop_all();
        if let Some(panic) = self.network.take_panic() {
            panic.resume();
        }
    }
}

#[cfg(test)]
mod tests;
