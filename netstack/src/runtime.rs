//! Driving a stack: by events, never by polling.

use crate::clock::Clock;
use crate::device::Device;
use netcore::{HasChannel, Netstack, Request, control};
use std::future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// A stack, the device that it is on, and the time.
pub(crate) struct Driver<D> {
    stack: Netstack,
    device: D,
    clock: Clock,
    /// Says by when to finish; its end says to stop at once.
    stop: oneshot::Receiver<Duration>,
}

/// Why a driver has something to do again.
enum Event {
    Command(Request),
    Device,
    Time,
    Stop(Option<Duration>),
    DeviceEnded(io::Error),
}

impl<D: Device> Driver<D> {
    pub(crate) fn new(
        stack: Netstack,
        device: D,
        clock: Clock,
        stop: oneshot::Receiver<Duration>,
    ) -> Self {
        Self { stack, device, clock, stop }
    }

    /// Runs until it is told to stop, or the device ends. What is left then is dropped with the
    /// stack, and everybody who waits learns of it.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        let mut finish_by = None;
        loop {
            self.work().await;
            if finish_by.is_some() && self.stack.is_drained() {
                self.device.flush();
                return Ok(());
            }
            match self.wait(finish_by).await {
                Event::Command(command) => self.stack.process_one_cmd(command),
                Event::Device => {}
                Event::Time if finish_by.is_some_and(|by| by <= Instant::now()) => return Ok(()),
                Event::Time => {}
                Event::Stop(None) => return Ok(()),
                Event::Stop(Some(deadline)) => {
                    finish_by = Some(Instant::now() + deadline);
                    // Carried out with the other commands, after all that came before it.
                    let shutdown = control::Command::Shutdown;
                    self.stack.process_cmds();
                    if self.stack.request_nonblocking(None, shutdown).is_ok() {
                        self.stack.process_cmds();
                    }
                }
                Event::DeviceEnded(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(());
                }
                Event::DeviceEnded(error) => return Err(error),
            }
        }
    }

    /// Does everything that can be done without waiting.
    async fn work(&mut self) {
        loop {
            self.stack.process_cmds();
            if !self.stack.poll_link(self.clock.now(), &mut self.device) {
                break;
            }
            self.device.flush();
            // Others on this runtime get their turn as often as with any other busy task.
            tokio::task::consume_budget().await;
        }
        self.device.flush();
    }

    /// Waits for whatever comes first.
    async fn wait(&mut self, finish_by: Option<Instant>) -> Event {
        let now = self.clock.now();
        let due = self.stack.poll_at(now).map(|at| self.clock.when(at));
        let due = due.into_iter().chain(finish_by).min();
        let wants_room = self.stack.wants_room();
        let mut timer: Pin<&mut Option<Sleep>> = pin!(due.map(tokio::time::sleep_until));
        let mut command = pin!(self.stack.wait_for_cmd());
        let (device, stop) = (&mut self.device, &mut self.stop);
        let is_stopping = finish_by.is_some();
        future::poll_fn(|cx: &mut Context<'_>| {
            if let Poll::Ready(command) = command.as_mut().poll(cx) {
                return Poll::Ready(Event::Command(command));
            }
            match device.poll_receive(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Event::Device),
                Poll::Ready(Err(error)) => return Poll::Ready(Event::DeviceEnded(error)),
                Poll::Pending => {}
            }
            if wants_room && let Poll::Ready(room) = device.poll_room(cx) {
                return Poll::Ready(room.map_or_else(Event::DeviceEnded, |()| Event::Device));
            }
            if !is_stopping && let Poll::Ready(stop) = Pin::new(&mut *stop).poll(cx) {
                return Poll::Ready(Event::Stop(stop.ok()));
            }
            match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Event::Time),
                _ => Poll::Pending,
            }
        })
        .await
    }
}
