//! Connections between the stack and the kernel, and their bytes.

use super::case::Case;
use crate::namespace::skip;
use crate::sockets::kernel;
use crate::wire::{KERNEL, STACK, at};
use netstack::Stack;
use netstack::netsocket::TcpStream;
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as KernelStream, UdpSocket};
use std::time::Duration;
use tests::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MOST: usize = 1 << 20;
/// In the other direction at the same time, so that acknowledgements travel with data.
const REST: usize = 100_001;
const CRAMPED: usize = 16 * 1024;
/// A cramped receiver stops reading here, for longer than a window that is closed goes unprobed.
const PAUSE: (usize, Duration) = (REST / 2, Duration::from_millis(300));
/// For one call on a socket of the kernel.
const PATIENCE: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Both ends of a connection.
struct Ends {
    ours: TcpStream,
    theirs: KernelStream,
}

/// Carries out all cases at once; returns them by the port of the stack's end.
pub(super) async fn all(
    stack: &Stack,
    cases: impl Iterator<Item = Case>,
) -> Result<HashMap<u16, Case>> {
    let (mut made, mut transfers) = (HashMap::new(), tokio::task::JoinSet::new());
    for case in cases {
        // One after the other: a setting of the kernel counts for each new connection.
        set("tcp_sack", case.has_sack)?;
        set("tcp_timestamps", case.has_timestamps)?;
        let ends = open(stack, &case).await.map_err(|error| format!("{case}: {error}"))?;
        assert_eq!(ends.ours.congestion_control()?, Some(case.control), "{case}");
        made.insert(ends.ours.local_addr()?.port(), case);
        transfers.spawn(async move {
            let carried = carry(ends, &case).await;
            carried.map_err(|error| format!("{case}: {error}"))
        });
    }
    while let Some(carried) = transfers.join_next().await {
        carried??;
    }
    Ok(made)
}

/// Sends small packets both ways for ever. A burst of losses ends after so many packets: one that
/// nobody else sends would meet a connection that waits for its timeouts, and nobody else.
pub(super) async fn others(stack: &Stack) -> Result<Infallible> {
    let ours = stack.net().udp_bind(at(STACK[0], 0)).await?;
    let theirs = UdpSocket::bind(at(KERNEL[0], 0))?;
    let mut interval = tokio::time::interval(Duration::from_millis(5));
    loop {
        interval.tick().await;
        ours.send_to(b"other", theirs.local_addr()?).await?;
        theirs.send_to(b"other", ours.local_addr()?)?;
    }
}

/// Sets something in this namespace, for both families.
fn set(name: &str, is_on: bool) -> Result<()> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    let written = fs::write(&path, if is_on { "1" } else { "0" });
    written.or_else(|error| skip(&format!("{path}: {error}")))
}

async fn open(stack: &Stack, case: &Case) -> Result<Ends> {
    let family = usize::from(case.is_v6);
    let theirs = kernel_socket(case)?;
    let ours = if case.is_v6 { stack.net().tcp_socket_v6() } else { stack.net().tcp_socket_v4() };
    ours.set_congestion_control(Some(case.control))?;
    if case.is_cramped {
        ours.set_recv_buffer_size(CRAMPED as u32)?;
    }
    if case.is_opened_by_kernel {
        ours.bind(at(STACK[family], 0).parse()?)?;
        let listener = ours.listen(1).await?;
        let to = listener.local_addr()?;
        let connecting = kernel(move || theirs.connect(&to.into()).map(|()| theirs));
        let (theirs, accepted) = tokio::join!(connecting, listener.accept());
        return Ok(Ends { ours: accepted?.0, theirs: theirs?.into() });
    }
    theirs.bind(&at(KERNEL[family], 0).parse::<SocketAddr>()?.into())?;
    theirs.listen(1)?;
    let to = theirs.local_addr()?.as_socket().ok_or("an address of another family")?;
    let accepting = kernel(move || theirs.accept());
    let (accepted, ours) = tokio::join!(accepting, ours.connect(to));
    Ok(Ends { ours: ours?, theirs: accepted?.0.into() })
}

fn kernel_socket(case: &Case) -> Result<Socket> {
    let family = if case.is_v6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(family, Type::STREAM, None)?;
    if case.is_cramped {
        socket.set_recv_buffer_size(CRAMPED)?;
    }
    // A kernel that has it not keeps its own; any will do.
    let _ = socket.set_tcp_congestion(case.kernel_control.as_bytes());
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sends and compares the bytes of both directions at the same time.
async fn carry(Ends { ours, theirs }: Ends, case: &Case) -> Result<()> {
    let (to_kernel, to_stack) = if case.is_upload { (MOST, REST) } else { (REST, MOST) };
    let (to_kernel, to_stack) = (noise(to_kernel), noise(to_stack));
    let pause = case.is_cramped.then_some(PAUSE);
    let (mut from, mut to) = ours.into_split();
    let (mut reader, mut writer) = (theirs.try_clone()?, theirs);
    let (expected, sent) = (Expected::new(to_kernel.clone(), pause), to_stack.clone());
    let kernel_reads = kernel(move || expected.read_from(&mut reader));
    let kernel_writes = kernel(move || {
        writer.write_all(&sent)?;
        writer.shutdown(Shutdown::Write)?;
        // Not closed before the other direction is done.
        Ok(writer)
    });
    let writes = async {
        to.write_all(&to_kernel).await?;
        to.shutdown().await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(())
    };
    let reads = async {
        let mut expected = Expected::new(to_stack, pause);
        let mut block = [0; 8192];
        loop {
            let read = from.read(&mut block).await?;
            if let Some(pause) = expected.take(&block[..read])? {
                tokio::time::sleep(pause).await;
            }
            if read == 0 {
                return Ok(());
            }
        }
    };
    tokio::try_join!(kernel_reads, kernel_writes, writes, reads)?;
    Ok(())
}

/// What a receiver must get.
struct Expected {
    bytes: Vec<u8>,
    received: usize,
    /// Where to pause, and for how long.
    pause: Option<(usize, Duration)>,
}

impl Expected {
    fn new(bytes: Vec<u8>, pause: Option<(usize, Duration)>) -> Self {
        Self { bytes, received: 0, pause }
    }

    /// Compares the next bytes, or none at the end; returns for how long to pause.
    fn take(&mut self, bytes: &[u8]) -> io::Result<Option<Duration>> {
        let left = &self.bytes[self.received..];
        let is_expected = if bytes.is_empty() { left.is_empty() } else { left.starts_with(bytes) };
        if !is_expected {
            let (at, len) = (self.received, bytes.len());
            return Err(io::Error::other(format!("{len} bytes at {at} are not those sent")));
        }
        self.received += bytes.len();
        let due = self.pause.take_if(|(at, _)| self.received >= *at);
        Ok(due.map(|(_, pause)| pause))
    }

    fn read_from(mut self, stream: &mut KernelStream) -> io::Result<()> {
        let mut block = [0; 8192];
        loop {
            let read = stream.read(&mut block)?;
            if let Some(pause) = self.take(&block[..read])? {
                std::thread::sleep(pause);
            }
            if read == 0 {
                return Ok(());
            }
        }
    }
}
