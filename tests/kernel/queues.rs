//! A TUN and a TAP with several queues.

use crate::namespace::{Outcome, skip};
use crate::sockets::kernel;
use crate::wire::{KERNEL_NETS, builder};
use netstack::device::{Device, InterfaceConfig, InterfaceOffload, QueueCounters, Tap, Tun};
use netstack::netsocket::netcore::{Offload, Slot};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const QUEUES: usize = 4;
const FLOWS: u16 = 200;
const FIRST_PORT: u16 = 20_000;
/// The device's end, and its port.
const PEER: &str = "10.9.0.2";
const PEER_PORT: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(20);

fn config(offload: InterfaceOffload) -> InterfaceConfig {
    let host_addresses = KERNEL_NETS.iter().map(|it| it.parse().expect("a network")).collect();
    let name = "mq0".to_owned();
    InterfaceConfig { name, host_addresses, offload, queues: QUEUES, ..InterfaceConfig::default() }
}

pub(crate) fn tun() -> Outcome {
    match Tun::open(&config(InterfaceOffload::Off)) {
        Ok(tun) => {
            let counters = tun.queue_counters();
            flows(tun, counters, 0)
        }
        Err(error) => skip(&error.to_string()),
    }
}

pub(crate) fn tap() -> Outcome {
    let tap = match Tap::open(&config(InterfaceOffload::Off)) {
        Ok(tap) => tap,
        Err(error) => return skip(&error.to_string()),
    };
    // Without this device answering ARP.
    let mut ip = crate::namespace::program("ip")?;
    ip.args(["neigh", "add", PEER, "lladdr", "02:00:00:00:00:02", "dev", "mq0"]);
    crate::programs::output(&mut ip)?;
    let counters = tap.queue_counters();
    flows(tap, counters, 14)
}

/// Sends three datagrams of each of 200 flows, answers each flow once, and sends again.
fn flows<D: Device>(mut device: D, counters: QueueCounters, header: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        device.attach()?;
        // What the kernel says of its own would be on the queues too.
        std::fs::write("/proc/sys/net/ipv6/conf/mq0/disable_ipv6", "1")?;
        while device.receive().is_some() {}
        let bind = |flow| UdpSocket::bind(("10.9.0.1", FIRST_PORT + flow));
        let sockets = (0..FLOWS).map(bind).collect::<Result<Vec<_>, _>>()?;

        let mut first = BTreeMap::new();
        for _ in 0..3 {
            for (flow, socket) in (0..).zip(&sockets) {
                socket.send_to(b"x", (PEER, PEER_PORT))?;
                let (_, queue) = received(&mut device, &counters, header, flow).await?;
                let before = *first.entry(flow).or_insert(queue);
                assert_eq!(before, queue, "flow {flow} is on two queues");
            }
        }
        let mut spread = [0; QUEUES];
        first.values().for_each(|queue| spread[*queue] += 1);
        assert!(spread.iter().all(|flows| *flows > 10), "{spread:?}");

        for (flow, socket) in (0..).zip(&sockets) {
            socket.send_to(b"x", (PEER, PEER_PORT))?;
            let (request, _) = received(&mut device, &counters, header, flow).await?;
            let before = counters.sent();
            send(&mut device, &answer(&request, header));
            assert_eq!(changed(&before, &counters.sent()), Some(first[&flow]), "flow {flow}");
            socket.set_read_timeout(Some(PATIENCE))?;
            assert_eq!(socket.recv(&mut [0; 8])?, 1, "flow {flow}");
            socket.send_to(b"x", (PEER, PEER_PORT))?;
            let (_, queue) = received(&mut device, &counters, header, flow).await?;
            assert_eq!(queue, first[&flow], "flow {flow} has moved by its answer");
        }
        Ok(())
    })
}

/// The next datagram of a flow, and the queue that it came on.
async fn received(
    device: &mut impl Device,
    counters: &QueueCounters,
    header: usize,
    flow: u16,
) -> Result<(Vec<u8>, usize), Box<dyn std::error::Error + Send + Sync>> {
    let receiving = async {
        loop {
            let before = counters.received();
            poll_fn(|cx| device.poll_receive(cx)).await?;
            let after = counters.received();
            let mut frames = std::iter::from_fn(|| device.receive());
            let is_it = |frame: &[u8]| {
                let port = (FIRST_PORT + flow).to_be_bytes();
                frame.get(header + 9) == Some(&17)
                    && frame.get(header + 20..header + 22) == Some(&port)
            };
            let found = frames.by_ref().find(|frame| is_it(&frame.data));
            let rest = frames.count();
            match (found, changed(&before, &after)) {
                (Some(frame), Some(queue)) if rest == 0 => return Ok((frame.data.to_vec(), queue)),
                (Some(_), _) => return Err("several queues at once".into()),
                (None, _) => {}
            }
        }
    };
    timeout(PATIENCE, receiving).await?
}

/// The queue whose count has changed, if it is one.
fn changed(before: &[u64], after: &[u64]) -> Option<usize> {
    let mut all = (0..after.len()).filter(|queue| before[*queue] != after[*queue]);
    all.next().filter(|_| all.next().is_none())
}

fn send(device: &mut impl Device, frame: &[u8]) {
    let slot = device.transmit().expect("room");
    slot.send(frame.len(), |room| (room.copy_from_slice(frame), Offload::default()));
    device.flush();
}

/// The request with its ends exchanged, and without UDP's checksum.
fn answer(request: &[u8], header: usize) -> Vec<u8> {
    let mut answer = request.to_vec();
    if header > 0 {
        answer[..6].copy_from_slice(&request[6..12]);
        answer[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    }
    let ip = &mut answer[header..];
    let request = &request[header..];
    ip[12..16].copy_from_slice(&request[16..20]);
    ip[16..20].copy_from_slice(&request[12..16]);
    ip[20..22].copy_from_slice(&request[22..24]);
    ip[22..24].copy_from_slice(&request[20..22]);
    ip[26..28].fill(0);
    answer
}

/// Connections over all queues, with offload.
pub(crate) fn stack() -> Outcome {
    let tun = match Tun::open(&config(InterfaceOffload::Preferred)) {
        Ok(tun) => tun,
        Err(error) => return skip(&error.to_string()),
    };
    let counters = tun.queue_counters();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stack = builder().spawn(tun)?;
        let listener = stack.net().tcp_listen("[::]:7").await?;
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await?;
                    to.shutdown().await
                });
            }
        });
        let clients: Vec<_> = (0..32_u8)
            .map(|client| {
                kernel(move || {
                    let host = if client % 2 == 0 { "10.9.0.2:7" } else { "[fd00::2]:7" };
                    let mut stream = std::net::TcpStream::connect(host)?;
                    let mut writer = stream.try_clone()?;
                    let writing = std::thread::spawn(move || {
                        writer.write_all(&vec![client; 300_000])?;
                        writer.shutdown(Shutdown::Write)
                    });
                    let mut back = Vec::new();
                    stream.read_to_end(&mut back)?;
                    writing.join().expect("no panic")?;
                    assert!(back == vec![client; 300_000], "{} bytes", back.len());
                    Ok(())
                })
            })
            .collect();
        for client in clients {
            client.await?;
        }
        let (received, sent) = (counters.received(), counters.sent());
        assert!(received.iter().chain(&sent).all(|packets| *packets > 0), "{received:?} {sent:?}");
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })
}
