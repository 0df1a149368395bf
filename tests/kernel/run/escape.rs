//! What of a program on the stack reaches the kernel's network: nothing, whatever happens.

use super::{KERNEL, Result, STACK, on_stack, start};
use crate::daemon::PATIENCE;
use crate::namespace::{Outcome, program, skip};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};

/// The kernel's router, to which all leads that does not go elsewhere.
const ROUTER: &str = "10.8.0.2";

/// Tries to send by all means: with sockets that it has, with new ones, and in a child.
const PROGRAM: &str = "
import errno, socket, subprocess, sys, threading
kernel, port, router = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def tell(name, call):
    try: call(); print(name, 'done', flush=True)
    except OSError as e: print(name, errno.errorcode[e.errno], flush=True)
stream = socket.create_connection((kernel, port))
attempt, datagrams, connected = socket.socket(), socket.socket(type=2), socket.socket(type=2)
connected.connect((kernel, 9))
listener = socket.create_server(('0.0.0.0', 0))
accepting = threading.Thread(target=lambda: tell('accept', listener.accept))
accepting.start()
stream.sendall(b'x')
stream.recv(1)
accepting.join()
for host in ('127.0.0.1', kernel, router):
    tell('connect', lambda: attempt.connect((host, 9)))
    tell('sendto', lambda: datagrams.sendto(b'x', (host, 9)))
    tell('sendmsg', lambda: datagrams.sendmsg([b'x'], [], 0, (host, 9)))
tell('send of a stream', lambda: (stream.send(b'x'), stream.send(b'x')))
tell('send of datagrams', lambda: connected.send(b'x'))
for family in ('AF_INET', 'AF_INET6', 'AF_PACKET'):
    tell(family, lambda: socket.socket(getattr(socket, family), socket.SOCK_DGRAM))
child = subprocess.run([sys.executable, '-c', 'import socket; socket.socket()'], stderr=-3)
print('child', child.returncode, flush=True)
";

pub(crate) fn supervisor_killed() -> Outcome {
    for arguments in [
        "link set lo up",
        "link add uplink type veth peer name router",
        "link set uplink up",
        "link set router up",
        "address add 10.8.0.1/24 dev uplink",
        // So that packets for it leave without a question for it.
        "neighbour add 10.8.0.2 lladdr 02:00:00:00:00:02 dev uplink",
        "route add default via 10.8.0.2",
    ] {
        let done = program("ip")?.args(arguments.split(' ')).output()?;
        if !done.status.success() {
            return skip(&format!("ip {arguments}: {}", String::from_utf8_lossy(&done.stderr)));
        }
    }
    let capture = Capture::start()?;
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port().to_string();
    let run = start(on_stack("python3")?.args(["-c", PROGRAM, KERNEL, &port, ROUTER]))?;
    let (mut stream, _) = listener.accept()?;
    stream.read_exact(&mut [0; 1])?;

    run.signal("KILL")?;

    run.expect_line("accept ENOSYS")?;
    for _ in 0..3 {
        run.expect_line("connect ENOSYS")?;
        run.expect_line("sendto ENOSYS")?;
        run.expect_line("sendmsg EPIPE")?;
    }
    run.expect_line("send of a stream EPIPE")?;
    run.expect_line("send of datagrams EPIPE")?;
    run.expect_line("AF_INET ENOSYS")?;
    run.expect_line("AF_INET6 ENOSYS")?;
    run.expect_line("AF_PACKET EPERM")?;
    run.expect_line("child 1")?;
    assert_eq!(capture.until_now()?, Vec::<Packet>::new());
    Ok(())
}

/// All packets of this namespace.
struct Capture(Socket);

#[derive(Debug, PartialEq, Eq)]
struct Packet {
    protocol: u8,
    from: IpAddr,
    to: IpAddr,
    payload: Vec<u8>,
}

/// `ETH_P_ALL` of Linux.
const ALL: u16 = 3;
/// Protocols of programs; others are the kernel's own.
const PROGRAMS: [u8; 3] = [1, 6, 17];
/// What is sent to see that everything before it was captured.
const LAST: &[u8] = b"the last packet";

impl Capture {
    fn start() -> Result<Self> {
        let all = Protocol::from(i32::from(ALL.to_be()));
        // Without the headers of links, which a TUN has not.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(all))?;
        socket.set_recv_buffer_size(4 << 20)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    /// The packets of programs, but for those between the kernel and the stack.
    fn until_now(mut self) -> Result<Vec<Packet>> {
        let sender = UdpSocket::bind("0.0.0.0:0")?;
        let (mut found, mut bytes) = (Vec::new(), vec![0; 1 << 17]);
        // One after the other: the kernel answers the one for its own port.
        for to in [ROUTER, "127.0.0.1"] {
            sender.send_to(LAST, (to, 9))?;
            let to: IpAddr = to.parse()?;
            loop {
                let n = self.0.read(&mut bytes)?;
                match Packet::of(&bytes[..n]) {
                    Some(last) if last.to == to && last.payload.ends_with(LAST) => break,
                    Some(packet) if !packet.is_for_the_stack() => found.push(packet),
                    _ => {}
                }
            }
        }
        // On a veth it is captured twice: as it leaves, and as it arrives.
        found.retain(|packet| !packet.payload.ends_with(LAST));
        Ok(found)
    }
}

impl Packet {
    fn of(bytes: &[u8]) -> Option<Self> {
        let v4 = |at: usize| Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?).into());
        let v6 = |at: usize| Some(IpAddr::from(*bytes.get(at..)?.first_chunk::<16>()?));
        let (protocol, from, to, header) = match bytes.first()? >> 4 {
            4 => (*bytes.get(9)?, v4(12)?, v4(16)?, 20),
            6 => (*bytes.get(6)?, v6(8)?, v6(24)?, 40),
            _ => return None,
        };
        let payload = bytes.get(header..)?.to_vec();
        PROGRAMS.contains(&protocol).then_some(Self { protocol, from, to, payload })
    }

    fn is_for_the_stack(&self) -> bool {
        let is = |it: IpAddr, text: &str| it.to_string() == text;
        is(self.from, KERNEL) && is(self.to, STACK) || is(self.from, STACK) && is(self.to, KERNEL)
    }
}
