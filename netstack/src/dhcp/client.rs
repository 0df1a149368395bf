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
/// After so many requests without an answer, a minute in all, the offer is no longer waited for
/// (RFC 2131 section 3.1).
const REQUESTS_MAX: u32 = 4;
/// A lease is asked for again after half of what is left of it, but not sooner (RFC 2131 section
/// 4.4.5).
const EXTEND_INTERVAL_MIN: Duration = Duration::from_secs(60);
/// After the second refusal in a row the client waits so long, after each further one twice as
/// long: a server that offers and refuses is not asked as fast as the link carries it.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// How often a server is asked whether a lease still holds where the stack is now.
const VERIFICATIONS_MAX: u32 = 2;
/// A client, which is a task beside its stack.
#[derive(Debug)]
pub(crate) struct Client {
    place: ClientContext,
    config: Config,
    dhcp_release: Arc<Release>,
    random: StdRng,
}

/// A client at work.
pub(crate) struct Session {
    client: Client,
    socket: Arc<UdpSocket>,
    identity: Identity,
    /// When it began to ask for what it asks for.
    began: Instant,
    /// What it had last, which it asks for again.
    last: Option<Ipv4Addr>,
    /// Refusals in a row.
    refusals: u32,
    /// The lease in force.
    held: Option<Held>,
    moves: Moves,
}

/// A lease, and when it began: when it was asked for.
#[derive(Clone)]
struct Held {
    lease: Lease,
    since: Instant,
}

/// What comes of asking for more time.
enum Extended {
    Granted(Held),
    Refused,
    Expired,
    Unanswered,
}

impl Client {
    pub(crate) fn new(place: ClientContext, config: Config) -> Self {
        let random = random::generator(place.entropy, Purpose::Dhcp);
        Self { place, config, dhcp_release: Arc::default(), random }
    }

    /// What is to be said at the end.
    pub(crate) fn dhcp_release(&self) -> Arc<Release> {
        self.dhcp_release.clone()
    }

    /// Opens what it needs of the stack.
    pub(crate) async fn start(mut self) -> io::Result<Session> {
        let socket = self.place.net.udp_bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).await?;
        socket.set_broadcast(true)?;
        // A server tells clients apart by it, whatever the link.
        let made_up = || MacAddr::locally_administered(self.random.random());
        let hardware_address = self.place.hardware_address.unwrap_or_else(made_up).octets();
        // Hardware type and address (RFC 2132 section 9.14).
        let own_id = || [&[1][..], &hardware_address[..]].concat();
        let identity = Identity {
            hardware_address,
            client_id: self.config.client_id.clone().unwrap_or_else(own_id),
            host_name: self.config.host_name.clone(),
        };
        let began = self.place.clock.now();
        let moves = Moves::new(&self.place.net, &self.place.clock);
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

    fn tell(&self, event: &Event) {
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
            hook.tell(event);
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
            // One that was held before a panic is held on.
            let held = match self.held.take() {
                Some(held) => held,
                None => self.acquire().await?,
            };
            self.hold(held).await?;
        }
    }

    /// Asks until there is a lease: the states INIT, SELECTING and REQUESTING.
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
            self.say(Query { transaction, ..query }, Ipv4Addr::BROADCAST).await?;
            self.tell(Event::Discover);
            let until = self.now() + self.fuzzed(interval);
            interval = (interval * 2).min(RETRANSMIT_MAX);
            let offered = |answer| match answer {
                Answer::Offer(lease) => Some(lease),
                _ => None,
            };
            let offer = match self.answer(transaction, Some(until), offered).await? {
                Heard::Answer(offer) => offer,
                Heard::Nothing => continue,
                // Nobody has heard the last question.
                Heard::Moved => {
                    interval = RETRANSMIT_FIRST;
                    continue;
                }
            };
            self.tell(Event::Offer { address: offer.address, server: offer.server });
            if let Some(held) = self.request(transaction, &offer).await? {
                return Ok(held);
            }
            interval = RETRANSMIT_FIRST;
            transaction = self.client.random.random();
        }
    }

    /// Asks for what was offered.
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
            self.say(query, Ipv4Addr::BROADCAST).await?;
            self.tell(Event::Request);
            let until = since + self.fuzzed(interval);
            interval = (interval * 2).min(RETRANSMIT_MAX);
            let of_server = |answer| decision(answer, Some(offer.server));
            match self.answer(transaction, Some(until), of_server).await? {
                Heard::Answer(Ok(lease)) => {
                    self.tell(Event::Ack { lease: lease.clone() });
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
            // Whoever sees the address may shut the stack down at once.
            self.prepare_release(lease);
            let provider = &self.client.place.provider;
            let refused = provider.provide(Source::Dhcp, lease.provided()).await?;
            self.last = Some(lease.address.addr());
            if refused.addresses.is_empty() {
                self.tell(Event::Bound(lease.clone()));
            }
            match self.keep(&held).await? {
                Some(longer) => held = longer,
                None => break,
            }
        }
        self.held = None;
        self.client.dhcp_release.set(None);
        self.client.place.provider.provide(Source::Dhcp, Provided::default()).await?;
        self.tell(Event::Lost);
        Ok(())
    }

    /// Waits until a lease has to be asked for again, and asks; `None` if it is over.
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

    /// Asks whether the lease holds where the stack is now (RFC 2131 sections 3.2, 3.7 and 4.4.2). If
    /// nobody says anything it is kept for the rest of its time.
    async fn verify(&mut self, held: &Held) -> io::Result<Extended> {
        self.began = self.now();
        let mut interval = RETRANSMIT_FIRST;
        let transaction = self.client.random.random();
        for _ in 0..VERIFICATIONS_MAX {
            let since = self.now();
            let requested = Some(held.lease.address.addr());
            let query = Query { transaction, requested, ..self.query(DhcpMessageType::Request) };
            self.say(query, Ipv4Addr::BROADCAST).await?;
            self.tell(Event::Request);
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
                self.tell(Event::Ack { lease: lease.clone() });
                Extended::Granted(Held { lease, since })
            }
            Err(server) => {
                // Asking for it again would be in vain.
                self.refused(server);
                Extended::Refused
            }
        }
    }

    /// Asks for more time: first the server, then any.
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
                self.tell(event);
            }
            loop {
                let since = self.now();
                if since >= end {
                    break;
                }
                let own = lease.address.addr();
                let query = Query { transaction, own, ..self.query(DhcpMessageType::Request) };
                self.say(query, asked).await?;
                self.tell(Event::Request);
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
        self.tell(Event::Nak { server });
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
        self.client.place.clock.now()
    }

    /// A second more or less, anything between.
    fn fuzzed(&mut self, interval: Duration) -> Duration {
        let fuzz = self.client.random.random_range(0..=2000);
        interval - Duration::from_secs(1) + Duration::from_millis(fuzz)
    }

    fn tell(&self, event: Event) {
        self.client.tell(&event);
    }
}

/// The lease that was granted, or who refused; nothing that another server than `by` says.
fn decision(answer: Answer, by: Option<Ipv4Addr>) -> Option<Result<Lease, Ipv4Addr>> {
    let decides = |server| by.is_none_or(|by| by == server);
    match answer {
        Answer::Ack(lease) if decides(lease.server) => Some(Ok(lease)),
        Answer::Nak { server } if decides(server) => Some(Err(server)),
        _ => None,
    }
}
