//! Overlay networks, with VDE's programs and with the VXLAN of the kernel as the other end.

use crate::daemon::Failure;
use crate::far::{FAR, Far, NEAR};
use crate::namespace::{Outcome, program};
use netstack::link::LinkUrl;
use netstack::netsocket::netcore::{Link, Network};
use netstack::{Builder, Stack};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

/// The addresses of the stack in the tutorial of vdestack.
const STACK: [&str; 2] = ["10.0.0.50", "fc00::1:50"];
/// What the other end does: it is 10.0.0.1 and fc00::1:1 on an interface, pings the stack, and has
/// bytes echoed by its port 5000.
const TUTORIAL: &str = "\
    ip addr add 10.0.0.1/24 dev $IF; ip addr add fc00::1:1/64 dev $IF nodad; ip link set $IF up
    for it in 10.0.0.50 fc00::1:50; do
        busybox ping -A -c 2 -W 2 $it
        busybox ping -c 1 -s 1472 -W 2 $it
        test \"$(echo hello | nc -N -w 5 $it 5000)\" = hello
        head -c 1000000 /dev/urandom >$TMP
        nc -N -w 5 $it 5000 <$TMP | cmp - $TMP
    done
    echo all done";

/// The tutorial on an interface.
fn tutorial(interface: &str) -> Result<(String, tempfile::TempDir), Failure> {
    // The ping of iputils wants a user that the namespace of vdens does not have.
    for name in ["ip", "busybox", "nc", "cmp"] {
        program(name)?;
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("sent").display().to_string();
    Ok((format!("IF={interface} TMP={file}\n{TUTORIAL}"), folder))
}

/// Runs the test with a stack on a link, whose port 5000 echoes.
fn with_stack(url: &str, mtu: usize, test: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let url: LinkUrl = url.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let device = url.open()?;
        assert_eq!(device.capabilities().mtu, mtu, "{url}");
        let stack = Builder::new().address(format!("{}/24", STACK[0]).parse()?);
        let stack = stack.address(format!("{}/64", STACK[1]).parse()?).spawn(device)?;
        let settled = |network: &Network| network.tentative.is_empty();
        stack.net().watch_network().wait_for(settled).await?;
        tokio::spawn(echo(stack.net().tcp_listen("[::]:5000").await?));
        tokio::task::spawn_blocking(test).await??;
        Stack::shutdown(stack, Duration::from_secs(1)).await?;
        Ok(())
    })
}

async fn echo(listener: netstack::TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await
        });
    }
}

pub(crate) fn vdens() -> Outcome {
    vdens_at("vxvde://234.0.0.1", "234.0.0.1", 1450)
}

pub(crate) fn vdens_over_ipv6() -> Outcome {
    vdens_at("vxvde:///v6/if=v0", "ff05:56de::1", 1430)
}

/// The tutorial of vdestack with this stack in its server's place, and what was on the wire.
fn vdens_at(url: &'static str, group: &str, mtu: usize) -> Outcome {
    program("vdens")?;
    let (script, _folder) = tutorial("vde0")?;
    let mut far = Far::new()?;
    let capture = Capture::start()?;
    with_stack(url, mtu, move || {
        let text = far.run(&Far::vdens(url, &script.replace('\'', "\"")))?;
        assert!(text.contains("all done"), "{text}");
        Ok(())
    })?;

    let group: IpAddr = group.parse()?;
    let datagrams = capture.datagrams()?;
    // The request of an address goes to the group, and all that follows to its owner.
    let is_request = |it: &&Datagram| it.inner_type() == Some(ARP) && it.inner_to() == Some(TO_ALL);
    let request = datagrams.iter().find(is_request).ok_or("no ARP")?;
    assert_eq!((request.to, request.to_port), (group, 14789));
    let echo = |it: &&Datagram| it.inner_type() == Some(IPV4);
    let mut pings = datagrams.iter().filter(echo);
    assert!(pings.clone().count() > 4, "{}", datagrams.len());
    assert!(pings.all(|it| !it.to.is_multicast() && it.to_port != 14789));
    // Both ends leave with the header alone.
    let goodbyes: Vec<_> = datagrams.iter().filter(|it| it.payload.len() == 8).collect();
    assert!(goodbyes.iter().all(|it| (it.to, it.to_port) == (group, 14789)));
    assert!(goodbyes.iter().all(|it| it.payload == [8, 0, 0, 0, 0, 0, 1, 0]));
    let near = if group.is_ipv4() { NEAR[0] } else { NEAR[1] };
    let near: IpAddr = near.parse()?;
    let own = goodbyes.iter().filter(|it| it.from == near).count();
    assert_eq!((own, goodbyes.len()), (1, 2));
    Ok(())
}

pub(crate) fn kernel_by_remote() -> Outcome {
    let ours = format!("vxlan:///remote={}/vni=42", FAR[0]);
    let kernels = format!("id 42 remote {} local {} dev v0 dstport 4789", NEAR[0], FAR[0]);
    kernel(ours, kernels, 1450)
}

pub(crate) fn kernel_by_group() -> Outcome {
    let kernels = "id 1 group 239.0.0.1 dev v0 dstport 4789 ttl 1";
    kernel("vxlan://239.0.0.1".to_owned(), kernels.to_owned(), 1450)
}

pub(crate) fn kernel_by_remote_over_ipv6() -> Outcome {
    let ours = format!("vxlan:///remote={}/vni=43/port=4790", FAR[1]);
    let kernels = format!("id 43 remote {} local {} dev v0 dstport 4790", NEAR[1], FAR[1]);
    kernel(ours, kernels, 1430)
}

pub(crate) fn kernel_by_group_over_ipv6() -> Outcome {
    let kernels = format!("id 7 group ff05::7 local {} dev v0 dstport 4789", FAR[1]);
    kernel("vxlan://ff05::7/vni=7/if=v0".to_owned(), kernels, 1430)
}

/// The kernel's VXLAN is the other end.
fn kernel(ours: String, kernels: String, mtu: usize) -> Outcome {
    let (script, _folder) = tutorial("vx0")?;
    let mut far = Far::new()?;
    with_stack(&ours, mtu, move || {
        let text = far.run(&format!("ip link add vx0 type vxlan {kernels}\nset -e\n{script}"))?;
        assert!(text.contains("all done"), "{text}");
        let peers = far.run("bridge fdb show dev vx0")?;
        let near = if mtu == 1450 { NEAR[0] } else { NEAR[1] };
        assert!(peers.contains(&format!("dst {near} ")), "{peers}");
        Ok(())
    })
}

/// All that is on the veth.
struct Capture(Socket);

/// A datagram on the veth.
struct Datagram {
    from: IpAddr,
    to: IpAddr,
    to_port: u16,
    payload: Vec<u8>,
}

const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const TO_ALL: [u8; 6] = [0xff; 6];
const UDP: u8 = 17;
/// `ETH_P_ALL` of Linux.
const ALL: u16 = 3;

impl Capture {
    fn start() -> Result<Self, Failure> {
        let all = Protocol::from(i32::from(ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(all))?;
        socket.set_recv_buffer_size(16 << 20)?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }

    /// The UDP datagrams so far, without those in fragments.
    fn datagrams(mut self) -> Result<Vec<Datagram>, Failure> {
        let (mut found, mut frame) = (Vec::new(), vec![0; 1 << 17]);
        loop {
            match self.0.read(&mut frame) {
                Ok(len) => found.extend(Datagram::of(&frame[..len])),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(found),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Datagram {
    fn of(frame: &[u8]) -> Option<Self> {
        let (kind, packet) = (frame.get(12..14)?, &frame[14..]);
        let address = |at: usize, len: usize| -> Option<IpAddr> {
            let bytes = packet.get(at..at + len)?;
            match len {
                4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
                _ => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
            }
        };
        let (protocol, from, to, udp) = if kind == IPV4 {
            if packet.get(6)? & 0x3f != 0 || *packet.get(7)? != 0 {
                return None;
            }
            (packet.get(9)?, address(12, 4)?, address(16, 4)?, packet.get(20..)?)
        } else if kind == IPV6 {
            (packet.get(6)?, address(8, 16)?, address(24, 16)?, packet.get(40..)?)
        } else {
            return None;
        };
        if *protocol != UDP {
            return None;
        }
        let to_port = u16::from_be_bytes([*udp.get(2)?, *udp.get(3)?]);
        Some(Self { from, to, to_port, payload: udp.get(8..)?.to_vec() })
    }

    /// The destination of the frame inside.
    fn inner_to(&self) -> Option<[u8; 6]> {
        self.payload.get(8..14)?.try_into().ok()
    }

    /// The EtherType of the frame inside.
    fn inner_type(&self) -> Option<[u8; 2]> {
        self.payload.get(20..22)?.try_into().ok()
    }
}
