//! A model of one TCP connection.

use crate::plan::{Plan, must};
use crate::sequence::piece;
use bytes::Bytes;
use netstack::netsocket::{OwnedReadHalf, OwnedWriteHalf, TcpStream, blocking};
use std::fmt;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// The client's end and the server's.
pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;

#[derive(Debug)]
pub(crate) struct Connection {
    /// The client's address, which no other connection of this world has.
    pub(crate) address: SocketAddr,
    pub(crate) ends: [End; 2],
    /// The bytes sent by each side.
    flows: [Flow; 2],
    /// After this TCP may drop data in flight.
    pub(crate) may_fail: bool,
    /// The sides to which the failure was reported; their streams have ended then.
    is_reported: [bool; 2],
    /// Its listener was closed while it was being made: it may never be accepted.
    pub(crate) may_be_unheard: bool,
    /// When one side was dropped.
    gone: Option<Instant>,
}

/// One end, as its owner holds it.
pub(crate) enum End {
    /// Not connected, or not accepted, yet.
    Awaited,
    Whole(Rc<TcpStream>),
    Halves(Option<OwnedReadHalf>, Option<OwnedWriteHalf>),
    Blocking(blocking::TcpStream),
    Gone,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Awaited => "Awaited",
            Self::Whole(_) => "Whole",
            Self::Halves(Some(_), Some(_)) => "Halves",
            Self::Halves(Some(_), None) => "ReadHalf",
            Self::Halves(None, _) => "WriteHalf",
            Self::Blocking(_) => "Blocking",
            Self::Gone => "Gone",
        })
    }
}

#[derive(Debug)]
struct Flow {
    stream: u64,
    written: u64,
    read: u64,
    /// The writer has shut down, or was dropped.
    is_finished: bool,
    /// The reader has shut down.
    is_unwanted: bool,
}

/// An operation on one side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Read(usize),
    TryRead(usize),
    Peek(usize),
    ReceiveBytes(usize),
    Readable,
    Write(usize),
    TryWrite(usize),
    WriteBytes(usize),
    Writable,
    Flush,
    /// Reading and writing at once.
    Both(usize),
    Shutdown,
    Split,
    Reunite,
    DropReadHalf,
    DropWriteHalf,
    TurnBlocking,
    TurnAsync,
    ShutdownRead,
    Drop,
}

impl Connection {
    pub(crate) fn new(number: u64, address: SocketAddr) -> Self {
        let flow =
            |stream| Flow { stream, written: 0, read: 0, is_finished: false, is_unwanted: false };
        Self {
            address,
            ends: [End::Awaited, End::Awaited],
            flows: [flow(2 * number), flow(2 * number + 1)],
            may_fail: false,
            is_reported: [false; 2],
            may_be_unheard: false,
            gone: None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends.iter().all(|end| matches!(end, End::Gone))
    }

    /// Whether the server has yet to accept it, and will.
    pub(crate) fn must_be_accepted(&self) -> bool {
        matches!(self.ends[SERVER], End::Awaited) && !self.may_be_unheard
    }

    /// The bytes of the next write of this length.
    pub(crate) fn next_piece(&self, side: usize, len: usize) -> &'static [u8] {
        piece(self.flows[side].stream, self.flows[side].written, len)
    }

    /// Whether bytes, or the end of the stream, must reach this end.
    pub(crate) fn must_read(&self, side: usize) -> bool {
        let flow = &self.flows[1 - side];
        let is_held = match &self.ends[side] {
            End::Whole(_) | End::Halves(Some(_), _) => true,
            End::Awaited | End::Halves(None, _) | End::Blocking(_) | End::Gone => false,
        };
        is_held && (flow.is_finished || flow.read < flow.written)
    }

    pub(crate) async fn operate(&mut self, side: usize, operation: Operation, plan: Plan) {
        match std::mem::replace(&mut self.ends[side], End::Awaited) {
            End::Whole(mut stream) => {
                // There is no other handle: pending operations of this side are dropped before.
                let whole = Rc::get_mut(&mut stream).expect("one owner");
                self.operate_whole(side, whole, operation, plan).await;
                let whole = Rc::into_inner(stream).expect("one owner");
                self.ends[side] = match operation {
                    Operation::Split => {
                        let (read, write) = whole.into_split();
                        End::Halves(Some(read), Some(write))
                    }
                    Operation::TurnBlocking => {
                        let stream = blocking::TcpStream::from(whole);
                        stream.set_nonblocking(true).expect("never fails");
                        End::Blocking(stream)
                    }
                    Operation::Drop => {
                        drop(whole);
                        self.left(side);
                        End::Gone
                    }
                    _ => End::Whole(Rc::new(whole)),
                };
            }
            End::Halves(read, write) => {
                self.ends[side] = self.operate_halves(side, read, write, operation, plan).await;
            }
            End::Blocking(stream) => {
                self.ends[side] = self.operate_blocking(side, stream, operation);
            }
            end @ (End::Awaited | End::Gone) => self.ends[side] = end,
        }
    }

    async fn operate_whole(
        &mut self,
        side: usize,
        stream: &mut TcpStream,
        operation: Operation,
        plan: Plan,
    ) {
        match operation {
            Operation::Read(len) => {
                let mut buffer = vec![0; len];
                if let Some(read) = plan.run(stream.read(&mut buffer)).await {
                    self.read(side, read.map(|n| &buffer[..n]), len);
                }
            }
            Operation::TryRead(len) => {
                let mut buffer = vec![0; len];
                self.tried(side, stream.try_read(&mut buffer).map(|n| &buffer[..n]), len);
            }
            Operation::Peek(len) => {
                let mut buffer = vec![0; len];
                if let Some(peeked) = plan.run(stream.peek(&mut buffer)).await {
                    self.peeked(side, peeked.map(|n| &buffer[..n]), len);
                }
            }
            Operation::ReceiveBytes(len) => {
                if let Some(received) = plan.run(stream.recv_bytes(len)).await {
                    self.read(side, received.as_deref().map_err(|e| e.kind().into()), len);
                }
            }
            Operation::Readable => {
                plan.run(stream.readable()).await;
            }
            Operation::Write(len) => {
                let piece = self.next_piece(side, len);
                let written = plan.run(stream.write(piece)).await;
                self.wrote(side, written, len);
            }
            Operation::TryWrite(len) => {
                let written = stream.try_write(self.next_piece(side, len));
                let would_block =
                    written.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                self.wrote(side, (!would_block).then_some(written), len);
            }
            Operation::WriteBytes(len) => {
                let mut data = Bytes::from_static(self.next_piece(side, len));
                let written = plan.run(stream.write_bytes(&mut data)).await;
                let taken = written.as_ref().and_then(|written| written.as_ref().ok().copied());
                assert_eq!(
                    data.len(),
                    len - taken.unwrap_or(0),
                    "the number of bytes taken is reported"
                );
                self.wrote(side, written, len);
            }
            Operation::Writable => {
                plan.run(stream.writable()).await;
            }
            Operation::Flush => {
                plan.run(stream.flush()).await;
            }
            Operation::Both(len) => {
                let mut buffer = vec![0; len];
                let piece = self.next_piece(side, len);
                let (mut read, mut write) = stream.split();
                let (mut was_read, mut was_written) = (None, None);
                plan.run(async {
                    tokio::join!(async { was_read = Some(read.read(&mut buffer).await) }, async {
                        was_written = Some(write.write(piece).await)
                    },)
                })
                .await;
                // An earlier write to a closed peer may be why reading fails.
                self.wrote(side, was_written, len);
                if let Some(read) = was_read {
                    self.read(side, read.map(|n| &buffer[..n]), len);
                }
            }
            Operation::Shutdown => {
                if let Some(result) = plan.run(stream.shutdown()).await {
                    self.shut_down(side, result);
                }
            }
            _ => {}
        }
    }

    async fn operate_halves(
        &mut self,
        side: usize,
        mut read: Option<OwnedReadHalf>,
        mut write: Option<OwnedWriteHalf>,
        operation: Operation,
        plan: Plan,
    ) -> End {
        match (operation, &mut read, &mut write) {
            (Operation::Read(len), Some(half), _) => {
                let mut buffer = vec![0; len];
                if let Some(read) = plan.run(half.read(&mut buffer)).await {
                    self.read(side, read.map(|n| &buffer[..n]), len);
                }
            }
            (Operation::Write(len), _, Some(half)) => {
                let piece = self.next_piece(side, len);
                let written = plan.run(half.write(piece)).await;
                self.wrote(side, written, len);
            }
            (Operation::Shutdown, _, Some(half)) => {
                if let Some(result) = plan.run(half.shutdown()).await {
                    self.shut_down(side, result);
                }
            }
            (Operation::Reunite, Some(_), Some(_)) => {
                let (read, write) = (read.take().expect("seen"), write.take().expect("seen"));
                return End::Whole(Rc::new(read.reunite(write).expect("halves of one stream")));
            }
            (Operation::DropReadHalf, ..) => read = None,
            (Operation::DropWriteHalf, ..) => {
                let was_open = write.take().is_some();
                self.flows[side].is_finished |= was_open;
            }
            (Operation::Drop, ..) => (read, write) = (None, None),
            _ => {}
        }
        if read.is_none() && write.is_none() {
            self.left(side);
            return End::Gone;
        }
        End::Halves(read, write)
    }

    /// The stream is in non-blocking mode, or this thread would wait for stacks that it runs.
    fn operate_blocking(
        &mut self,
        side: usize,
        mut stream: blocking::TcpStream,
        operation: Operation,
    ) -> End {
        match operation {
            Operation::Read(len) | Operation::TryRead(len) => {
                let mut buffer = vec![0; len];
                self.tried(side, stream.read(&mut buffer).map(|n| &buffer[..n]), len);
            }
            Operation::Write(len) | Operation::TryWrite(len) => {
                let written = stream.write(self.next_piece(side, len));
                let would_block =
                    written.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                self.wrote(side, (!would_block).then_some(written), len);
            }
            Operation::Shutdown => {
                let result = stream.shutdown(Shutdown::Write);
                // A second shutdown finds nothing to shut down.
                let is_first = !self.flows[side].is_finished;
                self.shut_down(side, result.or_else(|e| if is_first { Err(e) } else { Ok(()) }));
            }
            Operation::ShutdownRead => {
                // Fails only if the connection is over.
                let _ = stream.shutdown(Shutdown::Read);
                self.flows[1 - side].is_unwanted = true;
            }
            Operation::TurnAsync => return End::Whole(Rc::new(TcpStream::from(stream))),
            Operation::Drop => {
                drop(stream);
                self.left(side);
                return End::Gone;
            }
            _ => {}
        }
        End::Blocking(stream)
    }

    /// Compares the bytes read with the bytes written.
    pub(crate) fn read(&mut self, side: usize, result: Result<&[u8]>, room: usize) {
        if let Some(bytes) = self.received(side, result, room) {
            self.flows[1 - side].read += bytes;
        }
    }

    fn tried(&mut self, side: usize, result: Result<&[u8]>, room: usize) {
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            result => self.read(side, result, room),
        }
    }

    pub(crate) fn peeked(&mut self, side: usize, result: Result<&[u8]>, room: usize) {
        self.received(side, result, room);
    }

    fn received(&mut self, side: usize, result: Result<&[u8]>, room: usize) -> Option<u64> {
        self.grow_old();
        let flow = &self.flows[1 - side];
        match result {
            Ok([]) => {
                let is_end = flow.is_finished && flow.read == flow.written;
                let is_allowed = room == 0 || is_end || flow.is_unwanted || self.is_reported[side];
                assert!(is_allowed, "an end of the stream that is none: {self:#?}");
                None
            }
            Ok(bytes) => {
                let len = bytes.len() as u64;
                assert!(flow.read + len <= flow.written, "{len} bytes too many: {self:#?}");
                let expected = piece(flow.stream, flow.read, bytes.len());
                assert!(bytes == expected, "other bytes than were written: {self:#?}");
                Some(len)
            }
            Err(error) => {
                assert!(self.may_fail, "reading failed with {error}: {self:#?}");
                self.note_error(side, error.kind());
                None
            }
        }
    }

    /// Notes how much a write took; `None` if it was dropped before.
    pub(crate) fn wrote(&mut self, side: usize, result: Option<Result<usize>>, len: usize) {
        self.grow_old();
        match result {
            None => {}
            Some(Ok(taken)) => {
                assert!(taken <= len && (taken > 0 || len == 0), "{taken} of {len} bytes");
                assert!(!self.flows[side].is_finished, "written after the end: {self:#?}");
                self.flows[side].written += taken as u64;
                if taken > 0 && matches!(self.ends[1 - side], End::Gone) {
                    self.may_fail = true;
                }
            }
            Some(Err(error)) => {
                let is_allowed = self.may_fail || self.flows[side].is_finished;
                assert!(is_allowed, "writing failed with {error}: {self:#?}");
                self.note_error(side, error.kind());
            }
        }
    }

    /// Notes an error. The failure of the connection is reported once; after it, as after a
    /// shutdown of its own, a side gets a broken pipe.
    fn note_error(&mut self, side: usize, kind: ErrorKind) {
        match kind {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::TimedOut => {
                assert!(!self.is_reported[side], "a failure was reported twice: {self:#?}");
                self.is_reported[side] = true;
            }
            ErrorKind::BrokenPipe => {}
            kind => panic!("a connection that is over fails with {kind:?}: {self:#?}"),
        }
    }

    fn shut_down(&mut self, side: usize, result: Result<()>) {
        self.grow_old();
        if let Err(error) = result {
            assert!(self.may_fail, "shutting down failed with {error}: {self:#?}");
        }
        self.flows[side].is_finished = true;
    }

    /// The last handle of an end was dropped.
    pub(crate) fn left(&mut self, side: usize) {
        self.grow_old();
        self.flows[side].is_finished = true;
        let incoming = &self.flows[1 - side];
        self.may_fail |= incoming.read < incoming.written;
        self.gone.get_or_insert_with(Instant::now);
        self.ends[side] = End::Gone;
    }

    /// A connection is given up if its peer takes a minute to let it end.
    fn grow_old(&mut self) {
        let is_old = |gone: Instant| gone.elapsed() > Duration::from_secs(50);
        self.may_fail |= self.gone.is_some_and(is_old);
    }

    /// Reads the remaining bytes; an error is accepted if the model allows it.
    pub(crate) async fn read_on(&mut self, side: usize) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let what = format!("a read at {side} of {self:?}");
        let result = match &mut self.ends[side] {
            End::Whole(stream) => {
                let stream = Rc::get_mut(stream).expect("one owner");
                must(&what, stream.read(&mut buffer)).await
            }
            End::Halves(Some(read), _) => must(&what, read.read(&mut buffer)).await,
            End::Awaited | End::Halves(None, _) | End::Blocking(_) | End::Gone => return false,
        };
        let goes_on = matches!(result, Ok(1..));
        let room = buffer.len();
        self.read(side, result.map(|n| &buffer[..n]), room);
        goes_on
    }

    /// The stacks have stopped: streams may end anywhere.
    pub(crate) fn stop(&mut self) {
        self.may_fail = true;
        for flow in &mut self.flows {
            flow.is_unwanted = true;
        }
    }
}
