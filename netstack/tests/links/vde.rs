//! Ports of a switch that serves others, without their programs.

use crate::{end, exchange, path, stack, stack_on};
use netstack::Stack;
use netstack::device::{VdeConfig, VdeDevice, VdeRequest};
use netstack::switch::{Switch, SwitchConfig, VdeListener, VdeListenerConfig};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// After this long a test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A switch at a new directory.
fn served(config: VdeListenerConfig) -> (Switch, VdeListener, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let switch = Switch::new(SwitchConfig::default());
    let listener = switch.vde_listener(folder.path().join("lan"), config).expect("a new path");
    (switch, listener, folder)
}

fn url(folder: &TempDir) -> String {
    format!("vde://{}", path(folder.path(), "lan"))
}

/// Waits until the listener has this many ports.
async fn ports(listener: &VdeListener, count: usize) {
    let counted = async {
        while listener.ports().len() != count {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect("the ports of clients");
}

/// A stack on a port of the switch, once it has it.
async fn joined(folder: &TempDir) -> Stack {
    let stack = stack_on(1, &url(folder));
    let mut watch = stack.net().watch_network();
    let has_port = watch.wait_for(|now| now.link.has_carrier);
    timeout(PATIENCE, has_port).await.expect("a port").expect("it runs");
    stack
}

/// How a stack ends that asks for a port.
async fn refusal(folder: &TempDir, port: Option<u32>) -> std::io::Error {
    let device = VdeDevice::connect(&at(folder, port), 1500).expect("a switch");
    let stack = stack(1, device);
    timeout(PATIENCE, stack.ended()).await.expect("it ends").expect_err("refused")
}

/// Connects as a client, and sends bytes.
async fn ask(listener: &VdeListener, bytes: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(listener.control()).await.expect("a listener");
    stream.write_all(bytes).await.expect("it is there");
    stream
}

/// How many bytes come before the end of a stream.
async fn answer(mut stream: UnixStream) -> usize {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end");
    bytes.len()
}

fn request(port: Option<u32>, socket: PathBuf) -> Vec<u8> {
    let description = "by hand".to_owned();
    VdeRequest { port, socket, description }.encode().expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_kilobytes_cross_a_switch_for_others() {
    let (_switch, listener, folder) = served(VdeListenerConfig::default());
    let (near, far) = (stack_on(1, &url(&folder)), stack_on(2, &format!("{}[5]", url(&folder))));

    exchange(&near, &far, 200_000).await;

    let numbers: Vec<_> = listener.ports().iter().map(|port| port.number).collect();
    assert_eq!(numbers, [1, 5]);
    end(near).await;
    end(far).await;
    ports(&listener, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_for_others_leaves_nothing_behind() {
    let (switch, mut listener, folder) = served(VdeListenerConfig::default());
    listener.manage(folder.path().join("management"), 0o600).expect("a new path");
    let near = joined(&folder).await;
    assert_eq!(switch.ports().len(), 1);

    listener.shutdown().await;

    timeout(PATIENCE, near.ended()).await.expect("it ends").expect("in good order");
    assert_eq!(switch.ports(), []);
    assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_ends_with_its_switch() {
    let (switch, listener, folder) = served(VdeListenerConfig::default());
    let near = joined(&folder).await;

    drop(switch);

    timeout(PATIENCE, near.ended()).await.expect("it ends").expect("in good order");
    ports(&listener, 0).await;
    let refused = VdeDevice::connect(&at(&folder, None), 1500).expect_err("no switch");
    assert!(matches!(refused.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused));
}

fn at(folder: &TempDir, port: Option<u32>) -> VdeConfig {
    VdeConfig { directory: Some(folder.path().join("lan")), port, ..VdeConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_cannot_be_had_is_one_clear_error() {
    let (_switch, _listener, folder) =
        served(VdeListenerConfig { ports_max: 2, ..VdeListenerConfig::default() });
    let _first = joined(&folder).await;
    for (port, expected) in [(1, "port 1 is taken"), (3, "port 3 is taken or there is none")] {
        let error = refusal(&folder, Some(port)).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let _second = joined(&folder).await;
    let error = refusal(&folder, None).await;
    assert!(error.to_string().contains("has refused: no port is free"), "{error}");

    let nowhere = VdeConfig { directory: Some("/no/such".into()), ..VdeConfig::default() };
    let error = VdeDevice::connect(&nowhere, 1500).expect_err("no switch");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().starts_with("no VDE switch at /no/such: "), "{error}");
}

/// A switch that listens and says nothing, as vde_switch does about a port beyond its last.
#[tokio::test(start_paused = true)]
async fn a_silent_switch_blocks_nobody_and_is_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("lan")).expect("new");
    let control = folder.path().join("lan/ctl");
    let _silent = std::os::unix::net::UnixListener::bind(control).expect("a new path");

    let began = (std::time::Instant::now(), tokio::time::Instant::now());
    let error = refusal(&folder, Some(9)).await;

    // In the runtime's time, while its only thread goes on.
    assert_eq!(began.1.elapsed().as_secs(), 3);
    assert!(began.0.elapsed() < Duration::from_secs(3));
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("port 9 is taken or there is none"), "{error}");
    let left = std::fs::read_dir(folder.path().join("lan")).expect("readable").count();
    assert_eq!(left, 1, "its own socket is removed");
}

#[tokio::test]
async fn a_stack_and_its_switch_share_a_thread() {
    let (_switch, listener, folder) = served(VdeListenerConfig::default());

    let near = joined(&folder).await;

    assert_eq!(listener.ports().len(), 1);
    end(near).await;
    ports(&listener, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_of_a_client_is_its_own() {
    let (switch, listener, folder) = served(VdeListenerConfig::default());
    let file = folder.path().join("file");
    std::fs::write(&file, "no socket").expect("writable");
    let own = folder.path().join("own");
    let _own = UnixDatagram::bind(&own).expect("a new path");

    for wrong in [file, folder.path().join("nobody")] {
        assert_eq!(answer(ask(&listener, &request(None, wrong)).await).await, 0);
    }
    let stream = ask(&listener, &request(None, own)).await;

    ports(&listener, 1).await;
    let port = &listener.ports()[0];
    let user = std::fs::metadata(folder.path()).expect("there").uid();
    assert_eq!((port.description.as_str(), port.user), ("by hand", user));
    drop(stream);
    ports(&listener, 0).await;
    assert_eq!(switch.ports(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_is_given_up_and_holds_no_port() {
    let request_timeout = Duration::from_millis(50);
    let config = VdeListenerConfig { requests_max: 2, request_timeout, ..Default::default() };
    let (_switch, listener, folder) = served(config);

    let mut halves = Vec::new();
    for _ in 0..8 {
        halves.push(ask(&listener, &request(None, "/nobody".into())[..50]).await);
    }
    // Behind them all.
    let _stack = joined(&folder).await;

    for half in halves {
        assert_eq!(answer(half).await, 0);
    }
    assert_eq!(listener.ports().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_are_refused() {
    let (_switch, listener, _folder) = served(VdeListenerConfig::default());
    let mut wrong = request(None, "/nobody".into());
    wrong[4] = 2;
    for bytes in [&wrong[..], &[0; 300], b"GET / HTTP/1.0\r\n\r\n"] {
        let mut stream = ask(&listener, bytes).await;
        stream.shutdown().await.expect("it is there");
        assert_eq!(answer(stream).await, 0, "{bytes:?}");
    }
    assert_eq!(listener.ports(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn words_on_the_control_stream_end_no_port() {
    let (_switch, listener, folder) = served(VdeListenerConfig::default());
    let own = folder.path().join("own");
    let socket = UnixDatagram::bind(&own).expect("a new path");
    let mut stream = ask(&listener, &request(None, own)).await;
    let mut address = [0; 110];
    stream.read_exact(&mut address).await.expect("an answer");

    for _ in 0..100 {
        stream.write_all(&[7; 1000]).await.expect("it reads on");
    }
    let end = address.iter().skip(2).position(|byte| *byte == 0).expect("a path");
    let data = String::from_utf8_lossy(&address[2..2 + end]).into_owned();
    socket.connect(&data).expect("a socket");
    socket.send(&[0xff; 60]).expect("room");

    assert_eq!(listener.ports().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_of_the_directory_and_its_sockets_are_as_given() {
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    let (_switch, listener, _folder) = served(VdeListenerConfig::default());
    assert_eq!((mode(listener.directory()), mode(&listener.control())), (0o2700, 0o600));

    let group = std::fs::metadata(listener.directory()).expect("there").gid();
    let config = VdeListenerConfig {
        mode: 0o660,
        group: Some(group.to_string()),
        ..VdeListenerConfig::default()
    };
    let (_switch, listener, _folder) = served(config);
    assert_eq!((mode(listener.directory()), mode(&listener.control())), (0o2770, 0o660));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_switch_is_not_replaced_and_a_dead_one_is() {
    let (switch, listener, folder) = served(VdeListenerConfig::default());
    let directory = folder.path().join("lan");
    let second = switch.vde_listener(&directory, VdeListenerConfig::default());
    assert_eq!(second.expect_err("one is there").kind(), ErrorKind::AddrInUse);
    listener.shutdown().await;

    // As a killed one leaves it.
    std::fs::create_dir(&directory).expect("it was removed");
    drop(std::os::unix::net::UnixListener::bind(directory.join("ctl")).expect("a new path"));
    drop(UnixDatagram::bind(directory.join("001.9")).expect("a new path"));
    let again = switch.vde_listener(&directory, VdeListenerConfig::default());
    assert!(again.is_ok(), "{again:?}");

    let long = folder.path().join("a".repeat(100));
    let error = switch.vde_listener(long, VdeListenerConfig::default()).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}
