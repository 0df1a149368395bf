//! The client: RFC 2131 section 4.4.

mod exchange;

use super::message::{Answer, CLIENT_PORT, Identity, Query, SERVER_PORT};
use super::release::Release;
use super::{Config, Event, Lease};
use crate::moves::Moves;
use crate::provided::{ClientContext, Provided, Source};
use crate::random::{self, Purpose};
use crate::supervision::Service;
use crate::wire::DhcpMessageType;
use exchange::Heard;
use netcore::MacAddr;
use netsocket::UdpSocket;
use rand::RngExt;
use rand::rngs::StdRng;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Retransmissions begin so and double up to the second, each a second earlier or later (RFC 2131
/// section 4.1).
const RETRANSMIT_FIRST: Duration = Duration::from_secs(4);
const RETRANSMIT_MAX: Duration = Duration::from_secs(64);
/// After this many requests without an answer, a minute in all, the offer is given up (RFC 2131
/// section 3.1).
const REQUESTS_MAX: u32 = 4;
/// A lease is extended again after half of its remaining time, but not sooner than this (RFC 2131
/// section 4.4.5).
const EXTEND_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// The pause after the second refusal in a row, doubled after each further one: otherwise the
/// client and a server that offers and refuses would loop at the speed of the link.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How often a verification of a lease is sent.
const VERIFICATIONS_MAX: u32 = 2;
/// A client, which is a task beside its stack.
#[derive(Debug)]
pub(crate) struct Client {
    context: ClientContext,
    config: Config,
    dhcp_release: Arc<Release>,
    random: StdRng,
}

/// A client at work.
pub(crate) struct Session {
    client: Client,
    socket: Arc<UdpSocket>,
    identity: Identity,
    /// Start of the current acquisition or extension; the field `secs` counts from it.
    began: Instant,
    /// The last address held, requested again (option 50).
    last: Option<Ipv4Addr>,
    /// Refusals in a row.
    refusals: u32,
    /// The lease in force.
    held: Option<Held>,
    moves: Moves,
}

/// A lease, and when it began: when it was requested.
#[derive(Clone)]
struct Held {
    lease: Lease,
    since: Instant,
}

/// Result of an attempt to extend a lease.
enum Extended {
    Granted(Held),
    Refused,
    Expired,
    Unanswered,
}

impl Client {
    pub(crate) fn new(context: ClientContext, config: Config) -> Self {
        let random = random::generator(context.entropy, Purpose::Dhcp);
        Self { context, config, dhcp_release: Arc::default(), random }
    }

    /// The message that shutting the stack down sends.
    pub(crate) fn dhcp_release(&self) -> Arc<Release> {
        self.dhcp_release.clone()
    }

    /// Opens the client's socket.
    pub(crate) async fn start(mut self) -> io::Result<Session> {
        let socket = self.context.net.udp_bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).await?;
        socket.set_broadcast(true)?;
        // The server identifies clients by it, on any link.
        let made_up = || MacAddr::locally_administered(self.random.random());
        let hardware_address = self.context.hardware_address.unwrap_or_else(made_up).octets();
        // Hardware type and address (RFC 2132 section 9.14).
        let own_id = || [&[1][..], &hardware_address[..]].concat();
        let identity = Identity {
            hardware_address,
            client_id: self.config.client_id.clone().unwrap_or_else(own_id),
            host_name: self.config.host_name.clone(),
        };
        let began = self.context.clock.now();
        let moves = Moves::new(&self.context.net, &self.context.clock);
        let socket = Arc::new(socket);
        Ok(Session {
            client: self,
            socket,
            identity,
            began,
            last: None,
            refusals: 0,
            held: None,
            moves,
        })
    }

    fn emit(&self, event: &Event) {
        match event {
            Event::Offer { address, server } => {
                tracing::info!(%address, %server, "dhcp: offer");
            }
            Event::Ack { lease } => {
                tracing::info!(address = %lease.address, server = %lease.server, "dhcp: ack");
            }
            Event::Nak { server } => tracing::info!(%server, "dhcp: nak"),
            Event::Bound(lease) => tracing::info!(
                address = %lease.address.addr(),
                netmask = %lease.address.netmask(),
                gateway = ?lease.gateway(),
                duration = ?lease.duration,
                "dhcp: bound",
            ),
            Event::Discover => tracing::info!("dhcp: discover"),
            Event::Request => tracing::info!("dhcp: request"),
            Event::Renewing => tracing::info!("dhcp: renewing"),
            Event::Rebinding => tracing::info!("dhcp: rebinding"),
            Event::Lost => tracing::info!("dhcp: lost"),
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
            // A lease that was in force before a panic stays in force.
            let held = match self.held.take() {
                Some(held) => held,
                None => self.acquire().await?,
            };
            self.hold(held).await?;
        }
    }

    /// Acquires a lease: the states INIT, SELECTING and REQUESTING.
    async fn acquire(&mut self) -> io::Result<Held> {
        self.began = self.now();
        let mut interval = RETRANSMIT_FIRST;
        let mut transaction = self.client.random.random();
        loop {
            if self.refusals > 1 {
                let doublings = (self.refusals - 2).min(RETRANSMIT_MAX.as_secs().ilog2());
                let until = self.now() + REFUSED_PAUSE * (1 << doublings);
                self.wait_until(Some(until)).await?;
            }
            let query = Query { requested: self.last, ..self.query(DhcpMessageType::Discover) };
            self.send(Query { transaction, ..query }, Ipv4Addr::BROADCAST).await?;
            self.emit(Event::Discover);
            let until = self.now() + self.fuzzed(interval);
            interval = (interval * 2).min(RETRANSMIT_MAX);
            let offered = |answer| match answer {
                Answer::Offer(lease) => Some(lease),
                _ => None,
            };
            let offer = match self.answer(transaction, Some(until), offered).await? {
                Heard::Answer(offer) => offer,
                Heard::Nothing => continue,
                // The last message was sent on another link.
                Heard::Moved => {
                    interval = RETRANSMIT_FIRST;
                    continue;
                }
            };
            self.emit(Event::Offer { address: offer.address, server: offer.server });
            if let Some(held) = self.request(transaction, &offer).await? {
                return Ok(held);
            }
            interval = RETRANSMIT_FIRST;
            transaction = self.client.random.random();
        }
    }

    /// Requests the offered address.
    async fn request(&mut self, transaction: u32, offer: &Lease) -> io::Result<Option<Held>> {
        let mut interval = RETRANSMIT_FIRST;
        for _ in 0..REQUESTS_MAX {
            let since = self.now();
            let query = Query {
                transaction,
                requested: Some(offer.address.addr()),
                server: Some(offer.server),
                ..self.query(DhcpMessageType::Request)
            };
            self.send(query, Ipv4Addr::BROADCAST).await?;
            self.emit(Event::Request);
            let until = since + self.fuzzed(interval);
            interval = (interval * 2).min(RETRANSMIT_MAX);
            let of_server = |answer| decision(answer, Some(offer.server));
            match self.answer(transaction, Some(until), of_server).await? {
                Heard::Answer(Ok(lease)) => {
                    self.emit(Event::Ack { lease: lease.clone() });
                    self.refusals = 0;
                    return Ok(Some(Held { lease, since }));
                }
                Heard::Answer(Err(server)) => {
                    self.refused(server);
                    return Ok(None);
                }
                Heard::Moved => return Ok(None),
                Heard::Nothing => {}
            }
        }
        Ok(None)
    }

    /// Keeps a lease for as long as it can be had: the states BOUND, RENEWING and REBINDING.
    async fn hold(&mut self, mut held: Held) -> io::Result<()> {
        loop {
            let lease = &held.lease;
            self.held = Some(held.clone());
            // A program that sees the address may shut the stack down immediately.
            self.prepare_release(lease);
            let provider = &self.client.context.provider;
            let refused = provider.provide(Source::Dhcp, lease.provided()).await?;
            self.last = Some(lease.address.addr());
            if refused.addresses.is_empty() {
                self.emit(Event::Bound(lease.clone()));
            }
            match self.keep(&held).await? {
                Some(longer) => held = longer,
                None => break,
            }
        }
        self.held = None;
        self.client.dhcp_release.set(None);
        self.client.context.provider.provide(Source::Dhcp, Provided::default()).await?;
        self.emit(Event::Lost);
        Ok(())
    }

    /// Waits until a lease is due for renewal, and extends it; `None` once it has ended.
    async fn keep(&mut self, held: &Held) -> io::Result<Option<Held>> {
        let renew_at = held.lease.duration.map(|_| held.since + held.lease.renew_after);
        loop {
            let heard = self.wait_until(renew_at).await?;
            let is_due = renew_at.is_some_and(|at| at <= self.now());
            let extended = match heard {
                _ if is_due => self.extend(held).await?,
                Heard::Moved => self.verify(held).await?,
                Heard::Nothing => continue,
            };
            match extended {
                Extended::Granted(longer) => return Ok(Some(longer)),
                Extended::Refused | Extended::Expired => return Ok(None),
                Extended::Unanswered => {}
            }
        }
    }

    /// Verifies the lease on the link that the stack is on now (RFC 2131 sections 3.2, 3.7 and
    /// 4.4.2). Without an answer the lease is kept for its remaining time.
    async fn verify(&mut self, held: &Held) -> io::Result<Extended> {
        self.began = self.now();
        let mut interval = RETRANSMIT_FIRST;
        let transaction = self.client.random.random();
        for _ in 0..VERIFICATIONS_MAX {
            let since = self.now();
            let requested = Some(held.lease.address.addr());
            let query = Query { transaction, requested, ..self.query(DhcpMessageType::Request) };
            self.send(query, Ipv4Addr::BROADCAST).await?;
            self.emit(Event::Request);
            let until = since + self.fuzzed(interval);
            interval *= 2;
            let heard = self.answer(transaction, Some(until), |answer| decision(answer, None));
            if let Heard::Answer(decision) = heard.await? {
                return Ok(self.decided(decision, since));
            }
        }
        Ok(Extended::Unanswered)
    }

    fn decided(&mut self, decision: Result<Lease, Ipv4Addr>, since: Instant) -> Extended {
        match decision {
            Ok(lease) => {
                self.emit(Event::Ack { lease: lease.clone() });
                Extended::Granted(Held { lease, since })
            }
            Err(server) => {
                // The server would refuse it again.
                self.refused(server);
                Extended::Refused
            }
        }
    }

    /// Extends the lease: at its server first, then at any.
    async fn extend(&mut self, held: &Held) -> io::Result<Extended> {
        let lease = &held.lease;
        let rebind_at = held.since + lease.rebind_after;
        let expires_at = held.since + lease.duration.unwrap_or(lease.rebind_after);
        self.began = self.now();
        let transaction = self.client.random.random();
        for (event, asked, decides, end) in [
            (Event::Renewing, lease.server, Some(lease.server), rebind_at),
            (Event::Rebinding, Ipv4Addr::BROADCAST, None, expires_at),
        ] {
            if self.now() < end {
                self.emit(event);
            }
            loop {
                let since = self.now();
                if since >= end {
                    break;
                }
                let own = lease.address.addr();
                let query = Query { transaction, own, ..self.query(DhcpMessageType::Request) };
                self.send(query, asked).await?;
                self.emit(Event::Request);
                let until = end.min(since + ((end - since) / 2).max(EXTEND_INTERVAL_MIN));
                let decide = |answer| decision(answer, decides);
                if let Heard::Answer(decision) =
                    self.answer(transaction, Some(until), decide).await?
                {
                    return Ok(self.decided(decision, since));
                }
            }
        }
        Ok(Extended::Expired)
    }

    fn refused(&mut self, server: Ipv4Addr) {
        self.refusals = self.refusals.saturating_add(1);
        self.last = None;
        self.emit(Event::Nak { server });
    }

    /// Notes how to give the lease back.
    fn prepare_release(&mut self, lease: &Lease) {
        if !self.client.config.release {
            return;
        }
        let query = Query {
            transaction: self.client.random.random(),
            own: lease.address.addr(),
            server: Some(lease.server),
            elapsed: Duration::ZERO,
            ..self.query(DhcpMessageType::Release)
        };
        let server = SocketAddr::from((lease.server, SERVER_PORT));
        let message = query.write(&self.identity);
        self.client.dhcp_release.set(Some((self.socket.clone(), server, message)));
    }

    fn now(&self) -> Instant {
        self.client.context.clock.now()
    }

    /// A second more or less, anything between.
    fn fuzzed(&mut self, interval: Duration) -> Duration {
        let fuzz = self.client.random.random_range(0..=2000);
        interval - Duration::from_secs(1) + Duration::from_millis(fuzz)
    }

    fn emit(&self, event: Event) {
        self.client.emit(&event);
    }
}

/// The granted lease, or the server that refused it; `None` for answers of a server other than
/// `by`.
fn decision(answer: Answer, by: Option<Ipv4Addr>) -> Option<Result<Lease, Ipv4Addr>> {
    let decides = |server| by.is_none_or(|by| by == server);
    match answer {
        Answer::Ack(lease) if decides(lease.server) => Some(Ok(lease)),
        Answer::Nak { server } if decides(server) => Some(Err(server)),
        _ => None,
    }
}
