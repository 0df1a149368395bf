//! The client of a test.

use crate::control::{
    PATIENCE, RESULTS_BYTES_MAX, State, in_time, read_json, read_server_error, read_state,
    write_json, write_state,
};
use crate::cookie::Cookie;
use crate::datagrams;
use crate::failure::Failure;
use crate::parameters::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, Direction, Mode, Parameters};
use crate::progress::Progress;
use crate::report::{Event, Intervals, Report, Start};
use crate::results::Results;
use crate::running::{Running, Side};
use netsocket::{CongestionControl, Net, TcpStream, UdpSocket};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, interval_at, sleep, timeout};

/// How a client runs its test.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the test is.
    pub parameters: Parameters,
    /// How long it runs, unless bytes end it.
    pub duration: Option<Duration>,
    /// How often there is an [`Event::Interval`]; zero for never.
    pub interval: Duration,
    /// The flag that has asked for what iperf3 does not have, if that is not to be left out.
    pub needs_extension: Option<&'static str>,
}

/// How long a reason may take after the streams of a test have failed.
const REASON: Duration = Duration::from_millis(500);
/// How long a test that is ended by its bytes may go on without any.
const STANDSTILL: Duration = Duration::from_secs(30);
/// The same with datagrams, of which the last may be lost.
const SILENCE: Duration = Duration::from_secs(2);

/// Runs a test with the server at this address or name, and returns what it has come to. When `stop` is
/// ready, the test ends with the results so far.
///
/// # Errors
///
/// Why the test has failed.
///
/// # Cancel safety
///
/// If the future is dropped, the test ends at both ends.
pub async fn run(
    net: &Net,
    server: &str,
    options: &Options,
    stop: impl Future<Output = ()>,
    on_event: &mut (dyn FnMut(Event) + Send),
) -> Result<Report, Failure> {
    let mut stop = std::pin::pin!(stop);
    let client = Client::connect(net, server, options, on_event);
    let mut client = tokio::select! {
        client = client => client?,
        () = &mut stop => return Err(Failure::ClientTerminated),
    };
    client.expect(State::TestStart).await?;
    client.expect(State::TestRunning).await?;
    let mut running = client.start()?;
    let ran = tokio::select! {
        ran = client.watch(&mut running, on_event) => ran,
        () = &mut stop => Ok(()),
    };
    running.stop();
    if let Err(failure) = ran {
        return Err(client.reason(failure).await);
    }
    write_state(&mut client.control, State::TestEnd).await?;
    let drained = running.drain().await;
    client.expect(State::ExchangeResults).await?;
    write_json(&mut client.control, &running.results(drained.as_ref().err())).await?;
    let theirs: Results =
        in_time("its results", read_json(&mut client.control, RESULTS_BYTES_MAX)).await?;
    running.drain_datagrams(&theirs.streams).await;
    client.expect(State::DisplayResults).await?;
    // The server may have left.
    let _ = write_state(&mut client.control, State::IperfDone).await;
    let _ = client.control.shutdown().await;
    drained?;
    match theirs.error {
        Some(error) => Err(Failure::Remote(error)),
        None => Ok(Report::new(Side::Client, &client.parameters, &running, Some(&theirs))),
    }
}

/// The client of a test before its streams run.
struct Client {
    net: Net,
    control: TcpStream,
    server: SocketAddr,
    cookie: Cookie,
    parameters: Parameters,
    options: Options,
    connections: Vec<TcpStream>,
    datagrams: Vec<(Arc<UdpSocket>, SocketAddr)>,
}

impl Client {
    /// Connects, and makes the streams.
    async fn connect(
        net: &Net,
        server: &str,
        options: &Options,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Self, Failure> {
        let connecting = net.tcp_connect(server);
        let connecting =
            timeout(PATIENCE, connecting).await.map_err(|_| Failure::Silent("its SYN"));
        let control = connecting?.map_err(Failure::io(format_args!("connecting to {server}")))?;
        let failed = || Failure::io("the control connection");
        control.set_nodelay(true).map_err(failed())?;
        let cookie = Cookie::random();
        let mut client = Self {
            net: net.clone(),
            server: control.peer_addr().map_err(failed())?,
            control,
            cookie,
            parameters: options.parameters.clone(),
            options: options.clone(),
            connections: Vec::new(),
            datagrams: Vec::new(),
        };
        client.control.write_all(client.cookie.bytes()).await.map_err(failed())?;
        client.expect(State::ParamExchange).await?;
        client.choose_size().await;
        write_json(&mut client.control, &client.parameters).await?;
        let extended = match client.next().await? {
            State::Extended => {
                client.expect(State::CreateStreams).await?;
                true
            }
            State::CreateStreams => {
                client.parameters.netstack = None;
                false
            }
            other => return Err(Failure::State(other)),
        };
        if let Some(flag) = client.options.needs_extension.filter(|_| !extended) {
            // Without a word the server would wait for the streams.
            let _ = write_state(&mut client.control, State::ClientTerminate).await;
            return Err(Failure::NotExtended(flag));
        }
        let local = client.control.local_addr().map_err(failed())?;
        let parameters = client.parameters.clone();
        client.create_streams().await?;
        on_event(Event::Started(Start { local, remote: client.server, extended, parameters }));
        Ok(client)
    }

    /// A datagram is as large as a segment unless its size is given: it fits the path, too. iperf3 wants
    /// a size in any case.
    async fn choose_size(&mut self) {
        if self.parameters.len > 0 {
            return;
        }
        self.parameters.len = self.parameters.block_bytes() as u64;
        if self.parameters.udp
            && let Ok(info) = self.control.info().await
        {
            self.parameters.len =
                u64::from(info.snd_mss).clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
        }
    }

    async fn create_streams(&mut self) -> Result<(), Failure> {
        let each = self.parameters.parallel as usize;
        let is_both = self.parameters.direction() == Direction::Both;
        let count = match self.parameters.mode() {
            // They are what is measured.
            Mode::Connect => 0,
            Mode::Stream if is_both => 2 * each,
            Mode::Stream | Mode::Request => each,
        };
        for _ in 0..count {
            if self.parameters.udp {
                let socket = self.datagram_socket().await.map_err(Failure::io("a UDP socket"))?;
                datagrams::announce(&socket).await?;
                self.datagrams.push((Arc::new(socket), self.server));
            } else {
                self.connections.push(self.stream().await.map_err(Failure::io("a stream"))?);
            }
        }
        Ok(())
    }

    async fn datagram_socket(&self) -> std::io::Result<UdpSocket> {
        let socket = self.net.udp_bind((self.control.local_addr()?.ip(), 0)).await?;
        socket.connect(self.server).await?;
        Ok(socket)
    }

    async fn stream(&self) -> std::io::Result<TcpStream> {
        let mut stream = self.net.tcp_connect(self.server).await?;
        prepare(&stream, &self.parameters)?;
        stream.write_all(self.cookie.bytes()).await?;
        Ok(stream)
    }

    fn start(&mut self) -> Result<Running, Failure> {
        let parameters = &self.parameters;
        Ok(match (parameters.udp, parameters.mode()) {
            (true, _) => {
                let streams = std::mem::take(&mut self.datagrams);
                Running::start_udp(Side::Client, parameters, streams)
            }
            (false, Mode::Connect) => {
                Running::start_connecting(parameters, &self.net, self.server, self.cookie)
            }
            (false, _) => {
                let streams = std::mem::take(&mut self.connections);
                Running::start_tcp(Side::Client, parameters, streams)
            }
        })
    }

    /// Waits until the test has its bytes or its time.
    async fn watch(
        &mut self,
        running: &mut Running,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<(), Failure> {
        let start = Instant::now();
        let mut omitting = self.parameters.omit > 0;
        let mut until_counted = std::pin::pin!(sleep(self.parameters.omitted()));
        let duration = self.options.duration.map(|it| it + self.parameters.omitted());
        let mut intervals = Intervals::new(running);
        // Without intervals it looks for a standstill alone.
        let every = match self.options.interval {
            Duration::ZERO => Duration::from_secs(1),
            every => every,
        };
        let mut ticks = interval_at(start + every, every);
        let patience = if self.parameters.udp { SILENCE } else { STANDSTILL };
        let mut progress = Progress::new(running, patience);
        loop {
            let ended = async {
                match duration {
                    Some(duration) => tokio::time::sleep_until(start + duration).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The next byte alone, as what is read when another is ready would be lost.
                state = read_state(&mut self.control) => {
                    let state = self.understand(state?).await;
                    return Err(state.map_or_else(|failure| failure, Failure::State));
                }
                ended = running.finished() => {
                    ended?;
                    break;
                }
                () = ended => break,
                () = &mut until_counted, if omitting => {
                    intervals.tell(running, &self.parameters, self.options.interval, true, on_event);
                    running.omit();
                    intervals.restart();
                    omitting = false;
                    // From now on they are whole.
                    ticks.reset();
                }
                _ = ticks.tick() => {
                    intervals.tell(running, &self.parameters, self.options.interval, omitting, on_event);
                    if duration.is_none() && progress.stands_still(running) {
                        match self.parameters.udp {
                            true => break,
                            false => return Err(Failure::Silent("no data for 30 seconds")),
                        }
                    }
                }
            }
        }
        intervals.tell(running, &self.parameters, self.options.interval, omitting, on_event);
        Ok(())
    }

    /// The next state that the server enters, unless it is one of failure.
    async fn next(&mut self) -> Result<State, Failure> {
        let state = read_state(&mut self.control).await?;
        self.understand(state).await
    }

    /// A state that the server has entered, unless it is one of failure.
    async fn understand(&mut self, state: State) -> Result<State, Failure> {
        match state {
            State::AccessDenied => Err(Failure::Busy),
            State::ServerTerminate => Err(Failure::Terminated),
            State::ServerError => Err(read_server_error(&mut self.control).await),
            state => Ok(state),
        }
    }

    async fn expect(&mut self, expected: State) -> Result<(), Failure> {
        match in_time("its next state", self.next()).await? {
            state if state == expected => Ok(()),
            other => Err(Failure::State(other)),
        }
    }

    /// Why a test has failed: the server may know better, and is told that the test is over.
    async fn reason(&mut self, failure: Failure) -> Failure {
        let is_of_stream = matches!(failure, Failure::Io(..));
        let better = match is_of_stream {
            true => timeout(REASON, self.next()).await.ok().and_then(Result::err),
            false => None,
        };
        let _ = write_state(&mut self.control, State::ClientTerminate).await;
        // The end of the connection says no more than the end of a stream.
        better.filter(|it| !matches!(it, Failure::Closed | Failure::Io(..))).unwrap_or(failure)
    }
}

/// Sets what the parameters say of connections.
pub(crate) fn prepare(stream: &TcpStream, parameters: &Parameters) -> std::io::Result<()> {
    if parameters.nodelay || parameters.mode() != Mode::Stream {
        stream.set_nodelay(true)?;
    }
    // One that is not here is left out, as iperf3 does.
    let congestion = parameters.congestion.as_deref().and_then(CongestionControl::from_name);
    if congestion.is_some() {
        stream.set_congestion_control(congestion)?;
    }
    Ok(())
}
