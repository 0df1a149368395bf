//! The task: solicits routers, and configures the stack from their advertisements.

use super::advertisement::{self, HOP_LIMIT};
use super::learned::Learned;
use super::{Config, Event, Identifiers};
use crate::clock::Jumps;
use crate::moves::is_running;
use crate::provided::{ClientContext, Provided, Source, is_end};
use crate::random::{self, Purpose};
use crate::supervision::Service;
use crate::wire::{IPV6_HEADER_LEN, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Packet};
use bytes::Bytes;
use netcore::raw::Version;
use netcore::{MacAddr, Network, NetworkWatch};
use netsocket::RawSocket;
use rand::RngExt;
use rand::rngs::StdRng;
use std::convert::Infallible;
use std::future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// How long the first question waits at most, so that not all hosts of a link ask at once
/// (MAX_RTR_SOLICITATION_DELAY of RFC 4861 section 10).
const FIRST_DELAY_MAX: Duration = Duration::from_secs(1);
/// The first and the maximum interval of solicitations (IRT and MRT of RFC 7559 section 2).
const INTERVAL_FIRST: Duration = Duration::from_secs(4);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Every router on the link (RFC 4291 section 2.7.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const SOLICITATION_BYTES: usize = 8;
/// The option for the sender's hardware address (RFC 4861 section 4.6.1).
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;

/// A client, which is a task beside its stack.
#[derive(Debug)]
pub(crate) struct Client {
    context: ClientContext,
    config: Config,
    random: StdRng,
}

/// A client at work.
pub(crate) struct Session {
    client: Client,
    socket: RawSocket,
    watch: NetworkWatch,
    learned: Learned,
    /// The configuration in force.
    provided: Provided,
    /// The addresses that were tentative at the last change.
    tentative: Vec<IpAddr>,
    /// Whether the link is up and has a carrier.
    is_running: bool,
    jumps: Jumps,
    /// The next question, until a router has answered.
    question: Option<Question>,
}

#[derive(Debug, Clone, Copy)]
struct Question {
    at: Instant,
    interval: Duration,
}

/// Why there is something to do.
enum Happened {
    Packet(Bytes),
    Changed(Arc<Network>),
    /// The machine was suspended.
    Jumped,
    Due,
}

impl Client {
    pub(crate) fn new(context: ClientContext, config: Config) -> Self {
        let random = random::generator(context.entropy, Purpose::Slaac);
        Self { context, config, random }
    }

    /// Opens the client's socket.
    pub(crate) async fn start(mut self) -> io::Result<Session> {
        let socket = self.context.net.raw(Version::V6, IpProtocol::Icmpv6.into()).await?;
        let mut watch = self.context.net.watch_network();
        let is_running = is_running(&watch.current());
        let made_up = || MacAddr::locally_administered(self.random.random());
        let hardware_address = self.context.hardware_address.unwrap_or_else(made_up).octets();
        let identifiers = Identifiers { identifier: self.config.identifier, hardware_address };
        let jumps = self.context.clock.jumps();
        let mut session = Session {
            client: self,
            socket,
            watch,
            learned: Learned::new(identifiers),
            provided: Provided::default(),
            tentative: Vec::new(),
            is_running,
            jumps,
            question: None,
        };
        session.start_soliciting();
        Ok(session)
    }

    fn emit(&self, event: &Event) {
        match event {
            Event::Solicited => tracing::info!("slaac: solicitation"),
            Event::Advertised { router } => tracing::info!(%router, "slaac: advertisement"),
            Event::Added(address) => tracing::info!(%address, "slaac: address"),
            Event::Deprecated(address) => tracing::info!(%address, "slaac: deprecated"),
            Event::Removed(address) => tracing::info!(%address, "slaac: removed"),
            Event::Taken(address) => tracing::info!(%address, "slaac: taken"),
            Event::Router(router) => tracing::info!(?router, "slaac: default router"),
            Event::NameServers(servers) => tracing::info!(?servers, "slaac: name servers"),
        }
        if let Some(hook) = &self.config.on_event {
            hook.call(event);
        }
    }
}

impl Service for Session {
    async fn serve(&mut self) -> io::Error {
        let Err(error) = self.run().await;
        error
    }
}

impl Session {
    /// # Errors
    ///
    /// `BrokenPipe`, once the stack is gone.
    async fn run(&mut self) -> io::Result<Infallible> {
        loop {
            let mut events = Vec::new();
            match self.next().await? {
                Happened::Packet(packet) => {
                    if let Some(advertisement) = advertisement::read(&packet) {
                        self.learned.update(
                            advertisement,
                            self.client.context.clock.now(),
                            &mut events,
                        );
                    }
                }
                Happened::Changed(network) => self.on_change(&network, &mut events),
                // The host may be on another link now (RFC 4861 section 6.3.7).
                Happened::Jumped => self.start_soliciting(),
                Happened::Due => {}
            }
            let is_answer = |event: &Event| matches!(event, Event::Advertised { .. });
            let is_answered = events.iter().any(is_answer) && self.learned.router().is_some();
            self.learned.pass(self.client.context.clock.now(), &mut events);
            if events.contains(&Event::Router(None)) {
                self.start_soliciting();
            } else if is_answered {
                self.question = None;
            }
            self.apply().await?;
            for event in &events {
                self.client.emit(event);
            }
            self.solicit().await?;
        }
    }

    /// Waits until there is something to do.
    async fn next(&mut self) -> io::Result<Happened> {
        let due = self.question.map(|question| question.at).into_iter().chain(self.learned.due());
        let due = due.min();
        if due.is_some_and(|due| due <= self.client.context.clock.now()) {
            // However much comes: a flood does not hold the time up.
            tokio::task::consume_budget().await;
            return Ok(Happened::Due);
        }
        let clock = &self.client.context.clock;
        let mut timer = pin!(due.map(|due| clock.sleep_until(due)));
        let mut packet = pin!(self.socket.recv());
        let mut changed = pin!(self.watch.changed());
        let mut jumped = pin!(self.jumps.next());
        future::poll_fn(|cx| {
            if jumped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(Happened::Jumped));
            }
            match packet.as_mut().poll(cx) {
                Poll::Ready(Ok(packet)) => return Poll::Ready(Ok(Happened::Packet(packet))),
                Poll::Ready(Err(error)) if is_end(&error) => return Poll::Ready(Err(error)),
                // A question that was lost, as any may be.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(Happened::Due)),
                Poll::Pending => {}
            }
            if let Poll::Ready(changed) = changed.as_mut().poll(cx) {
                return Poll::Ready(changed.map(Happened::Changed).map_err(io::Error::from));
            }
            match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Ok(Happened::Due)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Notes removed addresses, and solicits routers again on a link that has come up.
    fn on_change(&mut self, network: &Network, events: &mut Vec<Event>) {
        let has = |address: &IpAddr| network.addresses.iter().any(|own| own.addr() == *address);
        for given in self.provided.addresses.clone() {
            if let IpAddr::V6(address) = given.addr()
                && !has(&given.addr())
            {
                let is_taken = self.tentative.contains(&given.addr());
                self.learned.lost(address, is_taken, events);
            }
        }
        self.tentative.clone_from(&network.tentative);
        let was_running = std::mem::replace(&mut self.is_running, is_running(network));
        if self.is_running && !was_running {
            self.start_soliciting();
        }
    }

    async fn apply(&mut self) -> io::Result<()> {
        let provided = self.learned.provided();
        if provided == self.provided {
            return Ok(());
        }
        let refused = self.client.context.provider.provide(Source::Slaac, provided.clone()).await?;
        let network = self.client.context.net.network();
        self.provided = provided;
        // Refused entries are neither lost nor in force: they are tried again at the next event.
        self.provided.addresses.retain(|address| !refused.addresses.contains(address));
        self.provided.routes.retain(|route| !refused.routes.contains(route));
        self.tentative.extend(&network.tentative);
        Ok(())
    }

    fn start_soliciting(&mut self) {
        let delay = FIRST_DELAY_MAX.mul_f64(self.client.random.random_range(0.0..1.0));
        let interval = self.fuzzed(INTERVAL_FIRST, 1.0);
        self.question = Some(Question { at: self.client.context.clock.now() + delay, interval });
    }

    /// Sends a solicitation, if one is due.
    async fn solicit(&mut self) -> io::Result<()> {
        let Some(question) =
            self.question.filter(|question| question.at <= self.client.context.clock.now())
        else {
            return Ok(());
        };
        let ClientContext { net, hardware_address, .. } = &self.client.context;
        let solicitation = solicitation(solicitor(&net.network()), *hardware_address);
        match self.socket.send(&solicitation).await {
            Err(error) if is_end(&error) => return Err(error),
            Err(error) => tracing::debug!(%error, "the router solicitation was not sent"),
            Ok(()) => self.client.emit(&Event::Solicited),
        }
        // RFC 7559 section 2.1.
        let longer = self.fuzzed(question.interval, 2.0);
        let interval = if longer > INTERVAL_MAX { self.fuzzed(INTERVAL_MAX, 1.0) } else { longer };
        self.question =
            Some(Question { at: self.client.context.clock.now() + question.interval, interval });
        Ok(())
    }

    /// A multiple of an interval, a tenth of it more or less.
    fn fuzzed(&mut self, interval: Duration, factor: f64) -> Duration {
        interval.mul_f64(factor + self.client.random.random_range(-0.1..0.1))
    }
}

/// The address that solicitations come from: the link-local one once it can be used, and until then
/// the unspecified one, which is always allowed (RFC 4861 section 4.1). Not every router answers that by
/// multicast, as it should (section 6.2.6): passt sends to `::`.
fn solicitor(network: &Network) -> Ipv6Addr {
    let link_local = network.addresses.iter().find_map(|own| match own.addr() {
        IpAddr::V6(own) if own.is_unicast_link_local() => Some(own),
        _ => None,
    });
    let usable = link_local.filter(|own| !network.tentative.contains(&IpAddr::V6(*own)));
    usable.unwrap_or(Ipv6Addr::UNSPECIFIED)
}

/// A router solicitation. It has the hardware address, if there is one, for a router that answers by
/// unicast.
fn solicitation(source: Ipv6Addr, hardware_address: Option<MacAddr>) -> Vec<u8> {
    let option = match hardware_address.filter(|_| !source.is_unspecified()) {
        // Of one unit of eight bytes (RFC 4861 section 4.6.1).
        Some(own) => [&[SOURCE_LINK_LAYER_ADDRESS, 1], &own.octets()[..]].concat(),
        None => Vec::new(),
    };
    let payload_len = SOLICITATION_BYTES + option.len();
    let mut bytes = vec![0; IPV6_HEADER_LEN + payload_len];
    bytes[IPV6_HEADER_LEN + SOLICITATION_BYTES..].copy_from_slice(&option);
    let mut ip = Ipv6Packet::new_unchecked(&mut bytes[..]);
    ip.set_version(6);
    ip.set_payload_len(payload_len as u16);
    ip.set_next_header(IpProtocol::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_src_addr(source);
    ip.set_dst_addr(ALL_ROUTERS);
    let mut icmp = Icmpv6Packet::new_unchecked(ip.payload_mut());
    icmp.set_msg_type(Icmpv6Message::RouterSolicit);
    icmp.fill_checksum(&source, &ALL_ROUTERS);
    bytes
}
