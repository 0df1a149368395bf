//! Making stacks.

use crate::clock::Clock;
use crate::control_socket::ControlPath;
use crate::device::Device;
use crate::dhcp;
use crate::ending::{Ending, ending};
use crate::machine;
use crate::provided::{ClientContext, Provider};
use crate::runtime::Driver;
use crate::slaac;
use crate::stack::Stack;
use crate::supervision::{Announcer, supervise};
use crate::task;
use crate::wire::{IPV4_MIN_MTU, IPV6_MIN_MTU};
use ipnet::IpNet;
use netcore::Medium;
use netcore::{Config, Netstack, Route};
use netsocket::{Control, Net};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{Instrument, Span};

/// Configures a stack and starts it.
///
/// DHCP and SLAAC are off unless [`dhcp`](Self::dhcp) and [`slaac`](Self::slaac) are called.
///
/// ```no_run
/// # fn device() -> netstack::device::PipeDevice { unimplemented!() }
/// # async fn make() -> std::io::Result<()> {
/// let stack = netstack::Builder::new()
///     .address("10.0.0.2/24".parse().unwrap())
///     .address("fd00::2/64".parse().unwrap())
///     .gateway("10.0.0.1".parse().unwrap())
///     .spawn(device())?;
/// let stream = stack.net().tcp_connect("10.0.0.1:80").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Builder {
    name: Option<String>,
    addresses: Vec<IpNet>,
    gateways: Vec<IpAddr>,
    routes: Vec<Route>,
    any_ip: bool,
    name_servers: Vec<IpAddr>,
    search_domains: Vec<String>,
    dhcp: Option<dhcp::Config>,
    slaac: Option<slaac::Config>,
    spin: Option<Duration>,
    clock: Option<Clock>,
    control: ControlPath,
    config: Config,
}

/// The clients that run beside a stack.
#[derive(Debug)]
struct Clients {
    dhcp: Option<dhcp::Client>,
    slaac: Option<slaac::Client>,
}

/// The name of a stack without a name of its own.
const NAME: &str = "netstack";

/// What the connections of a stack may hold unless its configuration says so, in bytes: an eighth of the
/// memory (Linux: `tcp_mem`).
fn memory_share() -> Option<usize> {
    machine::memory_bytes().map(|bytes| bytes / 8)
}

impl Builder {
    /// A stack without addresses, with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the stack, `netstack` unless it is named: in the log, in captures, in metrics and for
    /// its thread.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        // No thread can have a name with a NUL.
        self.name = Some(name.into().replace('\0', " "));
        self
    }

    /// Adds an address; its prefix is the network on the link.
    #[must_use]
    pub fn address(mut self, address: IpNet) -> Self {
        self.addresses.push(address);
        self
    }

    /// Adds the default gateway of its family.
    #[must_use]
    pub fn gateway(mut self, gateway: IpAddr) -> Self {
        self.gateways.push(gateway);
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Accepts packets to any destination address, for transparent proxies; see
    /// [`Control::set_any_ip`](netsocket::Control::set_any_ip).
    #[must_use]
    pub fn any_ip(mut self, any_ip: bool) -> Self {
        self.any_ip = any_ip;
        self
    }

    /// Adds a name server.
    #[must_use]
    pub fn name_server(mut self, server: IpAddr) -> Self {
        self.name_servers.push(server);
        self
    }

    /// Adds a search domain for names without dots.
    #[must_use]
    pub fn search_domain(mut self, domain: impl Into<String>) -> Self {
        self.search_domains.push(domain.into());
        self
    }

    /// Gets an IPv4 address, routes and name servers from a DHCP server; see [`dhcp`].
    #[must_use]
    pub fn dhcp(mut self, config: dhcp::Config) -> Self {
        self.dhcp = Some(config);
        self
    }

    /// Configures IPv6 addresses and routes from router advertisements; see [`slaac`].
    #[must_use]
    pub fn slaac(mut self, config: slaac::Config) -> Self {
        self.slaac = Some(config);
        self
    }

    /// Before sleeping, polls for packets and commands for up to this long. That saves the latency
    /// of a wake-up on both sides, and uses a processor meanwhile. After a poll that finds nothing
    /// the next ones are skipped, twice as many each time up to 64, so that sparse traffic costs
    /// next to nothing and an idle stack sleeps.
    ///
    /// The default is [`Device::spin`]: on a machine with several processors 100 µs for a TUN or TAP,
    /// and 10 µs for a pipe if the runtime has several workers. Zero never polls: for machines whose processors are busy.
    #[must_use]
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = Some(spin);
        self
    }

    /// Has the stack live by this clock, which others may live by, too; at first by one of its own.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Listens on a [control socket](crate::control), with which other programs of the same user
    /// inspect and change the stack; without this there is none. Sockets then keep who made them
    /// ([`Config::socket_owners`]). The file has mode 0600, and is
    /// removed when the [`Stack`] is dropped; that of a program that has ended is replaced.
    ///
    /// A start fails with `AddrInUse` if another program listens there or the file is no socket, and
    /// with `NotFound` if its folder does not exist.
    #[cfg(all(target_os = "linux", feature = "control"))]
    #[must_use]
    pub fn control(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.control.path = Some(path.into());
        self
    }

    /// Names the link, for what shows it as an interface: `ip` under `netstack run`; without a name
    /// it is `net0`.
    #[cfg(all(target_os = "linux", feature = "control"))]
    #[must_use]
    pub fn interface(mut self, name: impl Into<String>) -> Self {
        self.control.interface = name.into();
        self
    }

    /// Has this take programs of the [control socket](crate::control)'s clients onto the stack, as
    /// `netstack run --join` asks.
    #[cfg(all(target_os = "linux", feature = "control"))]
    #[must_use]
    pub fn host(mut self, host: Arc<dyn crate::control::Host>) -> Self {
        self.control.host = Some(host);
        self
    }

    pub(crate) fn with_control(self, control: ControlPath) -> Self {
        Self { control, ..self }
    }

    /// Sets the limits.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Starts the stack as a task on the current tokio runtime.
    ///
    /// Best if the sockets are used on the same runtime: a round trip between tasks takes the
    /// fewest wake-ups. The runtime needs its time driver, and its I/O driver for a TUN.
    ///
    /// # Errors
    ///
    /// `AddrNotAvailable` if an address or gateway cannot be a host's; `InvalidInput` if the MTU is
    /// too small; errors of the device, and of the control socket.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn spawn(self, mut device: impl Device) -> io::Result<Stack> {
        let control = self.control.bind()?;
        device.attach()?;
        let clock = self.clock.clone().unwrap_or_default();
        let (stop, stopped) = oneshot::channel();
        let spin = self.spin.unwrap_or_else(|| device.spin());
        let clients = self.clients(&device, &clock);
        let (name, span) = (self.stack_name().to_owned(), self.span());
        #[cfg(any(feature = "capture", feature = "sim"))]
        let taps = self.taps(&device);
        let core = self.make(&device, &clock)?;
        let (net, clients) = (Net::new(&core), clients(&core));
        let (ended, running) = ending();
        let driver = Driver::new(core, device, clock, spin, stopped).with_busy(control.busy());
        #[cfg(any(feature = "capture", feature = "sim"))]
        let driver = driver.with_taps(taps.clone());
        #[cfg(all(target_os = "linux", feature = "control", feature = "capture"))]
        let control = control.with_captures(crate::capture::Captures::new(taps.clone()));
        let control = control.serve(&net, &name)?;
        task::spawn(&name, driver.run(ended).instrument(span.clone()));
        let (dhcp_release, clients) = clients.spawn(net.control(), &Handle::current(), &span);
        let stack = Stack::new(net, stop, running, clients, dhcp_release, control).with_name(name);
        #[cfg(any(feature = "capture", feature = "sim"))]
        let stack = stack.with_taps(taps);
        Ok(stack)
    }

    /// Starts the stack on a thread of its own.
    ///
    /// Best for blocking sockets, and beside tasks that compute for long: no other task can delay
    /// the stack, but every wake-up crosses threads.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn), and a failure to create the thread.
    pub fn spawn_thread(self, mut device: impl Device) -> io::Result<Stack> {
        let control = self.control.bind()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        device.attach()?;
        let clock = self.clock.clone().unwrap_or_default();
        let (stop, stopped) = oneshot::channel();
        let clients = self.clients(&device, &clock);
        let spin = self.spin.unwrap_or_else(|| device.spin());
        let (name, span) = (self.stack_name().to_owned(), self.span());
        #[cfg(any(feature = "capture", feature = "sim"))]
        let taps = self.taps(&device);
        let core = self.make(&device, &clock)?;
        let net = Net::new(&core);
        // They run while the driver does.
        let (dhcp_release, clients) = clients(&core).spawn(net.control(), runtime.handle(), &span);
        drop(context);
        let (ended, running) = ending();
        let driver = Driver::new(core, device, clock, spin, stopped).with_busy(control.busy());
        #[cfg(any(feature = "capture", feature = "sim"))]
        let driver = driver.with_taps(taps.clone());
        #[cfg(all(target_os = "linux", feature = "control", feature = "capture"))]
        let control = control.with_captures(crate::capture::Captures::new(taps.clone()));
        let control = control.serve(&net, &name)?;
        std::thread::Builder::new().name(name.clone()).spawn(move || {
            runtime.block_on(driver.run(ended).instrument(span));
        })?;
        let stack = Stack::new(net, stop, running, clients, dhcp_release, control).with_name(name);
        #[cfg(any(feature = "capture", feature = "sim"))]
        let stack = stack.with_taps(taps);
        Ok(stack)
    }

    /// What the stack logs is within this, whatever its level.
    fn span(&self) -> Span {
        tracing::error_span!("stack", name = self.stack_name())
    }

    fn stack_name(&self) -> &str {
        self.name.as_deref().unwrap_or(NAME)
    }

    #[cfg(any(feature = "capture", feature = "sim"))]
    fn taps(&self, device: &impl Device) -> crate::tap::Taps {
        crate::tap::Taps::new(self.stack_name(), device.capabilities().medium)
    }

    /// A function that makes the clients for the stack.
    fn clients<D: Device>(
        &self,
        device: &D,
        clock: &Clock,
    ) -> impl FnOnce(&Netstack) -> Clients + use<D> {
        let clock = clock.clone();
        let (names_max, entropy) = (self.config.ip.name_servers_max, self.config.entropy);
        let has_address = device.capabilities().medium == Medium::Ethernet;
        let (dhcp, slaac) = (self.dhcp.clone(), self.slaac.clone());
        move |core| {
            let net = Net::new(core);
            let context = ClientContext {
                provider: Provider::new(net.control(), names_max),
                hardware_address: has_address.then(|| core.hardware_address()),
                net,
                entropy,
                clock,
            };
            Clients {
                dhcp: dhcp.map(|config| dhcp::Client::new(context.named("DHCP client"), config)),
                slaac: slaac
                    .map(|config| slaac::Client::new(context.named("SLAAC client"), config)),
            }
        }
    }

    /// Makes the stack without starting it.
    fn make(self, device: &impl Device, clock: &Clock) -> io::Result<Netstack> {
        let mtu = device.capabilities().mtu;
        let has_v6 = self.addresses.iter().any(|address| address.addr().is_ipv6());
        check_mtu(mtu, has_v6)?;
        let mut config = self.config;
        config.socket_owners |= self.control.is_open();
        for max in [&mut config.tcp.memory_bytes_max, &mut config.datagram.memory_bytes_max] {
            *max = max.or_else(memory_share);
        }
        let mut core = Netstack::new(config, clock.moment());
        core.set_carrier(device.has_carrier());
        core.set_link_capabilities(device.capabilities());
        let peers = device.peer_addresses();
        for address in self.addresses {
            if peers.contains(&address.addr()) {
                let message = format!(
                    "{}: the other end of the link has this address: give the stack another one",
                    address.addr()
                );
                return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
            }
            core.add_address(address).map_err(|error| refuse(error, address))?;
        }
        // A gateway may be on the link by a route that was added after it.
        let (via, on_link): (Vec<_>, Vec<_>) =
            self.routes.into_iter().partition(|route| route.gateway.is_some());
        for route in on_link {
            core.add_route(route).map_err(|error| refuse(error, route.destination))?;
        }
        for gateway in self.gateways {
            core.add_gateway(gateway).map_err(|error| refuse(error, gateway))?;
        }
        for route in via {
            core.add_route(route).map_err(|error| refuse(error, route.destination))?;
        }
        core.set_any_ip(self.any_ip);
        core.set_name_servers(self.name_servers, self.search_domains)
            .map_err(|error| refuse(error, "the name servers"))?;
        Ok(core)
    }
}

impl Clients {
    /// Starts the clients; each ends with its stack. Returns the message to send at shutdown, and
    /// the ending of a client that fails before.
    fn spawn(
        self,
        control: Control,
        runtime: &Handle,
        span: &Span,
    ) -> (Option<Arc<dhcp::Release>>, Ending) {
        let dhcp_release = self.dhcp.as_ref().map(dhcp::Client::dhcp_release);
        let (ended, ending) = ending();
        let announcer = Announcer { control, ended };
        if let Some(client) = self.dhcp {
            let client = supervise("DHCP client", client.start(), announcer.clone());
            task::spawn_on(runtime, "DHCP client", client.instrument(span.clone()));
        }
        if let Some(client) = self.slaac {
            let client = supervise("SLAAC client", client.start(), announcer);
            task::spawn_on(runtime, "SLAAC client", client.instrument(span.clone()));
        }
        (dhcp_release, ending)
    }
}

/// An IPv6 link carries at least 1,280 bytes (RFC 8200 section 5), and IPv4 hosts take 576 (RFC
/// 791).
fn check_mtu(mtu: usize, has_v6: bool) -> io::Result<()> {
    let (min, version) = if has_v6 { (IPV6_MIN_MTU, "IPv6") } else { (IPV4_MIN_MTU, "IPv4") };
    if mtu < min {
        let message = format!("an MTU of {mtu} is too small: {version} needs at least {min}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

fn refuse(error: netcore::Error, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
