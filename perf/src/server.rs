//! The server of tests, one at a time.

use crate::acceptor::{Acceptor, Arrival, Listener, PENDING_MAX};
use crate::channel::Control;
use crate::connector::prepare;
use crate::control::{
    PARAMETERS_BYTES_MAX, PATIENCE, RESULTS_BYTES_MAX, State, in_time, read_json, read_state,
    write_json, write_state,
};
use crate::cookie::Cookie;
use crate::datagrams;
use crate::failure::Failure;
use crate::parameters::{Direction, Extension, Mode, Parameters};
use crate::progress::Progress;
use crate::report::{Event, Intervals, Report, Start};
use crate::results::Results;
use crate::running::{Running, Side};
use crate::scheme::Scheme;
use bytes::Bytes;
use netsocket::Net;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};

/// How a server runs its tests.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How often there is an [`Event::Interval`]; zero for never.
    pub interval: Duration,
    /// How many tests there are; without a number as many as come.
    pub tests: Option<usize>,
}

/// A server, which listens.
#[derive(Debug)]
pub struct Server {
    net: Net,
    listener: Listener,
}

/// How long a test may go on without any data, as of iperf3.
const STANDSTILL: Duration = Duration::from_secs(120);
/// How much longer than it wants a test may take.
const GRACE: Duration = Duration::from_secs(30);
/// How long the client may take to see that the server ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// iperf3's number of an error in the parameters.
const IERECVPARAMS: i32 = 114;
/// iperf3's number of an error with the streams.
const IESTREAMCONNECT: i32 = 203;

impl Server {
    /// Listens on a port of all the stack's addresses, or on one of them.
    ///
    /// # Errors
    ///
    /// `AddrInUse`; `AddrNotAvailable` if the address is none of the stack's.
    pub async fn bind(net: &Net, address: SocketAddr, acceptor: Acceptor) -> std::io::Result<Self> {
        let listener = Listener::bind(net, address, acceptor).await?;
        Ok(Self { net: net.clone(), listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// None.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves tests until `stop` is ready: then the client of a running one is told.
    ///
    /// # Errors
    ///
    /// That of the listener.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a running test ends at both ends.
    pub async fn serve(
        &self,
        options: &Options,
        stop: impl Future<Output = ()>,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> std::io::Result<()> {
        let (sender, mut arrivals) = mpsc::channel::<Arrival>(PENDING_MAX);
        let mut stop = std::pin::pin!(stop);
        let serving = async {
            let mut left = options.tests;
            while left != Some(0) {
                let arrival = tokio::select! {
                    Some(arrival) = arrivals.recv() => arrival,
                    () = &mut stop => break,
                };
                let peer = arrival.peer;
                let mut test = Test::new(self, arrival, &mut arrivals);
                match test.run(options, &mut stop, on_event).await {
                    Ok(Some(report)) => on_event(Event::Ended(Box::new(report))),
                    Ok(None) => break,
                    Err(failure) => on_event(Event::Failed(peer, failure)),
                }
                left = left.map(|left| left - 1);
            }
            self.listener.settle().await;
        };
        tokio::select! {
            failed = self.listener.accept_all(sender) => failed,
            () = serving => Ok(()),
        }
    }
}

/// A test, from its control connection to its end.
struct Test<'a> {
    server: &'a Server,
    arrivals: &'a mut mpsc::Receiver<Arrival>,
    cookie: Cookie,
    local: SocketAddr,
    peer: SocketAddr,
    control: Control,
    parameters: Parameters,
    /// What is wrong with its streams.
    found: Option<Failure>,
}

impl<'a> Test<'a> {
    fn new(
        server: &'a Server,
        arrival: Arrival,
        arrivals: &'a mut mpsc::Receiver<Arrival>,
    ) -> Self {
        let Arrival { cookie, local, peer, channel, .. } = arrival;
        if let Some(tcp) = channel.tcp() {
            // One that has ended is found by its first message.
            let _ = tcp.set_nodelay(true);
        }
        let (control, parameters) = (channel.into_control(), Parameters::default());
        Self { server, arrivals, cookie, local, peer, control, parameters, found: None }
    }

    /// Runs it; without a report if it was stopped.
    async fn run(
        &mut self,
        options: &Options,
        stop: &mut (impl Future<Output = ()> + Unpin),
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Option<Report>, Failure> {
        let started = tokio::select! {
            started = self.start(on_event) => started,
            () = &mut *stop => return self.terminate().await,
        };
        let mut running = started?;
        let watched = tokio::select! {
            watched = self.watch(&mut running, options, on_event) => watched,
            () = &mut *stop => return self.terminate().await,
        };
        running.stop();
        if let Err(failure) = watched {
            return Err(self.fail(IESTREAMCONNECT, failure).await);
        }
        let drained = running.drain().await;
        write_state(&mut self.control, State::ExchangeResults).await?;
        let theirs = in_time("its results", read_json(&mut self.control, RESULTS_BYTES_MAX));
        let theirs: Results = theirs.await?;
        running.drain_datagrams(&theirs.streams).await;
        // iperf3's streams end as they can.
        let found = self.found.take().or(drained.err());
        let found = found.filter(|_| self.parameters.netstack.is_some());
        write_json(&mut self.control, &running.results(found.as_ref())).await?;
        write_state(&mut self.control, State::DisplayResults).await?;
        // A client that has left has its results, too.
        let _ = timeout(PATIENCE, read_state(&mut self.control)).await;
        Ok(Some(Report::new(Side::Server, &self.parameters, &running, Some(&theirs))))
    }

    async fn terminate(&mut self) -> Result<Option<Report>, Failure> {
        let told = async {
            let _ = write_state(&mut self.control, State::ServerTerminate).await;
            let _ = self.control.shutdown().await;
            // A stream that ended before would be taken for the reason.
            while read_state(&mut self.control).await.is_ok() {}
        };
        let _ = timeout(FAREWELL, told).await;
        Ok(None)
    }

    /// Tells the client that the test has failed.
    async fn fail(&mut self, number: i32, failure: Failure) -> Failure {
        let told = async {
            write_state(&mut self.control, State::ServerError).await?;
            let numbers = [number.to_be_bytes(), 0_i32.to_be_bytes()].concat();
            self.control
                .write_all(&numbers)
                .await
                .map_err(Failure::io("the control connection"))?;
            let _ = self.control.shutdown().await;
            Ok::<_, Failure>(())
        };
        // A client that has left need not be told.
        let _ = timeout(PATIENCE, told).await;
        failure
    }

    /// Exchanges the parameters, and gathers the streams.
    async fn start(
        &mut self,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Running, Failure> {
        write_state(&mut self.control, State::ParamExchange).await?;
        let parameters = read_json(&mut self.control, PARAMETERS_BYTES_MAX);
        let parameters: Parameters = in_time("its parameters", parameters).await?;
        let is_of_tcp = self.server.listener.scheme() == Scheme::Tcp;
        let checked = match parameters.udp && !is_of_tcp {
            true => Err(Failure::Protocol("this server has no tests of udp".into())),
            false => parameters.check(),
        };
        if let Err(failure) = checked {
            return Err(self.fail(IERECVPARAMS, failure).await);
        }
        self.parameters = parameters;
        let extension = self.parameters.netstack.take();
        self.parameters.netstack = extension.filter(|it| it.version == Extension::VERSION);
        if self.parameters.netstack.is_some() {
            write_state(&mut self.control, State::Extended).await?;
        }
        let running = match in_time("its streams", self.gather()).await {
            Ok(running) => running,
            Err(failure) => return Err(self.fail(IESTREAMCONNECT, failure).await),
        };
        on_event(Event::Started(Start {
            scheme: match self.server.listener.scheme() {
                Scheme::Tcp if self.parameters.udp => Scheme::Udp,
                scheme => scheme,
            },
            local: self.local,
            remote: self.peer,
            extended: self.parameters.netstack.is_some(),
            parameters: self.parameters.clone(),
        }));
        write_state(&mut self.control, State::TestStart).await?;
        write_state(&mut self.control, State::TestRunning).await?;
        Ok(running)
    }

    /// Whether a request comes as an arrival of its own, and not on a stream.
    fn takes_requests(&self) -> bool {
        match self.parameters.mode() {
            Mode::Stream => false,
            Mode::Request => self.server.listener.scheme() == Scheme::Http,
            Mode::Connect => true,
        }
    }

    /// Waits for the streams; they run from then on.
    async fn gather(&mut self) -> Result<Running, Failure> {
        let each = self.parameters.parallel as usize;
        let count = match (self.parameters.mode(), self.parameters.direction()) {
            (Mode::Stream, Direction::Both) => 2 * each,
            _ => each,
        };
        if self.takes_requests() {
            write_state(&mut self.control, State::CreateStreams).await?;
            return Ok(Running::start_accepting(&self.parameters));
        }
        if self.parameters.udp {
            return self.gather_datagrams(count).await;
        }
        write_state(&mut self.control, State::CreateStreams).await?;
        let mut streams = Vec::new();
        while streams.len() < count {
            let arrival = tokio::select! {
                Some(arrival) = self.arrivals.recv() => arrival,
                left = left(&mut self.control) => return Err(left),
            };
            if arrival.cookie == self.cookie {
                if let Some(tcp) = arrival.channel.tcp() {
                    prepare(tcp, &self.parameters).map_err(Failure::io("a stream"))?;
                }
                streams.push((arrival.place, arrival.channel));
            } else {
                deny(arrival);
            }
        }
        // Their cookies may have come in another order than they did.
        streams.sort_by_key(|(place, _)| *place);
        let channels = streams.into_iter().map(|(_, channel)| channel).collect();
        Ok(Running::start_channels(Side::Server, &self.parameters, channels))
    }

    async fn gather_datagrams(&mut self, count: usize) -> Result<Running, Failure> {
        let failed = || Failure::io("a UDP socket");
        // That address is the one that the client sends to.
        let socket = self.server.net.udp_bind(self.local).await.map_err(failed())?;
        let socket = Arc::new(socket);
        write_state(&mut self.control, State::CreateStreams).await?;
        let mut streams = Vec::new();
        while streams.len() < count {
            let is_known = |peer| streams.iter().any(|(_, known)| *known == peer);
            let peer = tokio::select! {
                peer = datagrams::welcome(&socket, is_known) => peer.map_err(failed())?,
                left = left(&mut self.control) => return Err(left),
            };
            streams.push((socket.clone(), peer));
        }
        Ok(Running::start_udp(Side::Server, &self.parameters, streams))
    }

    /// Waits until the client has seen enough.
    async fn watch(
        &mut self,
        running: &mut Running,
        options: &Options,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let mut omitting = self.parameters.omit > 0;
        let mut until_counted = std::pin::pin!(sleep(self.parameters.omitted()));
        let time = match self.parameters.time {
            0 => crate::parameters::SECONDS_MAX,
            time => time,
        };
        let longest = Duration::from_secs(time) + self.parameters.omitted() + GRACE;
        let mut too_long = std::pin::pin!(sleep(longest));
        let mut intervals = Intervals::new(running);
        let every = match options.interval {
            Duration::ZERO => Duration::from_secs(1),
            every => every,
        };
        let mut ticks = interval_at(start + every, every);
        let mut progress = Progress::new(running, STANDSTILL);
        let mut has_ended = false;
        loop {
            tokio::select! {
                biased;
                state = read_state(&mut self.control) => match state? {
                    State::TestEnd => break,
                    State::ClientTerminate => return Err(Failure::ClientTerminated),
                    other => return Err(Failure::State(other)),
                },
                ended = running.finished(), if !has_ended => {
                    has_ended = true;
                    // The client is told with the results.
                    self.found = ended.err();
                }
                Some(arrival) = self.arrivals.recv() => {
                    let is_of_test = arrival.cookie == self.cookie;
                    match is_of_test && self.takes_requests() {
                        true => {
                            if let Some(tcp) = arrival.channel.tcp() {
                                let _ = tcp.set_nodelay(true);
                            }
                            running.accept(arrival.channel);
                        }
                        false => deny(arrival),
                    }
                }
                () = &mut too_long => return Err(Failure::Silent("the end of the test")),
                () = &mut until_counted, if omitting => {
                    intervals.tell(running, &self.parameters, options.interval, true, on_event);
                    running.omit();
                    intervals.restart();
                    omitting = false;
                    ticks.reset();
                }
                _ = ticks.tick() => {
                    intervals.tell(running, &self.parameters, options.interval, omitting, on_event);
                    if progress.stands_still(running) {
                        return Err(Failure::Silent("no data for two minutes"));
                    }
                }
            }
        }
        intervals.tell(running, &self.parameters, options.interval, omitting, on_event);
        Ok(())
    }
}

/// Tells a client that another one's test runs.
fn deny(arrival: Arrival) {
    tokio::spawn(async move {
        let (mut channel, _permit) = (arrival.channel, arrival.permit);
        let told = async {
            let denial = Bytes::copy_from_slice(&[State::AccessDenied.byte()]);
            let _ = channel.send_bytes(denial).await;
            let _ = channel.finish().await;
            // Its end, without which this one would be a reset, which discards what was told.
            while channel.recv_bytes(4096).await.is_ok_and(|piece| !piece.is_empty()) {}
        };
        let _ = timeout(Duration::from_secs(1), told).await;
    });
}

/// Why the client ends a test while the server waits for its streams.
async fn left(control: &mut Control) -> Failure {
    match read_state(control).await {
        Ok(State::ClientTerminate) => Failure::ClientTerminated,
        Ok(other) => Failure::State(other),
        Err(failure) => failure,
    }
}
