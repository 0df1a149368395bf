//! Tests between two stacks in memory.

use netstack::netsocket::TcpStream;
use netstack::{Pair, Stack};
use perf::client::{self, Options};
use perf::control::{State, read_json, write_json};
use perf::parameters::{Direction, Extension, Mode};
use perf::report::BothEnds;
use perf::server::{self, Server};
use perf::{Acceptor, Connector, Event, Failure, Parameters, Report, Results, Scheme};
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, pki_types};

/// Two stacks, and a server on the second.
struct World {
    near: Stack,
    connector: Connector,
    _far: Stack,
    stop: Arc<Notify>,
    serving: JoinHandle<std::io::Result<()>>,
}

const SERVER: &str = "10.0.0.2:5201";

impl World {
    /// With a server over TCP.
    async fn new() -> Self {
        Self::over(Scheme::Tcp).await
    }

    async fn over(scheme: Scheme) -> Self {
        let (acceptor, connector) = ends(scheme);
        let (near, far) = Pair::new().spawn().expect("a runtime");
        let address = "[::]:5201".parse().expect("an address");
        let server = Server::bind(far.net(), address, acceptor).await.expect("a free port");
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let serving = tokio::spawn(async move {
            let options = server::Options { interval: Duration::ZERO, tests: None };
            server.serve(&options, stopped.notified(), &mut |_| ()).await
        });
        Self { near, connector, _far: far, stop, serving }
    }

    /// Begins a test of one stream by hand: its control connection, and the stream.
    async fn begin(&self, parameters: &Parameters) -> (TcpStream, TcpStream) {
        let net = self.near.net();
        let mut control = net.tcp_connect(SERVER).await.expect("a server");
        let cookie = [b'a'; 37];
        control.write_all(&cookie).await.expect("open");
        assert_eq!(control.read_u8().await.ok(), Some(State::ParamExchange.byte()));
        write_json(&mut control, parameters).await.expect("open");
        if parameters.netstack.is_some() {
            assert_eq!(control.read_u8().await.ok(), Some(State::Extended.byte()));
        }
        assert_eq!(control.read_u8().await.ok(), Some(State::CreateStreams.byte()));
        let mut stream = net.tcp_connect(SERVER).await.expect("a server");
        stream.write_all(&cookie).await.expect("open");
        assert_eq!(control.read_u8().await.ok(), Some(State::TestStart.byte()));
        assert_eq!(control.read_u8().await.ok(), Some(State::TestRunning.byte()));
        (control, stream)
    }

    async fn test(&self, options: &Options) -> Result<Report, Failure> {
        let options = Options { connector: self.connector.clone(), ..options.clone() };
        client::run(self.near.net(), SERVER, &options, pending(), &mut |_| ()).await
    }
}

/// What streams of bytes run over.
const SCHEMES: [Scheme; 4] = [Scheme::Tcp, Scheme::Tls, Scheme::Quic, Scheme::Http];

/// The results of a server, for those of a client that has none.
async fn exchange_results(control: &mut TcpStream) -> Results {
    assert_eq!(control.read_u8().await.ok(), Some(State::ExchangeResults.byte()));
    let results = Results {
        cpu_util_total: 0.0,
        cpu_util_user: 0.0,
        cpu_util_system: 0.0,
        sender_has_retransmits: -1,
        congestion_used: None,
        streams: Vec::new(),
        error: None,
    };
    write_json(control, &results).await.expect("open");
    read_json(control, 100_000).await.expect("results")
}

/// How the server accepts and the client connects.
fn ends(scheme: Scheme) -> (Acceptor, Connector) {
    match scheme {
        Scheme::Tcp | Scheme::Udp => (Acceptor::Tcp, Connector::Tcp),
        Scheme::Tls => {
            let (server, client) = tls();
            let name = pki_types::ServerName::try_from("far").expect("a name");
            let connector = Connector::Tls(Arc::new(client).into(), name);
            (Acceptor::Tls(Arc::new(server).into()), connector)
        }
        Scheme::Http => (Acceptor::Http, Connector::Http(SERVER.into())),
        Scheme::Quic => {
            let (server, client) = tls();
            (Acceptor::Quic(Arc::new(server)), Connector::Quic(Arc::new(client), "far".into()))
        }
    }
}

/// A server with a certificate, and a client that trusts it.
fn tls() -> (ServerConfig, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["far".to_owned()]).expect("a certificate");
    let key = pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("its key");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a certificate");
    (server, ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn options(parameters: Parameters, mode: Mode) -> Options {
    let least = if parameters.udp { 16 } else { 1 };
    let extension = Extension {
        version: Extension::VERSION,
        mode,
        verify: true,
        request: least + 99,
        response: least + 499,
    };
    let parameters = Parameters { netstack: Some(extension), ..parameters };
    let duration = (parameters.num == 0).then_some(Duration::from_millis(200));
    Options {
        connector: Connector::Tcp,
        parameters,
        duration,
        interval: Duration::ZERO,
        needs_extension: Some("--verify"),
    }
}

fn tcp() -> Parameters {
    Parameters { tcp: true, parallel: 3, ..Parameters::default() }
}

fn udp() -> Parameters {
    Parameters { udp: true, udp_counters_64bit: 1, tcp: false, bandwidth: 20_000_000, ..tcp() }
}

/// The bytes that were sent, and those that have arrived.
fn bytes(ends: &Option<BothEnds>) -> Option<(u64, u64)> {
    let ends = ends.as_ref()?;
    Some((ends.sender.bytes, ends.receiver.as_ref()?.bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_a_number_of_bytes_arrive_whole_each_way() {
    // No multiple of a block.
    let num = 10_000_019;
    for scheme in SCHEMES {
        let world = World::over(scheme).await;
        for (direction, up, down) in [
            (Direction::Up, Some((num, num)), None),
            (Direction::Down, None, Some((num, num))),
            (Direction::Both, Some((num, num)), Some((num, num))),
        ] {
            let mut parameters = Parameters { num, ..tcp() };
            parameters.set_direction(direction);

            let report = world.test(&options(parameters, Mode::Stream)).await.expect("a report");

            let both = (bytes(&report.up), bytes(&report.down));
            assert_eq!(both, (up, down), "{scheme} {direction:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_until_the_time_is_over_arrives() {
    for scheme in SCHEMES {
        let world = World::over(scheme).await;
        for direction in [Direction::Up, Direction::Down, Direction::Both] {
            let mut parameters = tcp();
            parameters.set_direction(direction);

            let report = world.test(&options(parameters, Mode::Stream)).await.expect("a report");

            for ends in [&report.up, &report.down].into_iter().filter(|ends| ends.is_some()) {
                let (sent, received) = bytes(ends).expect("both ends");
                assert_eq!(sent, received, "{scheme} {direction:?}");
                assert!(sent > 0, "{scheme} {direction:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_at_a_rate_arrive_and_are_counted() {
    let world = World::new().await;
    for direction in [Direction::Up, Direction::Down, Direction::Both] {
        let mut parameters = udp();
        parameters.set_direction(direction);

        let report = world.test(&options(parameters, Mode::Stream)).await.expect("a report");

        let ways = [&report.up, &report.down].into_iter().flatten();
        for BothEnds { sender, receiver } in ways {
            let receiver = receiver.as_ref().expect("both ends");
            assert_eq!(receiver.packets, sender.packets, "{direction:?}: {receiver:?}");
            let lost = receiver.lost_packets.expect("datagrams");
            let size = sender.bytes / sender.packets.expect("datagrams");
            assert_eq!(sender.bytes - receiver.bytes, lost * size, "{direction:?}");
            assert!(receiver.jitter_ms.is_some_and(|jitter| jitter < 100.0), "{receiver:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_connections_are_counted_and_timed() {
    let over = |scheme: Scheme| [(scheme, tcp(), Mode::Request), (scheme, tcp(), Mode::Connect)];
    let tests = SCHEMES.into_iter().flat_map(over);
    for (scheme, parameters, mode) in tests.chain([(Scheme::Udp, udp(), Mode::Request)]) {
        let world = World::over(scheme).await;

        let report = world.test(&options(parameters, mode)).await.expect("a report");

        let asked = report.up.expect("requests").sender;
        // A handshake may take long on a busy machine.
        let is_enough = asked.transactions.is_some_and(|count| count > 0);
        assert!(is_enough, "{scheme} {mode:?}: {asked:?}");
        let latency = asked.latency_us.expect("times");
        assert!(0.0 < latency.min && latency.min <= latency.p50, "{latency:?}");
        assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max * 1.01, "{latency:?}");
        assert!(report.down.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_that_is_omitted_does_not_count() {
    let world = World::new().await;
    let parameters = Parameters { omit: 1, bandwidth: 8_000_000, parallel: 1, ..tcp() };
    let options = options(parameters, Mode::Stream);
    let mut intervals = Vec::new();

    let options = Options { interval: Duration::from_millis(250), ..options };
    let mut on_event = |event| {
        if let Event::Interval(interval) = event {
            intervals.extend(interval.streams);
        }
    };
    let report = client::run(world.near.net(), SERVER, &options, pending(), &mut on_event).await;
    let sent = report.expect("a report").up.expect("a stream").sender;

    // A fifth of a second is 200,000 bytes; a block more may have begun.
    assert!((50_000..700_000).contains(&sent.bytes), "{sent:?}");
    assert!(intervals.iter().any(|it| it.omitted) && intervals.iter().any(|it| !it.omitted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_is_told_that_the_server_is_busy() {
    let world = World::new().await;
    let stop = Notify::new();
    let options = Options {
        duration: Some(Duration::from_secs(60)),
        interval: Duration::from_millis(100),
        ..options(tcp(), Mode::Stream)
    };
    let running = Notify::new();
    let mut on_event = |event| {
        if let Event::Interval(_) = event {
            running.notify_one();
        }
    };
    let first = client::run(world.near.net(), SERVER, &options, stop.notified(), &mut on_event);
    let second = async {
        running.notified().await;
        let second = world.test(&options).await;
        stop.notify_one();
        second
    };

    let (first, second) = tokio::join!(first, second);

    assert!(matches!(second, Err(Failure::Busy)), "{second:?}");
    // It was stopped, and has its results.
    assert!(first.is_ok_and(|report| bytes(&report.up).is_some_and(|(sent, _)| sent > 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_tells_the_client() {
    let world = World::new().await;
    let options = Options {
        duration: Some(Duration::from_secs(60)),
        interval: Duration::from_millis(100),
        ..options(tcp(), Mode::Stream)
    };
    let stop = world.stop.clone();

    let mut on_event = |event| {
        if let Event::Interval(_) = event {
            stop.notify_one();
        }
    };

    let tested = client::run(world.near.net(), SERVER, &options, pending(), &mut on_event).await;

    assert!(matches!(tested, Err(Failure::Terminated)), "{tested:?}");
    assert!(world.serving.await.expect("no panic").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_fails_the_test() {
    for scheme in [Scheme::Tls, Scheme::Quic] {
        let world = World::over(scheme).await;
        // Of another one.
        let (_, connector) = ends(scheme);
        let options = Options { connector, ..options(tcp(), Mode::Stream) };

        let tested = client::run(world.near.net(), SERVER, &options, pending(), &mut |_| ()).await;

        let error = tested.expect_err("not trusted").to_string();
        assert!(error.contains("certificate"), "{error}");
        // It has harmed no other.
        let parameters = Parameters { num: 1000, ..tcp() };
        let report = world.test(&self::options(parameters, Mode::Stream)).await.expect("a report");
        assert_eq!(bytes(&report.up), Some((1000, 1000)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_tls_refuses_tests_of_udp() {
    let world = World::over(Scheme::Tls).await;

    let tested = world.test(&options(udp(), Mode::Stream)).await;

    assert!(matches!(tested, Err(Failure::Server(..))), "{tested:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_to_iperf3_ends_before_the_results() {
    let world = World::new().await;
    let parameters = Parameters { parallel: 1, reverse: true, netstack: None, ..tcp() };
    let (mut control, mut stream) = world.begin(&parameters).await;
    stream.read_exact(&mut [0; 1000]).await.expect("data");

    control.write_u8(State::TestEnd.byte()).await.expect("open");

    // As a client of iperf3, which looks at its control connection after a block only.
    while stream.read(&mut [0; 65536]).await.expect("an end") > 0 {}
    let theirs = exchange_results(&mut control).await;
    assert_eq!(theirs.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_data_fails_the_test() {
    let world = World::new().await;
    let parameters = options(Parameters { parallel: 1, ..tcp() }, Mode::Stream).parameters;
    let (mut control, mut stream) = world.begin(&parameters).await;

    stream.write_all(&[0, 0, 0, 0, 0, 0, 7]).await.expect("open");
    stream.shutdown().await.expect("open");
    control.write_u8(State::TestEnd.byte()).await.expect("open");

    let theirs = exchange_results(&mut control).await;
    let error = theirs.error.expect("an error");
    assert!(error.contains("byte 6 is 0x07 instead of 0x00"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_anything_harms_no_other() {
    let world = World::new().await;
    let cookie = [b'b'; 37];
    for wrong in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02[]", b"\0\0\0\x02{}", b"", b"\0"] {
        let mut control = world.near.net().tcp_connect(SERVER).await.expect("a server");
        control.write_all(&cookie).await.expect("open");
        assert_eq!(control.read_u8().await.ok(), Some(State::ParamExchange.byte()));
        control.write_all(wrong).await.expect("open");
        control.shutdown().await.expect("open");
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = control.read_to_end(&mut rest).await;
        // If it says anything, then that this was an error.
        assert!(rest.first().is_none_or(|it| *it == State::ServerError.byte()), "{rest:?}");
    }

    let parameters = Parameters { num: 1000, ..tcp() };
    let report = world.test(&options(parameters, Mode::Stream)).await.expect("a report");

    assert_eq!(bytes(&report.up), Some((1000, 1000)));
}
