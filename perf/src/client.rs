//! The client of a test.

use crate::channel::{Channel, Control};
use crate::connector::{Connector, Dialer};
use crate::control::{
    PATIENCE, RESULTS_BYTES_MAX, State, in_time, read_json, read_server_error, read_state,
    write_json, write_state,
};
use crate::datagrams;
use crate::failure::Failure;
use crate::parameters::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, Direction, Mode, Parameters};
use crate::progress::Progress;
use crate::report::{Event, Intervals, Report, Start};
use crate::results::Results;
use crate::running::{Running, Side};
use netsocket::{Net, TcpStream, UdpSocket};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, interval_at, sleep, timeout};

/// How a client runs its test.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the client connects: what the test runs over.
    pub connector: Connector,
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
    let connecting = timeout(PATIENCE, Dialer::connect(net, server, &options.connector));
    let connecting = tokio::select! {
        connecting = connecting => connecting,
        () = &mut stop => return Err(Failure::ClientTerminated),
    };
    let connecting = connecting.map_err(|_| Failure::Silent("its end of a connection"))?;
    let (dialer, control) =
        connecting.map_err(Failure::io(format_args!("connecting to {server}")))?;
    let tested = test(net, &dialer, control, options, stop, on_event).await;
    dialer.close().await;
    tested
}

/// The test, from its first message on.
async fn test(
    net: &Net,
    dialer: &Dialer,
    control: Channel,
    options: &Options,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    on_event: &mut (dyn FnMut(Event) + Send),
) -> Result<Report, Failure> {
    let client = Client::begin(net, dialer, control, options, on_event);
    let mut client = tokio::select! {
        client = client => client?,
        () = &mut stop => return Err(Failure::ClientTerminated),
    };
    client.expect(State::TestStart).await?;
    client.expect(State::TestRunning).await?;
    let mut running = client.start();
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
    dialer: Dialer,
    control: Control,
    /// What the control connection runs over, if that is TCP.
    tcp: Option<Arc<TcpStream>>,
    parameters: Parameters,
    options: Options,
    channels: Vec<Channel>,
    datagrams: Vec<(Arc<UdpSocket>, SocketAddr)>,
}

impl Client {
    /// Exchanges the parameters, and makes the streams.
    async fn begin(
        net: &Net,
        dialer: &Dialer,
        control: Channel,
        options: &Options,
        on_event: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Self, Failure> {
        let mut client = Self {
            net: net.clone(),
            dialer: dialer.clone(),
            tcp: control.tcp().cloned(),
            control: control.into_control(),
            parameters: options.parameters.clone(),
            options: options.clone(),
            channels: Vec::new(),
            datagrams: Vec::new(),
        };
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
        client.create_streams().await?;
        let parameters = client.parameters.clone();
        let Dialer { local, server: remote, .. } = client.dialer;
        let scheme = client.dialer.scheme(&parameters);
        on_event(Event::Started(Start { scheme, local, remote, extended, parameters }));
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
            && let Some(tcp) = &self.tcp
            && let Ok(info) = tcp.info().await
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
        for place in 0..count {
            if self.parameters.udp {
                let socket = datagram_socket(&self.net, &self.dialer)
                    .await
                    .map_err(Failure::io("a UDP socket"))?;
                datagrams::announce(&socket).await?;
                self.datagrams.push((Arc::new(socket), self.dialer.server));
            } else {
                // First those that this end sends.
                let sends = match self.parameters.direction() {
                    Direction::Up => true,
                    Direction::Down => false,
                    Direction::Both => place < each,
                };
                let channel = self.dialer.stream(&self.parameters, sends).await;
                self.channels.push(channel.map_err(Failure::io("a stream"))?);
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Running {
        let parameters = &self.parameters;
        match (parameters.udp, parameters.mode()) {
            (true, _) => {
                let streams = std::mem::take(&mut self.datagrams);
                Running::start_udp(Side::Client, parameters, streams)
            }
            (false, Mode::Connect) => Running::start_connecting(parameters, &self.dialer),
            (false, _) => {
                let channels = std::mem::take(&mut self.channels);
                Running::start_channels(Side::Client, parameters, channels)
            }
        }
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

async fn datagram_socket(net: &Net, dialer: &Dialer) -> std::io::Result<UdpSocket> {
    let socket = net.udp_bind((dialer.local.ip(), 0)).await?;
    socket.connect(dialer.server).await?;
    Ok(socket)
}
