//! HTTP over the stack's blocking connections, with ureq.
//!
//! ```
//! # fn agent(stack: &impl netcore::HasChannel) {
//! use netsocket::{Net, ureq::Connector};
//! use ureq::unversioned::resolver::DefaultResolver;
//!
//! let connector = Connector::new(Net::new(stack).blocking());
//! let agent = ureq::Agent::with_parts(Default::default(), connector, DefaultResolver::default());
//! let request = agent.get("http://10.0.0.2/");
//! # }
//! ```
//!
//! With the feature `dns`, a `Resolver` in place of `DefaultResolver` queries the stack's own name
//! servers. For `https` chain ureq's own TLS connector behind it. ureq may change these traits with
//! each minor version, so this feature is bound to one.

use crate::blocking::{Net, TcpStream};
use ::ureq::Error;
use ::ureq::unversioned::transport as traits;
use ::ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Either, LazyBuffers, NextTimeout, ShutdownHandle,
};
#[cfg(feature = "dns")]
use ::ureq::{
    config::Config,
    http::Uri,
    unversioned::resolver::{self, ResolvedSocketAddrs},
};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Opens the connections of a ureq agent on a stack.
///
/// Names are looked up by the agent's resolver. The addresses found are tried as by
/// [`Net::tcp_connect`], within the time that ureq gives for all of them.
#[derive(Debug, Clone)]
pub struct Connector {
    net: Net,
}

/// A connection of a ureq agent.
#[derive(Debug)]
pub struct Transport {
    /// Shared with the agent, which may shut it down.
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
}

impl Connector {
    /// Connects from this stack.
    pub fn new(net: Net) -> Self {
        Self { net }
    }

    fn open(&self, details: &ConnectionDetails<'_>) -> Result<TcpStream, Error> {
        let deadline = limit(details.timeout)?.and_then(|left| Instant::now().checked_add(left));
        let addresses: Vec<SocketAddr> = details.addrs.iter().copied().collect();
        let connected = self.net.tcp_connect_until(&addresses[..], deadline);
        connected.map_err(|error| into_ureq(error, details.timeout))
    }
}

/// Has the names of a ureq agent looked up by a stack, as [`Net::tcp_connect`] does.
#[cfg(feature = "dns")]
#[derive(Debug, Clone)]
pub struct Resolver {
    net: Net,
}

#[cfg(feature = "dns")]
impl Resolver {
    /// Queries the name servers of this stack.
    pub fn new(net: Net) -> Self {
        Self { net }
    }
}

#[cfg(feature = "dns")]
impl resolver::Resolver for Resolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        // An IPv6 address stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let deadline = limit(timeout)?.and_then(|left| Instant::now().checked_add(left));
        let found =
            self.net.resolver().lookup_ip_until(host, deadline).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::NotFound => Error::HostNotFound,
                    _ => into_ureq(error, timeout),
                }
            })?;
        let mut addresses = resolver::Resolver::empty(self);
        // The array has room for this many.
        for ip in found.into_iter().take(ADDRESSES_MAX) {
            addresses.push(SocketAddr::new(ip, port));
        }
        Ok(addresses)
    }
}

/// How many addresses ureq has room for.
#[cfg(feature = "dns")]
const ADDRESSES_MAX: usize = 16;

impl<In: traits::Transport> traits::Connector<In> for Connector {
    type Out = Either<In, Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        // A connector before this one has a connection already, perhaps to a proxy.
        if let Some(chained) = chained {
            return Ok(Some(Either::A(chained)));
        }
        let stream = Arc::new(self.open(details)?);
        stream.set_nodelay(details.config.no_delay())?;
        let shutdown: Weak<TcpStream> = Arc::downgrade(&stream);
        (details.register_shutdown)(shutdown)?;
        let (input, output) =
            (details.config.input_buffer_size(), details.config.output_buffer_size());
        let buffers = LazyBuffers::new(input, output);
        Ok(Some(Either::B(Transport { stream, buffers })))
    }
}

impl traits::Transport for Transport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let timeout = timeout.for_write();
        self.stream.set_write_timeout(limit(timeout)?)?;
        let output = &self.buffers.output()[..amount];
        (&*self.stream).write_all(output).map_err(|error| into_ureq(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let timeout = timeout.for_read();
        self.stream.set_read_timeout(limit(timeout)?)?;
        let room = self.buffers.input_append_buf();
        let n = (&*self.stream).read(room).map_err(|error| into_ureq(error, timeout))?;
        self.buffers.input_appended(n);
        Ok(n > 0)
    }

    /// Unsolicited bytes, like the end of the stream, mean that the connection cannot be reused.
    fn is_open(&mut self) -> bool {
        let peeked = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let is_idle = peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        is_idle && self.stream.set_nonblocking(false).is_ok()
    }
}

impl ShutdownHandle for TcpStream {
    fn shutdown(&self) {
        // Fails if there is nothing left to shut down.
        let _ = Self::shutdown(self, Shutdown::Both);
    }
}

/// How long something may take, unless the time is over already.
fn limit(timeout: NextTimeout) -> Result<Option<Duration>, Error> {
    if timeout.after.is_zero() {
        return Err(Error::Timeout(timeout.reason));
    }
    Ok(timeout.not_zero().map(|timeout| *timeout))
}

/// Converts the error to ureq's.
fn into_ureq(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => error.into(),
    }
}
