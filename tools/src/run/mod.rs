//! `netstack run`: a program whose sockets are the stack's.

mod call;
mod calls;
mod ending;
mod filter;
mod host;
mod joined;
mod memory;
mod message;
mod names;
mod namespace;
mod notices;
mod notification;
mod parked;
mod program;
mod shown;
mod supervisor;
mod tasks;
mod told;

use crate::client::Target;
use anyhow::{Context, Error, Result, anyhow};
use ending::{Ending, Signals};
use filter::{Messages, filter};
use joined::Joined;
use names::NameService;
use namespace::{Namespace, Relay};
use netfd::netlink::{Refusal, Reports, Server};
use netfd::posix::ReusedPorts;
use netstack::Stack;
use notices::Notices;
use program::Program;
use shown::Shown;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use supervisor::{Ip, Supervisor};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use told::Left;

pub(crate) use host::host;

/// Run a program on a userspace network stack
///
/// Every TCP, UDP and ping socket of the program, and of all that it starts, is one of the stack's.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    network: cli::Network,
    /// Put the program onto the stack of another program, which has this control socket
    ///
    /// Its sockets are that stack's, and so is its netlink: ip shows and changes that stack, ss shows
    /// its sockets. The stack of a program other than netstack may have netlink alone.
    #[arg(long, value_name = "CONTROL", conflicts_with_all = ["Network", "netns"])]
    join: Option<PathBuf>,
    /// Watch sendmsg and recvmsg, too, for programs that use them for UDP
    ///
    /// Each such call then stops at the supervisor, also for other sockets of the program, which
    /// costs some microseconds.
    #[arg(long)]
    udp_msg: bool,
    /// Give the program the kernel's sockets, in a network namespace of its own
    ///
    /// What it sends is relayed over the stack. For programs that need what the kernel alone has;
    /// nothing can leave past the stack, and nothing reaches the program's own ports. Needs
    /// CAP_SYS_ADMIN, as root has it, also that of a user namespace.
    #[arg(long, conflicts_with = "udp_msg")]
    netns: bool,
    /// Print the number of watched calls and of sockets that are left at the end
    #[arg(long)]
    report: bool,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Exit status: that of the program, or 128 and the number of the signal that ended it; 127 if it was
not found, 126 if it cannot be run, 125 if the stack failed.

Not a sandbox: a program that wants to can leave the stack.

Examples:
  netstack run -- curl http://10.9.0.1/
  netstack run --tap tap0 --dhcp -- ssh host.example
  netstack run --link wg:///etc/wireguard/wg0.conf -- curl https://intranet.example/
  netstack run --netns -- curl http://10.9.0.1/
  netstack run --join /run/netstack/web -- ip addr add 10.9.0.3/24 dev tun0
  netstack run --host-address 10.9.0.1/24 --address 10.9.0.2/24 -- nginx -g 'daemon off;'";

/// The exit status of a failure of this program.
const FAILED: u8 = 125;
const CANNOT_BE_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
/// The program needs the processor, too: on two of them 100 µs, the default of a TUN, take a fifth of
/// the connections a second away.
const SPIN_MAX: Duration = Duration::from_micros(20);
/// How long connections may take to close after the end of the program.
const FAREWELL: Duration = Duration::from_secs(5);

/// Runs the program, and returns its exit status.
pub(crate) fn main(args: &Args) -> ExitCode {
    match run(args) {
        Ok(status) => status,
        Err(error) => {
            cli::eprintln!("netstack run: {error:#}");
            ExitCode::from(status(&error))
        }
    }
}

/// The program could not be started.
#[derive(Debug)]
struct NotStarted(io::Error);

fn status(error: &Error) -> u8 {
    match error.downcast_ref::<NotStarted>() {
        Some(NotStarted(error)) => match error.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            io::ErrorKind::ResourceBusy => FAILED,
            _ => CANNOT_BE_RUN,
        },
        None => FAILED,
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let signals = Signals::receive().context("receiving signals")?;
    let runtime = Runtime::new().context("starting tokio")?;
    let ended = runtime.block_on(supervise(args, signals));
    cli::finish_recordings();
    runtime.shutdown_background();
    ended
}

async fn supervise(args: &Args, signals: Signals) -> Result<ExitCode> {
    // What the program starts is this process's to wait for, also when its parent has ended.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("becoming a subreaper")?;
    if let Some(control) = &args.join {
        return run_joined(args, signals, control).await;
    }
    let stack = args.network.start_ready_spinning(SPIN_MAX).await?;
    let names = NameService::start(stack.net()).await.context("the name service")?;
    let status = if args.netns {
        run_in_namespace(args, signals, &stack, names).await?
    } else {
        let shown = Shown::new(stack.net(), &args.network.interface());
        let ip = Ip { net: stack.net().clone(), ports: ReusedPorts::default(), names };
        let netlink = Server::start(shown.clone()).await.map_err(refused)?;
        let program = start(args, &signals)?;
        supervise_here(args, signals, program, (shown, netlink), Ok(Arc::new(ip))).await?
    };
    stack.shutdown(FAREWELL).await.context("the stack")?;
    Ok(status)
}

/// Runs the program on the stack of another process.
async fn run_joined(args: &Args, signals: Signals, control: &Path) -> Result<ExitCode> {
    let client = Target::at(control).connect()?;
    let program = start(args, &signals)?;
    let messages = messages(args);
    let joining = tokio::task::spawn_blocking(move || {
        let joined = client.join(program.listener.as_fd(), messages == Messages::Notified);
        (joined, program)
    });
    match joining.await? {
        (Ok(told), Program { pid, listener }) => {
            // Calls are the other process's to answer: when that ends, they fail.
            drop(listener);
            let telling = tokio::task::spawn_blocking(|| told::pass_on(told));
            let status = Ending::watch(pid, signals)?.ended().await;
            // What the program has written is on its way to the stack, which waits for it as long.
            match timeout(FAREWELL + FAREWELL, telling).await {
                Ok(Ok(Some(left))) if args.report => report(left),
                _ => {}
            }
            Ok(status)
        }
        (Err(refusal), program) => {
            let shown = Shown::Joined(Joined::connect(control)?);
            let netlink = Server::start(shown.clone()).await.map_err(refused)?;
            let ip = Err(refusal.to_string());
            supervise_here(args, signals, program, (shown, netlink), ip).await
        }
    }
}

fn start(args: &Args, signals: &Signals) -> Result<Program> {
    let program = program::start(&args.command, signals.before(), filter(messages(args)));
    program.map_err(NotStarted).with_context(|| name(args))
}

/// Answers the calls of the program, up to its end.
async fn supervise_here(
    args: &Args,
    signals: Signals,
    program: Program,
    (shown, netlink): (Shown, Arc<Server<Shown>>),
    ip: Result<Arc<Ip>, String>,
) -> Result<ExitCode> {
    let reports = reports(messages(args));
    let notices = Notices::default();
    let supervisor = Supervisor::start(ip, netlink, reports, notices, program.listener)?;
    shown.has(&supervisor);
    let status = Ending::watch(program.pid, signals)?.ended().await;
    // What the program has written is on its way to the stack.
    let _ = timeout(FAREWELL, supervisor.all_closed()).await;
    if args.report {
        report(Left { calls: supervisor.calls(), sockets: supervisor.sockets() });
    }
    Ok(status)
}

fn report(Left { calls, sockets }: Left) {
    cli::eprintln!("netstack run: {calls} calls watched, {sockets} sockets left");
}

/// The calls that are watched.
fn messages(args: &Args) -> Messages {
    match args.udp_msg || looks_at_senders(&args.command[0]) {
        true => Messages::Notified,
        false => Messages::Untouched,
    }
}

/// How netlink sockets are told that they have missed something.
fn reports(messages: Messages) -> Reports {
    match messages {
        Messages::Notified => Reports::Error,
        Messages::Untouched => Reports::Message,
    }
}

/// Whether a program is one of those that receive with `recvmsg` from whoever has sent.
fn looks_at_senders(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| ["ip", "ss", "ping", "ping4", "ping6"].contains(&name))
}

fn refused(refusal: Refusal) -> Error {
    anyhow!("the netlink server: {}", refusal.message)
}

async fn run_in_namespace(
    args: &Args,
    signals: Signals,
    stack: &Stack,
    names: NameService,
) -> Result<ExitCode> {
    let (namespace, inside) = Namespace::make().await?;
    let front = namespace::front(inside.tun).context("the stack of the namespace")?;
    let relay = Relay::start(front.net(), stack.net(), names).await.context("the relay")?;
    for socket in inside.name_sockets {
        relay.serve_names(socket).context("the name service of the namespace")?;
    }
    let program = namespace.start(&args.command, signals.before()).await;
    let program = program.map_err(NotStarted).with_context(|| name(args))?;
    let status = Ending::watch(program, signals)?.ended().await;
    // What the program has written is on its way through the kernel and the relay.
    let _ = timeout(FAREWELL, relay.all_closed()).await;
    if args.report {
        cli::eprintln!("netstack run: {} connections left", relay.connections());
        if relay.connections() > 0 {
            cli::eprintln!("{}", front.net().snapshot().await?);
            cli::eprintln!("{}", stack.net().snapshot().await?);
        }
    }
    front.shutdown(FAREWELL).await.context("the stack of the namespace")?;
    Ok(status)
}

fn name(args: &Args) -> String {
    args.command[0].to_string_lossy().into_owned()
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.kind() {
            io::ErrorKind::ResourceBusy => f.write_str(
                "this process is behind a seccomp filter with a listener already, as in some \
                 containers and under another netstack run; there can be only one",
            ),
            // Without the number.
            _ => {
                let text = self.0.to_string();
                f.write_str(text.split(" (os error").next().unwrap_or_default())
            }
        }
    }
}

impl std::error::Error for NotStarted {}
