//! One seed from its beginning to its end.

use crate::connection;
use crate::plan::{Connection, Plan};
use netstack::Direction;
use netstack::netsocket::{KeepAlive, TcpListener, TcpStream};
use netstack::sim::{Host, LinkConfig, Sim};
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Totals over all seeds.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) seeds: u64,
    connections: usize,
    bytes: usize,
    time: Duration,
    longest: (Duration, u64),
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.connections += other.connections;
        self.bytes += other.bytes;
        self.time += other.time;
        self.longest = self.longest.max(other.longest);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (longest, seed) = self.longest;
        write!(
            f,
            "{} connections, {} bytes, {:.0} h of virtual time, {:.1} h of it for seed {seed}",
            self.connections,
            self.bytes,
            self.time.as_secs_f64() / 3600.0,
            longest.as_secs_f64() / 3600.0,
        )
    }
}

/// Much longer than any seed takes.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// With keep-alive a server notices a vanished client.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: Duration::from_secs(60), interval: Duration::from_secs(30), count: 1000 };

/// A connection that a server is done with; it keeps the stream until all are done.
type Served = (Option<u32>, TcpStream);

pub(crate) async fn live(plan: Plan, sim: Sim) -> Totals {
    let hosts = [0, 1].map(|index| host(&sim, &plan, index));
    let plans: Arc<[Connection]> = plan.connections.into();
    let (done, served) = mpsc::unbounded_channel();
    for host in &hosts {
        let listener = host.net().tcp_listen("[::]:80").await.expect("free");
        sim.spawn(accept(listener, plans.clone(), done.clone()));
    }
    if let Some((at, lasts)) = plan.outage {
        let host = hosts[0].clone();
        sim.spawn(async move {
            sleep(at).await;
            change(&host, LinkConfig::down);
            sleep(lasts).await;
            change(&host, LinkConfig::up);
        });
    }
    if let Some((at, bits_per_second)) = plan.path.change {
        let host = hosts[0].clone();
        sim.spawn(async move {
            sleep(at).await;
            change(&host, |link| link.bandwidth(bits_per_second));
        });
    }

    let outcome = timeout(PATIENCE, talk(&hosts, &plans, served)).await;

    if outcome.is_err() {
        let pictures = [&hosts[0], &hosts[1]].map(|host| host.net().snapshot());
        let [near, far] = pictures;
        panic!("no end in sight:\n{:?}\n{:?}", near.await, far.await);
    }
    let bytes = plans.iter().map(|plan| plan.up.len() + plan.down.len()).sum();
    let time = sim.elapsed();
    let longest = (time, sim.seed());
    Totals { seeds: 1, connections: plans.len(), bytes, time, longest }
}

/// Changes each direction of a host's link.
fn change(host: &Host, change: impl Fn(LinkConfig) -> LinkConfig) {
    for direction in [Direction::Outbound, Direction::Inbound] {
        host.set_link_of(direction, change(host.link_of(direction)));
    }
}

/// The bad link is the first host's.
fn host(sim: &Sim, plan: &Plan, index: usize) -> Host {
    let good = || LinkConfig::new().mtu(plan.mtu);
    let [outbound, inbound] = if index == 0 { plan.path.links.clone() } else { [good(), good()] };
    let host = sim.host().link_of(Direction::Outbound, outbound);
    let mut host = host.link_of(Direction::Inbound, inbound).config(plan.config.clone());
    if plan.mtu < 1280 {
        // Too little for IPv6.
        let address = Ipv4Addr::new(10, 0, 0, index as u8 + 1);
        host = host.address(format!("{address}/24").parse().expect("an address"));
    }
    host.spawn().expect("a valid link")
}

/// Lets all clients do their part and waits for their servers.
async fn talk(
    hosts: &[Host; 2],
    plans: &[Connection],
    mut served: mpsc::UnboundedReceiver<Served>,
) {
    let mut clients = JoinSet::new();
    for plan in plans {
        clients.spawn(connection::call(hosts[plan.from].net().clone(), plan.clone()));
    }
    let mut waiting: Vec<u32> = plans.iter().map(|plan| plan.number).collect();
    let mut streams = Vec::new();
    while !clients.is_empty() || waiting.iter().any(|number| is_due(plans, *number)) {
        tokio::select! {
            biased;
            Some(client) = clients.join_next() => match client {
                Ok(stream) => streams.extend(stream),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            Some((number, stream)) = served.recv() => {
                streams.push(stream);
                if let Some(number) = number {
                    let position = waiting.iter().position(|waiting| *waiting == number);
                    let position = position.expect("accepted once");
                    waiting.swap_remove(position);
                }
            }
        }
    }
    // A connection that was accepted twice would be here by now.
    sleep(Duration::from_secs(1)).await;
    while let Ok((number, _)) = served.try_recv() {
        let is_first = number.is_none_or(|number| waiting.contains(&number));
        assert!(is_first, "connection {number:?} was accepted twice");
    }
}

fn is_due(plans: &[Connection], number: u32) -> bool {
    plans[number as usize].is_surely_accepted()
}

async fn accept(
    listener: TcpListener,
    plans: Arc<[Connection]>,
    done: mpsc::UnboundedSender<Served>,
) {
    let mut servers = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            accepted = listener.accept() => {
                let (mut stream, _) = accepted.expect("the stack runs");
                let (plans, done) = (plans.clone(), done.clone());
                servers.spawn(async move {
                    stream.set_keepalive(Some(KEEP_ALIVE)).expect("valid");
                    let number = connection::serve(&mut stream, &plans).await;
                    // The datagrams are not received once everything is closed.
                    let _ = done.send((number, stream));
                });
            }
            Some(server) = servers.join_next() => {
                if let Err(error) = server {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}
