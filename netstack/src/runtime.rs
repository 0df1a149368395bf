//! Driving a stack: by events, with a short poll before it sleeps.

use crate::clock::Clock;
use crate::control_socket::Busy;
use crate::device::Device;
use crate::ending::Ended;
use crate::spin::Spin;
use crate::supervision::isolated_future;
use netcore::isolation::isolated;
use netcore::{Error, Netstack, Request};
use std::future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

/// A stack, the device that it is on, and the time.
pub(crate) struct Driver<D> {
    stack: Netstack,
    device: D,
    clock: Clock,
    spin: Spin,
    #[cfg(any(feature = "capture", feature = "sim"))]
    taps: Option<crate::tap::Taps>,
    /// Its work is added up if somebody may ask: that takes two readings of the clock a round.
    busy: Option<Arc<Busy>>,
    /// Receives the deadline of a shutdown; if its sender is dropped, the stack stops at once.
    stop: oneshot::Receiver<Duration>,
}

/// Why a driver has something to do again.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, on the stack")]
enum Event {
    Command(Request),
    Device,
    Time,
    Stop(Option<Duration>),
    DeviceEnded(io::Error),
}

/// Why a driver has ended in good order.
enum End {
    Stopped,
    DeviceOver,
}

impl<D: Device> Driver<D> {
    pub(crate) fn new(
        stack: Netstack,
        device: D,
        clock: Clock,
        spin: Duration,
        stop: oneshot::Receiver<Duration>,
    ) -> Self {
        Self {
            stack,
            device,
            clock,
            spin: Spin::new(spin),
            #[cfg(any(feature = "capture", feature = "sim"))]
            taps: None,
            busy: None,
            stop,
        }
    }

    /// Has it add up the time of its rounds.
    pub(crate) fn with_busy(self, busy: Option<Arc<Busy>>) -> Self {
        Self { busy, ..self }
    }

    /// Has its rounds watched by these taps.
    #[cfg(any(feature = "capture", feature = "sim"))]
    pub(crate) fn with_taps(self, taps: crate::tap::Taps) -> Self {
        Self { taps: Some(taps), ..self }
    }

    /// Runs until the stack is shut down, or the device ends or panics; pending operations then
    /// fail.
    pub(crate) async fn run(mut self, ended: Ended) {
        // What panics outside of the stack's own steps is the device.
        let outcome = isolated_future(self.drive()).await.unwrap_or_else(|panic| {
            Err(io::Error::other(format!("the network device panicked: {panic}")))
        });
        let outcome = match outcome {
            Ok(End::Stopped) => Ok(()),
            Ok(End::DeviceOver) => {
                self.stack.set_end(Error::DeviceRemoved);
                Ok(())
            }
            Err(error) => {
                let is_removed = error.kind() == io::ErrorKind::NotConnected;
                self.stack.set_end(match is_removed {
                    true => Error::DeviceRemoved,
                    false => Error::DeviceFailed,
                });
                tracing::error!(%error, "the stack has ended");
                Err(error)
            }
        };
        let Self { stack, device, .. } = self;
        drop(stack);
        if let Err(panic) = isolated(|| drop(device)) {
            tracing::error!(%panic, "the device panicked when it was dropped");
        }
        ended.set(outcome);
    }

    async fn drive(&mut self) -> io::Result<End> {
        let mut finish_by = None;
        loop {
            let began = self.busy.as_ref().map(|_| std::time::Instant::now());
            self.stack.process_cmds();
            let worked = self.poll();
            self.device.flush();
            if let (Some(busy), Some(began)) = (&self.busy, began) {
                busy.add_since(began);
            }
            if let Some(by) = finish_by
                && self.stack.is_drained()
            {
                self.deliver(by).await;
                return Ok(End::Stopped);
            }
            let event = if worked {
                if self.stack.has_woken() {
                    yield_to_others().await;
                } else {
                    // Others on this runtime get their turn as often as with any other busy task.
                    tokio::task::consume_budget().await;
                }
                self.spin.found();
                self.busy_event(finish_by)
            } else if self.spin.goes_on() {
                self.device.look();
                yield_to_others().await;
                self.busy_event(finish_by)
            } else {
                Some(self.wait(finish_by).await)
            };
            match event {
                None | Some(Event::Device) => {}
                Some(Event::Command(command)) => self.stack.process_one_cmd(command),
                Some(Event::Time) if finish_by.is_none_or(|by| by > Instant::now()) => {}
                Some(Event::Time | Event::Stop(None)) => {
                    self.cut_off();
                    return Ok(End::Stopped);
                }
                Some(Event::Stop(Some(deadline))) => {
                    finish_by = Some(Instant::now() + deadline);
                    // After all commands that came before it.
                    self.stack.process_cmds();
                    self.stack.shut_down();
                }
                Some(Event::DeviceEnded(error)) => {
                    return match error.kind() {
                        io::ErrorKind::UnexpectedEof => Ok(End::DeviceOver),
                        _ => Err(error),
                    };
                }
            }
        }
    }

    /// Runs one round.
    fn poll(&mut self) -> bool {
        let now = self.clock.moment();
        #[cfg(any(feature = "capture", feature = "sim"))]
        if let Some(taps) = &self.taps
            && let Some(worked) = taps.poll(&mut self.stack, now, &mut self.device)
        {
            return worked;
        }
        self.stack.poll_link(now, &mut self.device)
    }

    /// A stop or a deadline, for a stack that always has work.
    fn busy_event(&mut self, finish_by: Option<Instant>) -> Option<Event> {
        match finish_by {
            Some(by) if by <= Instant::now() => Some(Event::Time),
            Some(_) => None,
            None => match self.stop.try_recv() {
                Ok(deadline) => Some(Event::Stop(Some(deadline))),
                Err(oneshot::error::TryRecvError::Closed) => Some(Event::Stop(None)),
                Err(oneshot::error::TryRecvError::Empty) => None,
            },
        }
    }

    /// Waits until the device has delivered what was sent, or the deadline passes.
    async fn deliver(&mut self, by: Instant) {
        let mut late = pin!(tokio::time::sleep_until(by));
        let device = &mut self.device;
        future::poll_fn(|cx| match device.poll_delivered(cx) {
            Poll::Pending => late.as_mut().poll(cx),
            ready => ready,
        })
        .await;
    }

    /// Aborts the remaining connections, with resets to their peers.
    fn cut_off(&mut self) {
        self.stack.abort_all();
        self.poll();
        self.device.flush();
    }

    /// Waits for the first event.
    async fn wait(&mut self, finish_by: Option<Instant>) -> Event {
        let now = self.clock.moment();
        let due = self.stack.poll_at(now).map(|at| self.clock.look_at(at));
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

/// Yields to the tasks that were woken before. Unlike `tokio::task::yield_now` it does not make the
/// runtime poll the operating system first, which costs a system call.
async fn yield_to_others() {
    let mut has_yielded = false;
    future::poll_fn(|cx: &mut Context<'_>| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
