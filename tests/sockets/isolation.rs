//! The effects of a panic in user code, and the errors that name the cause of an end.

use super::pair;
use bytes::Bytes;
use netstack::device::{Device, PipeDevice, PipeEnd, pipe};
use netstack::netsocket::netcore::{Frame, Link, LinkCapabilities, Medium, Offload, Slot};
use netstack::switch::{PortConfig, Switch, SwitchConfig};
use netstack::{Builder, Error, Stack, dhcp};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Where a device of a test panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    Nowhere,
    Capabilities,
    Receive,
    Transmit,
    Send,
    PollReceive,
    Flush,
    Drop,
}

/// A pipe that panics in one call once it is armed.
struct Brittle {
    device: PipeDevice,
    spot: Spot,
    /// How many packets were sent before.
    sent: usize,
}

struct BrittleSlot<'a>(<PipeDevice as Link>::Slot<'a>, bool);

impl Brittle {
    fn breaks_at(&self, spot: Spot) {
        assert!(self.spot != spot || self.sent == 0, "broken at {spot:?}");
    }
}

impl Slot for BrittleSlot<'_> {
    fn send<R>(self, len: usize, fill: impl FnOnce(&mut [u8]) -> (R, Offload)) -> R {
        let sent = self.0.send(len, fill);
        assert!(!self.1, "broken at Send");
        sent
    }
}

impl Link for Brittle {
    type Slot<'a> = BrittleSlot<'a>;

    fn capabilities(&self) -> LinkCapabilities {
        self.breaks_at(Spot::Capabilities);
        self.device.capabilities()
    }

    fn receive(&mut self) -> Option<Frame> {
        self.breaks_at(Spot::Receive);
        self.device.receive()
    }

    fn transmit(&mut self) -> Option<BrittleSlot<'_>> {
        self.breaks_at(Spot::Transmit);
        self.sent += 1;
        let breaks = self.spot == Spot::Send;
        Some(BrittleSlot(self.device.transmit()?, breaks))
    }
}

impl Device for Brittle {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.breaks_at(Spot::PollReceive);
        self.device.poll_receive(cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.device.poll_room(cx)
    }

    fn flush(&mut self) {
        self.breaks_at(Spot::Flush);
        self.device.flush();
    }
}

impl Drop for Brittle {
    fn drop(&mut self) {
        self.breaks_at(Spot::Drop);
    }
}

fn brittle(spot: Spot) -> (Stack, PipeEnd) {
    let (device, far) = pipe(16, 1500);
    let address = "10.0.0.2/24".parse().expect("a network");
    let device = Brittle { device, spot, sent: 0 };
    (Builder::new().address(address).spawn(device).expect("a stack"), far)
}

#[tokio::test(start_paused = true)]
async fn a_device_that_panics_ends_the_stack_and_is_named() {
    for spot in [
        Spot::Capabilities,
        Spot::Receive,
        Spot::Transmit,
        Spot::Send,
        Spot::PollReceive,
        Spot::Flush,
    ] {
        let (stack, _far) = brittle(spot);
        let listener = stack.net().tcp_listen("10.0.0.2:80").await.expect("free");
        let net = stack.net().clone();
        let connecting = tokio::spawn(async move { net.tcp_connect("10.0.0.1:80").await.err() });

        let accepted = listener.accept().await.expect_err("it is gone");

        let cause = |error: &io::Error| {
            error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()).copied()
        };
        assert_eq!(cause(&accepted), Some(Error::DeviceFailed), "{spot:?}");
        let connected = connecting.await.expect("no panic").expect("it is gone");
        assert_eq!(cause(&connected), Some(Error::DeviceFailed), "{spot:?}");
        for _ in 0..2 {
            let ended = stack.ended().await.expect_err("a broken device").to_string();
            assert_eq!(ended, format!("the network device panicked: broken at {spot:?}"));
        }
        let late = stack.net().tcp_listen("10.0.0.2:81").await.expect_err("it is gone");
        assert_eq!(cause(&late), Some(Error::DeviceFailed), "{spot:?}");
        let watched = stack.net().watch_network().changed().await;
        assert_eq!(watched.err(), Some(Error::DeviceFailed), "{spot:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_panics_when_dropped_blocks_no_shutdown() {
    let (stack, _far) = brittle(Spot::Drop);
    let socket = stack.net().udp_bind("10.0.0.2:9").await.expect("free");
    socket.send_to(b"x", "10.0.0.1:9").await.expect("room");

    stack.shutdown(Duration::from_secs(1)).await.expect("in good order");

    assert!(socket.recv(&mut [0]).await.is_err());
    drop(brittle(Spot::Nowhere));
}

#[tokio::test(start_paused = true)]
async fn an_uplink_whose_device_panics_leaves_the_switch() {
    let switch = Switch::new(SwitchConfig::default());
    let (device, _far) = netstack::device::ethernet_pipe(16, 1500);
    let device = Brittle { device, spot: Spot::Receive, sent: 1 };
    let uplink = switch.uplink(device, PortConfig::default()).expect("room");

    let ended = uplink.ended().await.expect_err("a broken device").to_string();

    assert_eq!(ended, "the device of the uplink panicked: broken at Receive");
    assert_eq!(switch.ports().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_gets_the_next_event() {
    let events = Arc::new(AtomicUsize::new(0));
    let counter = events.clone();
    let config = dhcp::Config::default().on_event(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        panic!("as the test wants");
    });
    let (device, far) = pipe(16, 1500);
    let stack = Builder::new().dhcp(config).spawn(device).expect("a stack");

    for _ in 0..3 {
        assert!(far.recv().await.is_some(), "it goes on asking");
    }
    tokio::time::sleep(Duration::from_millis(1)).await;

    assert_eq!(events.load(Ordering::Relaxed), 3);
    assert!(stack.net().snapshot().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failed_client_is_reported_and_the_stack_runs_on() {
    let (device, _far) = pipe(16, 1500);
    let config = netstack::Config { sockets_max: 0, ..netstack::Config::default() };
    let builder = Builder::new().config(config).dhcp(dhcp::Config::default());
    let stack = builder.spawn(device).expect("a stack");

    let ended = stack.ended().await.expect_err("no socket for the client").to_string();

    let text = "the DHCP client has ended: a configured limit of the stack was reached";
    assert_eq!(ended, text);
    let network = stack.net().watch_network().wait_for(|now| !now.failures.is_empty()).await;
    assert_eq!(network.expect("a stack that runs").failures, [text]);
    stack.shutdown(Duration::from_secs(1)).await.expect("in good order");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_end_leaves_the_stack_to_be_shut_down() {
    let (near, far) = pair();
    let signal = tokio::time::sleep(Duration::from_secs(5));
    tokio::select! {
        ended = near.ended() => panic!("{ended:?}"),
        () = signal => near.shutdown(Duration::from_secs(1)).await.expect("in good order"),
    }
    // The other end of its pipe was dropped: an end without an error.
    far.ended().await.expect("in good order");
    far.ended().await.expect("in good order, still");
}

#[tokio::test(start_paused = true)]
async fn a_device_failure_is_reported_to_all_sockets() {
    struct Failing(PipeDevice);
    impl Link for Failing {
        type Slot<'a> = <PipeDevice as Link>::Slot<'a>;

        fn capabilities(&self) -> LinkCapabilities {
            let mut capabilities = self.0.capabilities();
            capabilities.medium = Medium::Ip;
            capabilities
        }

        fn receive(&mut self) -> Option<Frame> {
            self.0.receive()
        }

        fn transmit(&mut self) -> Option<Self::Slot<'_>> {
            self.0.transmit()
        }
    }
    impl Device for Failing {
        fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            match std::task::ready!(self.0.poll_receive(cx)) {
                Ok(()) => Poll::Ready(Err(io::Error::other("the cable was cut"))),
                end => Poll::Ready(end),
            }
        }

        fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.poll_room(cx)
        }
    }
    let (device, far) = pipe(16, 1500);
    let stack = Builder::new().spawn(Failing(device)).expect("a stack");
    let socket = stack.net().udp_bind("127.0.0.1:9").await.expect("free");
    // Once the stack waits: bytes that arrive before are just received.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(far.send(Bytes::from_static(b"x")).await);

    let received = socket.recv(&mut [0]).await.expect_err("it is gone").to_string();
    assert_eq!(received, "the network device failed, and the stack has stopped");
    let ended = stack.ended().await.expect_err("a failure").to_string();
    assert_eq!(ended, "the cable was cut");
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_ends_only_its_own_wait() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as the test wants");
        }
    }
    let (near, far) = pair();
    let socket = far.net().udp_bind("10.0.0.2:9").await.expect("free");
    let sender = near.net().udp_bind("10.0.0.1:9").await.expect("free");
    let waker = Waker::from(Arc::new(Panics));
    let mut buffer = [0; 8];
    {
        let mut waiting = pin!(socket.recv(&mut buffer));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        sender.send_to(b"one", "10.0.0.2:9").await.expect("room");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    assert_eq!(socket.recv(&mut buffer).await.expect("a datagram"), 3);
    sender.send_to(b"three", "10.0.0.2:9").await.expect("room");
    assert_eq!(socket.recv(&mut buffer).await.expect("a datagram"), 5);
}
