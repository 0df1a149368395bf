//! What limits a connection over a path with a round trip of 40 ms.

use netstack::netsocket;
use netstack::netsocket::{CongestionControl, Limit, TcpInfo};
use netstack::sim::{self, Host, LinkConfig};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

const ROUND_TRIP: Duration = Duration::from_millis(40);
/// Payload of a full segment, with its timestamps.
const SEGMENT: usize = 1448;

type Stream = netsocket::TcpStream;

async fn connected(near: &Host, far: &Host, options: netsocket::Options) -> (Stream, Stream) {
    let listener = far.net().tcp_listen("10.0.0.2:80").await.expect("free");
    let near = near.net().tcp_connect_with("10.0.0.2:80", options);
    let (client, accepted) = tokio::join!(near, listener.accept());
    (client.expect("a listener"), accepted.expect("a client").0)
}

/// Runs a client and a server for so long; returns what the client's connection says then.
fn run<C: Future<Output = ()> + Send + 'static, S: Future<Output = ()> + Send + 'static>(
    (link, options): (LinkConfig, netsocket::Options),
    time: Duration,
    client: impl FnOnce(netsocket::OwnedWriteHalf) -> C + Send + 'static,
    server: impl FnOnce(Stream) -> S + Send + 'static,
) -> TcpInfo {
    sim::run(1, move |sim| async move {
        let (near, far) = sim.pair(link);
        let (to_server, to_client) = connected(&near, &far, options).await;
        let (read, write) = to_server.into_split();
        let tasks = [tokio::spawn(client(write)), tokio::spawn(server(to_client))];
        sleep(time).await;
        let info = AsRef::<Stream>::as_ref(&read).info().await.expect("a stack");
        assert_eq!(info.limited.total(), info.age, "{}", info.limited);
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        info
    })
}

fn link() -> LinkConfig {
    LinkConfig::new().delay(ROUND_TRIP / 2)
}

async fn write_forever(mut stream: netsocket::OwnedWriteHalf) {
    while stream.write_all(&[7; 64 * 1024]).await.is_ok() {}
}

async fn read_forever(mut stream: Stream) {
    let mut buffer = vec![0; 64 * 1024];
    while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
}

/// Asserts that a limit was in force for more than half of the time.
fn assert_mostly(info: &TcpInfo, limit: Limit) {
    assert!(info.limited[limit] > info.age / 2, "{limit}: {}", info.limited);
}

#[test]
fn upload_over_a_slow_link_waits_for_the_congestion_window() {
    let link = link().bandwidth(10_000_000);
    let options = netsocket::Options::default();
    let info = run((link, options), Duration::from_secs(5), write_forever, read_forever);
    assert_mostly(&info, Limit::CongestionWindow);
    assert!(info.delivery_rate.is_some_and(|rate| rate > 500_000), "{info:?}");
    assert!(info.rtt >= Some(ROUND_TRIP), "{info:?}");
}

#[test]
fn paced_upload_waits_for_the_pacing_rate() {
    let link = link().bandwidth(10_000_000);
    let congestion_control = Some(CongestionControl::Bbr);
    let options = netsocket::Options { congestion_control, ..Default::default() };
    let info = run((link, options), Duration::from_secs(5), write_forever, read_forever);
    assert_mostly(&info, Limit::Pacing);
}

#[test]
fn small_send_buffer_limits_a_long_path() {
    let send_buffer_bytes = Some(8 * SEGMENT);
    let options = netsocket::Options { send_buffer_bytes, ..Default::default() };
    let info = run((link(), options), Duration::from_secs(5), write_forever, read_forever);
    assert_mostly(&info, Limit::SendBuffer);
}

#[test]
fn slow_reader_limits_the_writer_by_its_window() {
    let options = netsocket::Options::default();
    let slow = |mut stream: Stream| async move {
        let mut buffer = vec![0; 10_000];
        while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let info = run((link(), options), Duration::from_secs(10), write_forever, slow);
    assert_mostly(&info, Limit::PeerWindow);
}

#[test]
fn writer_of_small_requests_is_limited_by_itself() {
    let options = netsocket::Options::default();
    let request = |mut stream: netsocket::OwnedWriteHalf| async move {
        loop {
            stream.write_all(&[7; 100]).await.expect("open");
            sleep(ROUND_TRIP * 4).await;
        }
    };
    let info = run((link(), options), Duration::from_secs(5), request, read_forever);
    // Of four round trips it waits one for the acknowledgement, or two if that is delayed, and the
    // others for the next request.
    assert_mostly(&info, Limit::Idle);
    let (waits, age) = (info.limited[Limit::Application], info.age);
    assert!(waits > age / 4 && waits < age / 2, "{}", info.limited);
    assert!(info.limited[Limit::Handshake] == ROUND_TRIP, "{}", info.limited);
}

#[test]
fn lost_tail_is_attributed_to_the_timer() {
    let stall = |lost: bool| {
        sim::run(1, move |sim| async move {
            let (near, far) = sim.pair(link());
            let (mut client, mut server) = connected(&near, &far, Default::default()).await;
            // A round trip that is known.
            client.write_all(&[7; SEGMENT]).await.expect("open");
            server.read_exact(&mut [0; SEGMENT]).await.expect("open");
            sleep(ROUND_TRIP * 2).await;
            near.set_filter(move |_, packet| !lost || packet.len() < SEGMENT);
            client.write_all(&[7; 2 * SEGMENT]).await.expect("open");
            sleep(ROUND_TRIP * 3 / 2).await;
            near.set_filter(|_, _| true);
            server.read_exact(&mut [0; 2 * SEGMENT]).await.expect("open");
            sleep(ROUND_TRIP * 4).await;
            client.info().await.expect("a stack")
        })
    };
    let (usual, lossy) = (stall(false), stall(true));
    assert_eq!(usual.limited[Limit::RetransmissionTimer], Duration::ZERO, "{}", usual.limited);
    let waited = lossy.limited[Limit::RetransmissionTimer];
    assert!(waited >= ROUND_TRIP && waited <= ROUND_TRIP * 5, "{}", lossy.limited);
    assert_eq!(lossy.limited.total(), lossy.age);
}
