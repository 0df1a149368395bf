//! Debian's passt at the other end of a link: a stack in a guest's place.

use crate::daemon::{Daemon, Failure, PATIENCE};
use crate::namespace::{Outcome, program};
use crate::programs::output;
use netstack::link::{LinkDevice, LinkUrl};
use netstack::netsocket::netcore::Network;
use netstack::{Builder, Stack, dhcp, slaac};
use std::io::ErrorKind::{ConnectionRefused, NotFound};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tests::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// The machine's addresses, with a network and a router that is not there: passt wants a default
/// route.
const MACHINE: [(&str, &str, &str); 2] =
    [("192.0.2.1", "24", "192.0.2.254"), ("2001:db8::1", "64", "2001:db8::fe")];
/// What passt leases.
const GUEST: &str = "10.0.2.15";
/// The port of this machine that leads to the guest, in the namespace of the test.
const PUBLISHED: u16 = 5000;
const LEN: usize = 4_000_000;

/// A machine with passt on it.
struct Machine {
    passt: Option<Daemon>,
    folder: TempDir,
}

impl Machine {
    fn new() -> Result<Self, Failure> {
        program("passt")?;
        output(program("ip")?.args(["link", "set", "lo", "up"]))?;
        output(program("ip")?.args(["tuntap", "add", "up0", "mode", "tap"]))?;
        output(program("ip")?.args(["link", "set", "up0", "up"]))?;
        // The kernel gives one only where there is a carrier.
        output(program("ip")?.args(["address", "add", "fe80::1/64", "dev", "up0", "nodad"]))?;
        for (own, len, router) in MACHINE {
            let own = format!("{own}/{len}");
            output(program("ip")?.args(["address", "add", &own, "dev", "up0", "nodad"]))?;
            output(program("ip")?.args(["route", "add", "default", "via", router, "dev", "up0"]))?;
        }
        let mut machine = Self { passt: None, folder: TempDir::new()? };
        machine.start()?;
        Ok(machine)
    }

    fn path(&self) -> String {
        self.folder.path().join("link").display().to_string()
    }

    /// Starts passt, in place of one that runs.
    fn start(&mut self) -> Outcome {
        self.passt = None;
        let _ = std::fs::remove_file(self.path());
        let mut passt = program("passt")?;
        // The user of the namespace; others it does not have.
        passt.args(["--foreground", "--stderr", "--runas", "0", "--socket", &self.path()]);
        passt.args(["--address", GUEST, "--netmask", "24", "--gateway", "10.0.2.2"]);
        let published = PUBLISHED.to_string();
        passt.args(["--tcp-ports", &published, "--udp-ports", "none", "--mtu", "1500"]);
        self.passt = Some(Daemon::start(&mut passt)?);
        Ok(())
    }

    /// The link to it, once it listens, which is after the file is there.
    fn open(&self) -> Result<LinkDevice, Failure> {
        let url: LinkUrl = format!("unix-stream://{}", self.path()).parse()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match url.open() {
                Err(error)
                    if matches!(error.kind(), NotFound | ConnectionRefused)
                        && Instant::now() < deadline =>
                {
                    thread::sleep(Duration::from_millis(10));
                }
                opened => return Ok(opened?),
            }
        }
    }

    /// A stack behind it, once it has both addresses.
    async fn guest(&self) -> Result<Stack, Failure> {
        let builder = Builder::new().dhcp(dhcp::Config::default()).slaac(slaac::Config::default());
        let stack = builder.spawn(self.open()?)?;
        let watch = stack.net().watch_network();
        within("both addresses", { watch }.wait_for(is_configured)).await?;
        Ok(stack)
    }
}

fn is_configured(network: &Network) -> bool {
    let has = |address: IpAddr| network.addresses.iter().any(|own| own.addr() == address);
    let is_wide = |own: IpAddr| matches!(own, IpAddr::V6(own) if !own.is_unicast_link_local());
    has(GUEST.parse().expect("an address"))
        && network.addresses.iter().any(|own| is_wide(own.addr()))
        && network.tentative.is_empty()
}

/// A lease and a router advertisement of passt's, and bytes and ends in each direction.
pub(crate) fn behind_it() -> Outcome {
    let machine = Machine::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stack = machine.guest().await?;
        for (address, ..) in MACHINE {
            goes_out(&stack, address).await.map_err(|error| format!("{address}: {error}"))?;
        }
        comes_in(&stack).await?;
        stack.shutdown(Duration::from_secs(1)).await?;
        Ok(())
    })
}

/// An echo of the kernel, which ends first. Where the guest ends first, passt of March 2023 closes with
/// most of the answer unsent, also for a guest that is Linux.
async fn goes_out(stack: &Stack, address: &str) -> Outcome {
    let listener = TcpListener::bind((address, 0))?;
    let to = listener.local_addr()?;
    let echo = thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        let mut all = vec![0; LEN];
        stream.read_exact(&mut all)?;
        stream.write_all(&all)?;
        stream.shutdown(Shutdown::Write)?;
        // The guest's end.
        stream.read(&mut all)
    });
    let mut stream = within("a connection", stack.net().tcp_connect(to)).await?;
    let sent = noise(LEN);
    within("room", stream.write_all(&sent)).await?;
    let mut back = Vec::new();
    within("the end", stream.read_to_end(&mut back)).await?;
    assert!(back == sent, "{} bytes came back", back.len());
    stream.shutdown().await?;
    let after = tokio::task::spawn_blocking(|| echo.join()).await?;
    assert_eq!(after.map_err(|_| "the echo panicked")??, 0);
    Ok(())
}

/// A client of the kernel, which ends its half before it is answered. It is the first to speak, since
/// passt of March 2023 acknowledges the SYN of the guest with data only.
async fn comes_in(stack: &Stack) -> Outcome {
    let listener = stack.net().tcp_listen(("0.0.0.0", PUBLISHED)).await?;
    let client = tokio::task::spawn_blocking(|| -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect((MACHINE[0].0, PUBLISHED))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"please")?;
        stream.shutdown(Shutdown::Write)?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        Ok(received)
    });
    let (mut stream, _) = within("a client", listener.accept()).await?;
    let mut asked = Vec::new();
    within("the end", stream.read_to_end(&mut asked)).await?;
    assert_eq!(asked, b"please");
    let sent = noise(LEN);
    within("room", stream.write_all(&sent)).await?;
    stream.shutdown().await?;
    assert!(client.await?? == sent);
    Ok(())
}

/// Waits for something, for a while.
async fn within<T, E>(what: &str, future: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let done = timeout(PATIENCE, future).await;
    Ok(done.map_err(|_| format!("it took too long: {what}"))??)
}
