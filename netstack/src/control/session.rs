//! One client of a control socket: its requests, and the answers to them.

use super::capture::{CaptureSession, CaptureSource};
use super::host::{Host, Joining, Serve};
use super::protocol::{Answer, Change, Command, Failure, Flow, Request, StackInfo};
use super::server::{Named, Place};
use crate::control_socket::Busy;
use netcore::control::{Command as Order, Response};
use netcore::{Error, HasChannel, Instant as Moment, Route, SocketPage, TimeWaitPage};
use netsocket::Net;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// The longest request, in bytes; a longer one ends its client.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Slots of the stack's table that are read at once: about 80 KiB of JSON, and less than a tenth of a
/// millisecond of the stack.
const SLOTS_PER_PAGE: usize = 32;
/// As many of those in few words, and of those in TIME-WAIT.
const FLOWS_PER_PAGE: usize = 128;
/// How long a client waits for a change: less than its patience with the stack.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Why a program is not taken.
const NO_HOST: &str = "the program of this stack takes no sockets of others; those of the netstack \
                       command do, such as netstack run and http-server";
const UNKNOWN_PROCESS: &str = "the process of the stack does not see this one: they are in different PID \
                               namespaces";

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) net: Net,
    pub(super) busy: Arc<Busy>,
    pub(super) clients: Arc<AtomicUsize>,
    pub(super) began: Instant,
    pub(super) named: Named,
    pub(super) captures: CaptureSource,
    pub(super) host: Option<Arc<dyn Host>>,
}

/// A client.
#[derive(Debug)]
pub(super) struct Session {
    requests: BufReader<OwnedReadHalf>,
    answers: OwnedWriteHalf,
    shared: Arc<Shared>,
    /// Lines that are not written yet.
    text: Vec<u8>,
    _place: Place,
}

/// The end of an answer that is no [`Answer::Done`].
enum End {
    /// The command has failed.
    Failed(Failure),
    /// The client is gone.
    Gone(io::Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

impl Session {
    pub(super) fn new(stream: UnixStream, place: Place, shared: Arc<Shared>) -> Self {
        let (requests, answers) = stream.into_split();
        let requests = BufReader::new(requests);
        Self { requests, answers, shared, text: Vec::new(), _place: place }
    }

    /// Answers requests until the client is gone.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let bounded = (&mut self.requests).take(REQUEST_BYTES_MAX as u64 + 1);
            let read = { bounded }.read_until(b'\n', &mut line).await?;
            if read > REQUEST_BYTES_MAX {
                let message = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
                self.put(&Answer::Error(Failure::new(message)))?;
                return self.flush().await;
            }
            if line.pop() != Some(b'\n') {
                // The end, maybe in the middle of a request.
                return Ok(());
            }
            let end = match Request::parse(&line) {
                Ok(Request { command: Command::Capture { filter }, .. }) => {
                    match self.shared.captures.begin(&filter) {
                        Ok(capture) => return self.record(capture).await,
                        Err(failure) => Answer::Error(failure),
                    }
                }
                Ok(Request { command: Command::Join { listener, messages }, .. }) => {
                    match self.join(listener, messages) {
                        Ok(serve) => return self.hand_over(serve).await,
                        Err(failure) => Answer::Error(failure),
                    }
                }
                Ok(request) => match self.answer(request.command).await {
                    Ok(()) => Answer::Done {},
                    Err(End::Failed(failure)) => Answer::Error(failure),
                    Err(End::Gone(error)) => return Err(error),
                },
                Err(failure) => Answer::Error(failure),
            };
            self.put(&end)?;
            self.flush().await?;
        }
    }

    /// Writes the answer without its end.
    async fn answer(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Stack {} => self.put(&Answer::Stack(self.shared.describe()))?,
            Command::Sockets {} => self.sockets().await?,
            Command::Flows {} => self.flows().await?,
            Command::TimeWait {} => self.time_wait().await?,
            Command::Socket { id } => match self.order(Order::Socket { id }).await? {
                Response::Socket(socket) => self.put(&Answer::Socket(socket))?,
                other => return Err(unexpected(&other)),
            },
            Command::Counters {} => match self.order(Order::Overview).await? {
                Response::Overview(overview) => self.put(&Answer::Counters(overview))?,
                other => return Err(unexpected(&other)),
            },
            Command::Network {} => {
                let network = self.shared.net.network();
                self.put(&Answer::Network((*network).clone()))?;
            }
            Command::Change { seen } => self.change(seen).await?,
            Command::RouteTo { destination } => {
                match self.order(Order::RouteTo { destination }).await? {
                    Response::NextHop(next_hop) => self.put(&Answer::NextHop(next_hop))?,
                    other => return Err(unexpected(&other)),
                }
            }
            Command::Neighbours {} => match self.order(Order::Neighbours).await? {
                Response::Neighbours(neighbours) => {
                    for neighbour in neighbours {
                        self.put(&Answer::Neighbour(neighbour))?;
                    }
                }
                other => return Err(unexpected(&other)),
            },
            // They end what can be answered.
            Command::Capture { .. } | Command::Join { .. } => {}
            Command::Abort { id } => self.execute(Order::Abort { id }).await?,
            Command::Set { change } => self.execute(order_of(change)).await?,
        }
        Ok(())
    }

    /// Has the rest of the stream be a capture.
    async fn record(mut self, capture: CaptureSession) -> io::Result<()> {
        self.put(&Answer::Capture {})?;
        self.flush().await?;
        capture.run(&mut self.requests, &mut self.answers).await
    }

    /// Has the host take a program of the client's.
    fn join(&self, listener: i32, messages: bool) -> Result<Serve, Failure> {
        let Shared { net, named, host, .. } = &*self.shared;
        let host = host.as_ref().ok_or_else(|| Failure::new(NO_HOST))?;
        let peer = self.answers.as_ref().peer_cred().map_err(|error| failed(&error))?;
        let process = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        let process = process.ok_or_else(|| Failure::new(UNKNOWN_PROCESS))?;
        let (net, interface) = (net.clone(), named.interface.clone());
        let joining = Joining { net, interface, process, listener, messages };
        host.join(joining).map_err(|error| failed(&error))
    }

    /// Has the rest of the stream be the host's.
    async fn hand_over(mut self, serve: Serve) -> io::Result<()> {
        self.put(&Answer::Joined {})?;
        self.flush().await?;
        let Self { requests, answers, .. } = self;
        let stream = requests.into_inner().reunite(answers).map_err(io::Error::other)?;
        serve(stream.into_std()?);
        Ok(())
    }

    /// Every socket, page by page: the next one when the client has taken the last.
    async fn sockets(&mut self) -> Result<(), End> {
        let mut from = Some(0);
        while let Some(start) = from {
            let page = self.page(start, SLOTS_PER_PAGE).await?;
            for socket in page.sockets {
                self.put(&Answer::Socket(Box::new(socket)))?;
            }
            self.flush().await?;
            from = page.next;
        }
        Ok(())
    }

    /// Every connection in few words.
    async fn flows(&mut self) -> Result<(), End> {
        let mut from = Some(0);
        while let Some(start) = from {
            let page = self.page(start, FLOWS_PER_PAGE).await?;
            let flows: Vec<_> = page.sockets.iter().filter_map(Flow::of).collect();
            if !flows.is_empty() {
                self.put(&Answer::Flows(flows))?;
                self.flush().await?;
            }
            from = page.next;
        }
        Ok(())
    }

    /// The network, once it is another than was seen.
    async fn change(&mut self, seen: u64) -> Result<(), End> {
        let mut watch = self.shared.net.watch_network();
        let changed = watch.wait_for(|network| network.revision != seen);
        if let Ok(network) = tokio::time::timeout(CHANGE_PATIENCE, changed).await {
            self.put(&Answer::Network((*network?).clone()))?;
        }
        Ok(())
    }

    async fn page(&self, from: usize, slots: usize) -> Result<SocketPage, End> {
        match self.order(Order::Sockets { from, slots }).await? {
            Response::Sockets(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    async fn time_wait(&mut self) -> Result<(), End> {
        let mut after = Some(Moment::ZERO);
        while let Some(start) = after {
            let order = Order::TimeWait { after: start, max: FLOWS_PER_PAGE };
            let TimeWaitPage { flows, next, .. } = match self.order(order).await? {
                Response::TimeWait(page) => page,
                other => return Err(unexpected(&other)),
            };
            for (local, peer) in flows {
                self.put(&Answer::TimeWait { local, peer })?;
            }
            self.flush().await?;
            after = next;
        }
        Ok(())
    }

    /// Has the stack report something.
    async fn order(&self, order: Order) -> Result<Response, Error> {
        let (response, _) = self.shared.net.command_channel().call(None, order).await?;
        response.try_into()
    }

    /// Has the stack do something.
    async fn execute(&self, order: Order) -> Result<(), Error> {
        self.shared.net.command_channel().call(None, order).await.map(|_| ())
    }

    fn put(&mut self, answer: &Answer) -> io::Result<()> {
        answer.append(&mut self.text)
    }

    /// Writes what is put, while the client takes it.
    async fn flush(&mut self) -> io::Result<()> {
        let mut rest = &self.text[..];
        while !rest.is_empty() {
            let written = tokio::time::timeout(PATIENCE, self.answers.write(rest)).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
        self.text.clear();
        Ok(())
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::new(error.to_string())
}

fn unexpected(response: &Response) -> End {
    End::Failed(Failure::new(format!("an answer to another command: {response:?}")))
}

fn order_of(change: Change) -> Order {
    match change {
        Change::AddAddress(address) => Order::AddAddress { address },
        Change::RemoveAddress(address) => Order::RemoveAddress { address },
        Change::Deprecate { address, is_deprecated } => {
            Order::SetDeprecated { address, is_deprecated }
        }
        Change::AddRoute { destination, gateway, on_link: false } => {
            Order::AddRoute { route: Route { destination, gateway } }
        }
        Change::AddRoute { destination, gateway, on_link: true } => {
            Order::AddRouteOnLink { route: Route { destination, gateway } }
        }
        Change::RemoveRoute(destination) => Order::RemoveRoute { destination },
        Change::LinkUp(is_up) => Order::SetLinkUp(is_up),
        Change::Mtu(mtu) => Order::SetMtu(mtu),
        Change::AnyIp(any_ip) => Order::SetAnyIp(any_ip),
        Change::NameServers { servers, search_domains } => {
            Order::SetNameServers { servers, search_domains }
        }
    }
}

impl Shared {
    fn describe(&self) -> StackInfo {
        let micros = |time: Duration| time.as_micros() as u64;
        StackInfo {
            name: self.named.name.clone(),
            interface: self.named.interface.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            process: process_name(),
            pid: std::process::id(),
            age: micros(self.began.elapsed()),
            busy: micros(self.busy.total()),
            process_time: micros(process_time()),
            clients: self.clients.load(Ordering::Relaxed),
        }
    }
}

fn process_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The processor time of this process.
fn process_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
}
