//! `--join`: the stack of another process, by its control socket.

use crate::client::{self, Target};
use anyhow::Result;
use netfd::netlink::Refusal;
use netstack::control::{Answer, Change, Client, Command as Asked, Failure};
use netstack::netsocket::netcore::control::{Command, Response};
use netstack::netsocket::netcore::{
    NeighbourInfo, Network, Route, SocketInfo, SocketPage, TimeWaitPage,
};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// A stack of another process.
#[derive(Debug, Clone)]
pub(crate) struct Joined {
    interface: String,
    asking: Arc<Mutex<Client>>,
    /// Waits for changes.
    watching: Arc<Mutex<Client>>,
}

impl Joined {
    /// Connects to its control socket.
    pub(crate) fn connect(control: &Path) -> Result<Self> {
        let target = Target::at(control);
        let (mut asking, watching) = (target.connect()?, target.connect()?);
        let interface = match client::stack(&mut asking)?.interface {
            // Of a stack that was not told the name of its link.
            name if name.is_empty() => "net0".into(),
            name => name,
        };
        let share = |client| Arc::new(Mutex::new(client));
        Ok(Self { interface, asking: share(asking), watching: share(watching) })
    }

    pub(crate) fn interface(&self) -> &str {
        &self.interface
    }

    /// Has the stack do or report something. Of what has pages, the first has all.
    pub(crate) async fn ask(&self, command: Command) -> Result<Option<Response>, Refusal> {
        let asked = translate(&command)?;
        let answers = all(&self.asking, asked).await?;
        respond(&command, answers)
    }

    /// Waits until its network is another than was seen.
    pub(crate) async fn changed(&self, seen: u64) -> Result<Arc<Network>, Refusal> {
        loop {
            // After some seconds without a change there is no answer.
            let answers = all(&self.watching, Asked::Change { seen }).await?;
            if let Some(Answer::Network(network)) = answers.into_iter().next() {
                return Ok(Arc::new(network));
            }
        }
    }
}

/// The whole answer to a command.
async fn all(client: &Arc<Mutex<Client>>, command: Asked) -> Result<Vec<Answer>, Refusal> {
    let client = client.clone();
    let asking = tokio::task::spawn_blocking(move || {
        let mut client = client.lock().unwrap_or_else(PoisonError::into_inner);
        client.ask(&command)?.collect::<io::Result<Vec<_>>>()
    });
    let answered = asking.await.unwrap_or_else(|error| Err(error.into()));
    answered.map_err(|error| {
        let failure = error.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
        let known = failure.and_then(|failure| failure.error);
        Refusal { error: known, message: format!("the joined stack: {error}") }
    })
}

/// The same command for a control socket.
fn translate(command: &Command) -> Result<Asked, Refusal> {
    let change = match *command {
        Command::Network => return Ok(Asked::Network {}),
        Command::Neighbours => return Ok(Asked::Neighbours {}),
        Command::Overview => return Ok(Asked::Counters {}),
        Command::RouteTo { destination } => return Ok(Asked::RouteTo { destination }),
        Command::Sockets { .. } => return Ok(Asked::Sockets {}),
        Command::TimeWait { .. } => return Ok(Asked::TimeWait {}),
        Command::Abort { id } => return Ok(Asked::Abort { id }),
        Command::AddAddress { address } => Change::AddAddress(address),
        Command::RemoveAddress { address } => Change::RemoveAddress(address),
        Command::SetDeprecated { address, is_deprecated } => {
            Change::Deprecate { address, is_deprecated }
        }
        Command::AddRoute { route: Route { destination, gateway } } => {
            Change::AddRoute { destination, gateway, on_link: false }
        }
        Command::AddRouteOnLink { route: Route { destination, gateway } } => {
            Change::AddRoute { destination, gateway, on_link: true }
        }
        Command::RemoveRoute { destination } => Change::RemoveRoute(destination),
        Command::SetLinkUp(is_up) => Change::LinkUp(is_up),
        Command::SetMtu(mtu) => Change::Mtu(mtu),
        _ => return Err(Refusal::new("a control socket has no such command")),
    };
    Ok(Asked::Set { change })
}

/// The response that these answers are.
fn respond(command: &Command, answers: Vec<Answer>) -> Result<Option<Response>, Refusal> {
    match command {
        Command::Sockets { .. } => {
            let mut page = SocketPage::default();
            page.sockets = answers.into_iter().filter_map(socket).collect();
            return Ok(Some(Response::Sockets(page)));
        }
        Command::TimeWait { .. } => {
            let mut page = TimeWaitPage::default();
            page.flows = answers.into_iter().filter_map(time_wait).collect();
            return Ok(Some(Response::TimeWait(page)));
        }
        Command::Neighbours => {
            let neighbours = answers.into_iter().filter_map(neighbour).collect();
            return Ok(Some(Response::Neighbours(neighbours)));
        }
        _ => {}
    }
    Ok(match answers.into_iter().next() {
        None => None,
        Some(Answer::Network(network)) => Some(Response::Network(Arc::new(network))),
        Some(Answer::Counters(overview)) => Some(Response::Overview(overview)),
        Some(Answer::NextHop(next_hop)) => Some(Response::NextHop(next_hop)),
        Some(_) => return Err(Refusal::new("the joined stack has answered another command")),
    })
}

fn socket(answer: Answer) -> Option<SocketInfo> {
    match answer {
        Answer::Socket(socket) => Some(*socket),
        _ => None,
    }
}

fn time_wait(answer: Answer) -> Option<(SocketAddr, SocketAddr)> {
    match answer {
        Answer::TimeWait { local, peer } => Some((local, peer)),
        _ => None,
    }
}

fn neighbour(answer: Answer) -> Option<NeighbourInfo> {
    match answer {
        Answer::Neighbour(neighbour) => Some(neighbour),
        _ => None,
    }
}
