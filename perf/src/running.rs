//! The streams of a test while they run, at one end.

use crate::channel::Channel;
use crate::connection::{self, Sending};
use crate::connector::Dialer;
use crate::datagrams::{self, Numbers};
use crate::failure::Failure;
use crate::parameters::{Direction, Mode, Parameters};
use crate::phase::{Phase, reached, until};
use crate::results::{Results, StreamResult};
use crate::stream_id::stream_id;
use crate::tally::{Budget, Counts, Tally};
use crate::transactions::{self, Exchange};
use netsocket::{TcpStream, UdpSocket};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// An end of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// The streams of a test, and their tasks. Dropping it ends them.
pub(crate) struct Running {
    parameters: Parameters,
    side: Side,
    streams: Vec<Stream>,
    /// Tasks with an end of their own.
    tasks: JoinSet<Result<(), Failure>>,
    /// Tasks that run to the end of the test.
    endless: JoinSet<Result<(), Failure>>,
    phase: watch::Sender<Phase>,
    /// Those whose task is done: their end would be one of the test's, to the other end.
    done: Arc<Mutex<Vec<Channel>>>,
    /// Of all streams that this end sends.
    to_send: Arc<Budget>,
    /// Of all streams that this end receives.
    to_receive: Arc<Budget>,
    start: Instant,
    sending: Option<Duration>,
    receiving: Option<Duration>,
}

/// A stream at one end.
pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) sends: bool,
    pub(crate) tally: Arc<Tally>,
    /// What it runs over, if that is TCP.
    connection: Option<Arc<TcpStream>>,
    retransmits: Option<u64>,
}

/// A stream of datagrams: its socket, which at the server is that of all, and its other end.
pub(crate) type DatagramStream = (Arc<UdpSocket>, SocketAddr);

/// How long the rest may take that is on the way when the senders stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long datagrams may still take when their sender has said how many there are.
const STRAGGLERS: Duration = Duration::from_millis(300);

impl Running {
    fn new(side: Side, parameters: &Parameters) -> Self {
        let bytes = parameters.bytes().filter(|_| parameters.omit == 0);
        // Streams that end with their last byte need no other end.
        let ends_itself = parameters.tcp && parameters.netstack.is_some();
        Self {
            parameters: parameters.clone(),
            side,
            streams: Vec::new(),
            tasks: JoinSet::new(),
            endless: JoinSet::new(),
            phase: watch::Sender::new(Phase::Running),
            done: Arc::default(),
            to_send: Arc::new(Budget::new(bytes)),
            to_receive: Arc::new(Budget::new(bytes.filter(|_| !ends_itself))),
            start: Instant::now(),
            sending: None,
            receiving: None,
        }
    }

    /// Starts streams of bytes.
    pub(crate) fn start_channels(
        side: Side,
        parameters: &Parameters,
        channels: Vec<Channel>,
    ) -> Self {
        let mut running = Self::new(side, parameters);
        for channel in channels {
            let stream = running.add(channel.tcp().cloned());
            match parameters.mode() {
                Mode::Stream => running.spawn_stream(stream, channel),
                Mode::Request | Mode::Connect => running.spawn_exchange(stream, channel),
            }
        }
        running
    }

    /// Starts the streams of UDP.
    pub(crate) fn start_udp(
        side: Side,
        parameters: &Parameters,
        streams: Vec<DatagramStream>,
    ) -> Self {
        let mut running = Self::new(side, parameters);
        let mut shared = None;
        let mut peers = HashMap::new();
        for (socket, peer) in streams {
            let stream = running.add(None);
            let tally = running.streams[stream].tally.clone();
            if side == Side::Server {
                // Those that the server sends receive nothing.
                if !running.streams[stream].sends {
                    peers.insert(peer, tally);
                }
                shared = Some(socket.clone());
            } else if parameters.mode() != Mode::Stream {
                let exchange = running.exchange();
                running.spawn(stream, Phase::Draining, async move {
                    transactions::ask_datagrams(&socket, &tally, exchange).await
                });
                continue;
            } else if !running.streams[stream].sends {
                running.spawn_receiver(socket.clone(), HashMap::from([(peer, tally)]));
            }
            if running.streams[stream].sends {
                running.spawn_sender(stream, socket, peer);
            }
        }
        if let Some(socket) = shared {
            match parameters.mode() {
                Mode::Stream => running.spawn_receiver(socket, peers),
                Mode::Request | Mode::Connect => {
                    let exchange = running.exchange();
                    running.spawn_endless(async move {
                        transactions::answer_datagrams(&socket, &peers, exchange).await
                    });
                }
            }
        }
        running
    }

    /// Starts to connect again and again.
    pub(crate) fn start_connecting(parameters: &Parameters, dialer: &Dialer) -> Self {
        let mut running = Self::new(Side::Client, parameters);
        let exchange = running.exchange();
        for _ in 0..parameters.parallel {
            let stream = running.add(None);
            let (dialer, tally) = (dialer.clone(), running.streams[stream].tally.clone());
            running.spawn(stream, Phase::Draining, async move {
                transactions::connect(&dialer, &tally, exchange).await
            });
        }
        running
    }

    /// Waits for connections of one request each.
    pub(crate) fn start_accepting(parameters: &Parameters) -> Self {
        let mut running = Self::new(Side::Server, parameters);
        running.add(None);
        running
    }

    /// Answers the request of a connection, unless there are too many of them.
    pub(crate) fn accept(&mut self, mut channel: Channel) {
        /// Some for each worker, as the ends of connections overlap.
        const EACH_MAX: usize = 16;
        while let Some(ended) = self.endless.try_join_next() {
            self.note(ended);
        }
        if self.endless.len() < EACH_MAX * self.parameters.parallel as usize {
            let (exchange, tally) = (self.exchange(), self.streams[0].tally.clone());
            self.spawn_endless(async move {
                match transactions::answer_once(&mut channel, &tally, exchange).await {
                    Err(error @ Failure::Corrupt(_)) => Err(error),
                    // One that was given up is no failure of the test.
                    _ => Ok(()),
                }
            });
        }
    }

    /// Adds a stream, and returns its place.
    fn add(&mut self, connection: Option<Arc<TcpStream>>) -> usize {
        let place = self.streams.len();
        let is_client = self.side == Side::Client;
        let sends = match (self.parameters.mode(), self.parameters.direction()) {
            (Mode::Request | Mode::Connect, _) => is_client,
            (Mode::Stream, Direction::Up) => is_client,
            (Mode::Stream, Direction::Down) => !is_client,
            // First those that the client sends.
            (Mode::Stream, Direction::Both) => {
                is_client == (place < self.parameters.parallel as usize)
            }
        };
        let (id, tally) = (stream_id(place), Arc::default());
        self.streams.push(Stream { id, sends, tally, connection, retransmits: None });
        place
    }

    fn sending_flags(&self) -> Sending {
        Sending {
            block_bytes: self.parameters.block_bytes(),
            rate: self.parameters.bandwidth,
            verify: self.parameters.verifies(),
        }
    }

    fn exchange(&self) -> Exchange {
        let extension = self.parameters.netstack.as_ref();
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Exchange {
            request: extension.map_or(1, |extension| bytes(extension.request)),
            response: extension.map_or(1, |extension| bytes(extension.response)),
            verify: self.parameters.verifies(),
        }
    }

    fn numbers(&self) -> Numbers {
        if self.parameters.udp_counters_64bit > 0 { Numbers::Long } else { Numbers::Short }
    }

    fn spawn_stream(&mut self, place: usize, mut channel: Channel) {
        let (tally, done) = (self.streams[place].tally.clone(), self.done.clone());
        if self.streams[place].sends {
            let (sending, budget) = (self.sending_flags(), self.to_send.clone());
            let ends = self.parameters.netstack.is_some();
            let is_server = self.side == Side::Server;
            let mut phase = self.phase.subscribe();
            let id = self.streams[place].id;
            self.tasks.spawn(async move {
                let (sent, ends) = tokio::select! {
                    sent = connection::send(&mut channel, &tally, &budget, &sending) => (sent, ends),
                    // A client of iperf3 that is inside of a block reads on up to the end of that, or
                    // of the stream: its server closes the streams before it sends results.
                    () = reached(&mut phase, Phase::Draining) => (Ok(()), ends || is_server),
                };
                if ends {
                    // A connection that has ended by itself needs no end.
                    let _ = channel.finish().await;
                }
                keep(&done, channel);
                sent.map_err(Failure::io(format_args!("stream {id}: sending")))
            });
        } else {
            let (verify, budget) = (self.parameters.verifies(), self.to_receive.clone());
            self.spawn(place, Phase::Over, async move {
                let received = connection::receive(&mut channel, &tally, &budget, verify).await;
                keep(&done, channel);
                received
            });
        }
    }

    fn spawn_exchange(&mut self, place: usize, mut channel: Channel) {
        let (tally, exchange, side) =
            (self.streams[place].tally.clone(), self.exchange(), self.side);
        let (mut phase, done) = (self.phase.subscribe(), self.done.clone());
        self.spawn(place, Phase::Over, async move {
            let work = async {
                match side {
                    Side::Client => transactions::ask(&mut channel, &tally, exchange).await,
                    Side::Server => transactions::answer(&mut channel, &tally, exchange).await,
                }
            };
            let ended = until(&mut phase, Phase::Draining, work).await;
            keep(&done, channel);
            ended
        });
    }

    fn spawn_sender(&mut self, place: usize, socket: Arc<UdpSocket>, peer: SocketAddr) {
        let (sending, budget, numbers) =
            (self.sending_flags(), self.to_send.clone(), self.numbers());
        let tally = self.streams[place].tally.clone();
        self.spawn(place, Phase::Draining, async move {
            let sent = datagrams::send(&socket, peer, &tally, &budget, &sending, numbers).await;
            sent.map_err(Failure::io("sending datagrams"))
        });
    }

    fn spawn_receiver(&mut self, socket: Arc<UdpSocket>, peers: HashMap<SocketAddr, Arc<Tally>>) {
        let (verify, budget, numbers) =
            (self.parameters.verifies(), self.to_receive.clone(), self.numbers());
        self.spawn_endless(async move {
            datagrams::receive(&socket, &peers, &budget, verify, numbers).await
        });
    }

    /// Runs the work of a stream until a phase.
    fn spawn(
        &mut self,
        place: usize,
        which: Phase,
        work: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) {
        let (mut phase, id) = (self.phase.subscribe(), self.streams[place].id);
        self.tasks.spawn(async move {
            until(&mut phase, which, work).await.map_err(|error| error.on_stream(id))
        });
    }

    fn spawn_endless(&mut self, work: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        let mut phase = self.phase.subscribe();
        self.endless.spawn(async move { until(&mut phase, Phase::Over, work).await });
    }

    /// Waits until all streams have ended by themselves, or all bytes are there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses nothing.
    pub(crate) async fn finished(&mut self) -> Result<(), Failure> {
        loop {
            tokio::select! {
                Some(ended) = self.tasks.join_next() => {
                    outcome(ended)?;
                    if self.tasks.is_empty() {
                        return Ok(());
                    }
                }
                Some(ended) = self.endless.join_next() => outcome(ended)?,
                () = self.to_receive.spent() => return Ok(()),
            }
        }
    }

    /// What was until now does not count.
    pub(crate) fn omit(&mut self) {
        self.start = Instant::now();
        for stream in &self.streams {
            stream.tally.omit();
        }
    }

    /// Stops to send.
    pub(crate) fn stop(&mut self) {
        self.sending.get_or_insert(self.start.elapsed());
        self.phase.send_replace(Phase::Draining);
    }

    /// After [`stop`](Self::stop), waits for what is on the way, as far as streams have an end.
    pub(crate) async fn drain(&mut self) -> Result<(), Failure> {
        let extended = self.parameters.netstack.is_some();
        if self.parameters.tcp && !extended {
            // iperf3's streams have no end.
            self.phase.send_replace(Phase::Over);
        }
        // What a sender does until it sees the end counts, too.
        let joined = timeout(DRAIN, self.join()).await.unwrap_or(Ok(()));
        self.receiving.get_or_insert(self.start.elapsed());
        if self.parameters.tcp {
            self.phase.send_replace(Phase::Over);
        }
        for stream in self.streams.iter_mut().filter(|stream| stream.sends) {
            if let Some(connection) = &stream.connection {
                // A stack that is gone has nothing to tell.
                stream.retransmits = connection.info().await.ok().map(|info| info.total_retrans);
            }
        }
        // iperf3 closes its streams when it likes.
        if extended { joined } else { Ok(()) }
    }

    async fn join(&mut self) -> Result<(), Failure> {
        let mut first = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            first = first.and(outcome(ended));
        }
        first
    }

    /// Waits for datagrams that have been sent and are on the way, and receives no more.
    pub(crate) async fn drain_datagrams(&mut self, sent: &[StreamResult]) {
        let receivers = self.streams.iter().filter(|stream| !stream.sends && self.parameters.udp);
        let missing = || {
            receivers.clone().any(|stream| {
                let sent = sent.iter().find(|sent| sent.id == stream.id);
                sent.is_some_and(|sent| stream.tally.counts().arrivals.highest < sent.packets)
            })
        };
        // Looked at again and again: to be woken, every datagram of a test would have to wake.
        let start = Instant::now();
        while missing() && start.elapsed() < STRAGGLERS {
            sleep(Duration::from_millis(5)).await;
        }
        self.phase.send_replace(Phase::Over);
    }

    /// What has gone wrong in tasks that run to the end.
    fn note(&mut self, ended: Result<Result<(), Failure>, JoinError>) {
        if let Err(failure) = outcome(ended) {
            // The test finds it where it looks for the end of its streams.
            self.tasks.spawn(async { Err(failure) });
        }
    }

    pub(crate) fn streams(&self) -> &[Stream] {
        &self.streams
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// How long was sent, and how long was received, of what counts.
    pub(crate) fn times(&self) -> (Duration, Duration) {
        let now = self.start.elapsed();
        (self.sending.unwrap_or(now), self.receiving.unwrap_or(now))
    }

    /// What the streams have counted so far.
    pub(crate) fn counts(&self) -> Vec<Counts> {
        self.streams.iter().map(|stream| stream.tally.counts()).collect()
    }

    /// What this end tells the other.
    pub(crate) fn results(&self, failure: Option<&Failure>) -> Results {
        let (sending, receiving) = self.times();
        let knows_retransmits = self.streams.iter().any(|stream| stream.retransmits.is_some());
        let streams = self.streams.iter().map(|stream| {
            let time = if stream.sends { sending } else { receiving };
            stream.result(time)
        });
        Results {
            cpu_util_total: 0.0,
            cpu_util_user: 0.0,
            cpu_util_system: 0.0,
            sender_has_retransmits: if knows_retransmits { 1 } else { -1 },
            congestion_used: None,
            streams: streams.collect(),
            error: failure.map(ToString::to_string),
        }
    }
}

impl Stream {
    pub(crate) fn result(&self, time: Duration) -> StreamResult {
        let (all, omitted) = (self.tally.counts(), self.tally.omitted());
        let packets = |counts: &Counts| match self.sends {
            true => counts.datagrams,
            false => counts.arrivals.highest,
        };
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        StreamResult {
            id: self.id,
            bytes: all.bytes - omitted.bytes,
            retransmits: self.retransmits.map_or(-1, signed),
            jitter: all.arrivals.jitter,
            errors: signed(all.arrivals.lost),
            omitted_errors: signed(omitted.arrivals.lost),
            packets: packets(&all),
            omitted_packets: packets(&omitted),
            start_time: 0.0,
            end_time: time.as_secs_f64(),
        }
    }
}

/// Keeps a channel until the test is over.
fn keep(done: &Mutex<Vec<Channel>>, channel: Channel) {
    done.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
}

/// What a task has come to.
fn outcome(ended: Result<Result<(), Failure>, JoinError>) -> Result<(), Failure> {
    match ended {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends.
        Err(_) => Ok(()),
    }
}
