//! Execution of commands, and their answers.

use super::Netstack;
use crate::channel::Request;
use crate::command::outcome::{Answer, Outcome, Undelivered};
use crate::command::{Command, Response, control};
use crate::context::IDLE_LIST_LEN_MAX;
use crate::error::Error;
use crate::id::SocketId;
use crate::reply::{Responder, undelivered};

impl Netstack {
    /// Handles the events of sockets, and undoes the commands of undelivered answers.
    pub(super) fn handle_events(&mut self) -> bool {
        // Before the list of ready sockets is taken: undoing rings.
        for undelivered in self.cx.doorbell.take_undelivered() {
            self.take_back(undelivered);
        }
        if self.rung.is_empty() {
            self.cx.doorbell.take_ready(&mut self.rung);
            self.rung.reverse();
        }
        let worked = !self.rung.is_empty();
        while let Some(id) = self.rung.pop() {
            self.cx.at_work.socket = Some(id);
            self.transports.handle_events(&mut self.cx, &mut self.ip, id);
        }
        self.cx.at_work.socket = None;
        if self.rung.capacity() > IDLE_LIST_LEN_MAX {
            self.rung = Vec::new();
        }
        worked
    }

    /// Executes one command.
    pub(crate) fn execute(&mut self, request: Request) {
        let Request { handle, command, mut responder, owner } = request;
        #[cfg(test)]
        self.cx.spring("command");
        tracing::trace!(?handle, ?command, "command");
        if handle.is_none() {
            // Handles dropped before the command was sent no longer hold their address.
            self.handle_events();
        }
        self.cx.sockets.set_maker(owner);
        let outcome = match command {
            Command::Control(command) => self.control(command),
            command => {
                let (cx, ip) = (&mut self.cx, &mut self.ip);
                self.transports.execute(cx, ip, handle, command, &mut responder)
            }
        };
        self.cx.sockets.set_maker(None);
        self.cx.at_work.socket = None;
        if let Outcome::Now(answer) = outcome {
            self.reply(handle, responder, answer);
        }
        self.wake();
    }

    /// Delivers an answer. If its requester is gone, the command is undone.
    fn reply(&mut self, handle: Option<SocketId>, responder: Option<Responder>, answer: Answer) {
        if let Some(undelivered) = undelivered(handle, responder, answer) {
            self.take_back(undelivered);
        }
    }

    /// Undoes the command of an undelivered answer.
    pub(crate) fn take_back(&mut self, undelivered: Undelivered) {
        self.transports.take_back(&mut self.cx, &mut self.ip, undelivered);
    }

    fn control(&mut self, command: control::Command) -> Outcome {
        let done = match command {
            control::Command::Wake => Ok(()),
            control::Command::Snapshot => {
                return Outcome::from(Ok(control::Response::Snapshot(Box::new(self.snapshot()))));
            }
            control::Command::Network => {
                return Outcome::from(Ok(control::Response::Network(self.network())));
            }
            control::Command::RouteTo { destination } => {
                return Outcome::from(self.route_to(destination).map(control::Response::NextHop));
            }
            control::Command::Sockets { from, slots } => {
                let page = self.socket_page(from, slots);
                return Outcome::from(Ok(control::Response::Sockets(page)));
            }
            control::Command::Socket { id } => {
                let found = self.describe(id).ok_or_else(|| self.cx.sockets.absence(Some(id)));
                return Outcome::from(found.map(|it| control::Response::Socket(Box::new(it))));
            }
            control::Command::TimeWait { after, max } => {
                let page = self.time_wait_page(after, max);
                return Outcome::from(Ok(control::Response::TimeWait(page)));
            }
            control::Command::Overview => {
                let overview = Box::new(self.overview());
                return Outcome::from(Ok(control::Response::Overview(overview)));
            }
            control::Command::Neighbours => {
                return Outcome::from(Ok(control::Response::Neighbours(self.neighbours())));
            }
            control::Command::Abort { id } => self.abort(id),
            control::Command::Shutdown => {
                self.shut_down();
                Ok(())
            }
            control::Command::AddAddress { address } => self.add_address(address),
            control::Command::RemoveAddress { address } => self.remove_address(address),
            control::Command::AddRoute { route } => self.add_route(route),
            control::Command::AddRouteOnLink { route } => self.add_route_on_link(route),
            control::Command::SetDeprecated { address, is_deprecated } => {
                self.set_deprecated(address, is_deprecated)
            }
            control::Command::RemoveRoute { destination } => self.remove_route(destination),
            control::Command::SetLinkUp(is_up) => {
                self.set_link_up(is_up);
                Ok(())
            }
            control::Command::SetMtu(mtu) => self.set_mtu(mtu),
            control::Command::SetAdvertisedMtu(mtu) => {
                self.set_advertised_mtu(mtu);
                Ok(())
            }
            control::Command::SetAnyIp(any_ip) => {
                self.set_any_ip(any_ip);
                Ok(())
            }
            control::Command::ReportFailure(text) => {
                self.report_failure(text);
                Ok(())
            }
            control::Command::SetNameServers { servers, search_domains } => {
                self.set_name_servers(servers, search_domains)
            }
        };
        Outcome::from(done.map(|()| Response::Done))
    }

    /// Shuts the stack down: refuses new sockets and connections, and closes existing ones as if
    /// their handles had been dropped. [`is_drained`](Self::is_drained) is true once that is done.
    pub fn shut_down(&mut self) {
        self.cx.is_shut_down = true;
        for id in self.cx.sockets.ids() {
            self.step_for(id, |stack| {
                stack.transports.shut(&mut stack.cx, &mut stack.ip, id);
            });
        }
    }

    /// Ends a socket: a connection is reset by the next poll (RFC 9293 section 3.10.5), and pending
    /// calls fail with [`Error::Aborted`].
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if there is no such socket.
    pub fn abort(&mut self, id: SocketId) -> Result<(), Error> {
        if self.cx.sockets.transport(id).is_none() {
            return Err(Error::Closed);
        }
        self.step_for(id, |stack| {
            stack.transports.abort(&mut stack.cx, &mut stack.ip, id, Error::Aborted);
        });
        self.wake();
        Ok(())
    }

    /// Ends every socket at once. Connections are reset; the resets are sent by the next poll.
    pub fn abort_all(&mut self) {
        self.cx.is_shut_down = true;
        for id in self.cx.sockets.ids() {
            self.step_for(id, |stack| {
                stack.transports.abort(&mut stack.cx, &mut stack.ip, id, Error::StackGone);
            });
        }
        self.wake();
    }
}
