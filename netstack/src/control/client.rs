//! A client of a control socket, for plain threads.

use super::protocol::{Answer, Command, Flow, Request};
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A client of a control socket. Its calls block the thread.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    skipped: usize,
    line: Vec<u8>,
}

/// The parts of an answer, as the stack writes them. To be read to the end before the next question.
#[derive(Debug)]
pub struct Answers<'a> {
    client: &'a mut Client,
    is_over: bool,
}

/// The error of a stack that is too new.
const LATER_VERSION: &str = "the answer is of a later version of the stack and not known here: ask with \
                             the netstack command of that version";
/// How long the stack may take for a part of an answer.
const PATIENCE: Duration = Duration::from_secs(10);

impl Client {
    /// Connects to a control socket.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such file; `ConnectionRefused` if nobody listens on it;
    /// `PermissionDenied` if it is another user's.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream), skipped: 0, line: Vec::new() })
    }

    /// Sends a command, and returns its answer in parts, without the end.
    ///
    /// # Errors
    ///
    /// The stack is gone. Each part may be an error: that of the command, a
    /// [`Failure`](super::Failure), that the stack is gone, or
    /// `WouldBlock` if there was no part for ten seconds; it is the last then.
    pub fn ask(&mut self, command: &Command) -> io::Result<Answers<'_>> {
        let line = format!("{}\n", Request::new(command.clone()));
        self.stream.get_mut().write_all(line.as_bytes())?;
        Ok(Answers { client: self, is_over: false })
    }

    /// Sends a command with an answer of one part, and returns that; `None` for a command without.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); `InvalidData` if the stack is of a later version, and has answered
    /// what is not known here.
    pub fn ask_one(&mut self, command: &Command) -> io::Result<Option<Answer>> {
        let (mut one, skipped) = (None, self.skipped);
        for answer in self.ask(command)? {
            one = Some(answer?);
        }
        match one {
            None if self.skipped > skipped && !is_change(command) => {
                Err(io::Error::new(io::ErrorKind::InvalidData, LATER_VERSION))
            }
            one => Ok(one),
        }
    }

    /// Begins a capture of the frames that `filter` accepts, in the language of
    /// [`capture::Filter`](crate::capture::Filter); all if it is empty.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); the filter cannot be parsed, or the program is built without captures.
    pub fn capture(mut self, filter: &str) -> io::Result<CaptureStream> {
        let begun =
            self.ask(&Command::Capture { filter: filter.to_owned() })?.next().transpose()?;
        if begun != Some(Answer::Capture {}) {
            return Err(io::Error::other("the stack has not begun a capture"));
        }
        // There may be no frame for long.
        self.stream.get_ref().set_read_timeout(None)?;
        Ok(CaptureStream(self.stream))
    }

    /// Puts a program onto the stack; its system calls arrive at `listener`, a descriptor of this
    /// process and a listener of seccomp_unotify(2), those of `sendmsg` and `recvmsg` too if
    /// `messages` says so. Nobody else is to receive from it any more; once this has returned, this
    /// process can close it.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); the stack has no [`Host`](super::Host), or that refuses the program. The
    /// message says why.
    pub fn join(mut self, listener: BorrowedFd<'_>, messages: bool) -> io::Result<JoinedStream> {
        let listener = listener.as_raw_fd();
        let joined = self.ask(&Command::Join { listener, messages })?.next().transpose()?;
        if joined != Some(Answer::Joined {}) {
            return Err(io::Error::other("the stack has not taken the program"));
        }
        // There may be nothing to tell for long.
        self.stream.get_ref().set_read_timeout(None)?;
        Ok(JoinedStream(self.stream))
    }

    /// The number of parts of answers that were skipped, since only later versions know them; of
    /// [`Answer::Flows`], the number of connections.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The next part that is known here.
    fn read(&mut self) -> io::Result<Answer> {
        loop {
            self.line.clear();
            if self.stream.read_until(b'\n', &mut self.line)? == 0 {
                let text = "the stack has closed its control socket";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            match serde_json::from_slice(&self.line) {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_data() => match known_flows(&self.line) {
                    Some((flows, unknown)) => {
                        self.skipped += unknown;
                        return Ok(Answer::Flows(flows));
                    }
                    None => self.skipped += 1,
                },
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Iterator for Answers<'_> {
    type Item = io::Result<Answer>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let answer = self.client.read();
        self.is_over = !matches!(&answer, Ok(answer) if !is_end(answer));
        match answer {
            Ok(Answer::Done {}) => None,
            Ok(Answer::Error(failure)) => Some(Err(io::Error::other(failure))),
            answer => Some(answer),
        }
    }
}

/// A capture, to be read as a pcapng file.
#[derive(Debug)]
pub struct CaptureStream(BufReader<UnixStream>);

/// What a [`Host`](super::Host) tells of a program, as long as it serves that.
#[derive(Debug)]
pub struct JoinedStream(BufReader<UnixStream>);

/// Ends a capture from another thread.
#[derive(Debug)]
pub struct CaptureStopper(UnixStream);

impl CaptureStream {
    /// What ends it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn stopper(&self) -> io::Result<CaptureStopper> {
        self.0.get_ref().try_clone().map(CaptureStopper)
    }
}

impl Read for CaptureStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Read for JoinedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for JoinedStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

impl CaptureStopper {
    /// Ends the capture: what is left of the file can be read, and then its end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the stack has ended.
    pub fn stop(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

/// Whether a command has no answer but that it is done.
fn is_change(command: &Command) -> bool {
    matches!(command, Command::Abort { .. } | Command::Set { .. })
}

/// The connections in a line that are known here, and the number of the others.
fn known_flows(line: &[u8]) -> Option<(Vec<Flow>, usize)> {
    #[derive(Deserialize)]
    struct Line {
        flows: Vec<serde_json::Value>,
    }
    let Line { flows } = serde_json::from_slice(line).ok()?;
    let all = flows.len();
    let known = flows.into_iter().filter_map(|flow| serde_json::from_value(flow).ok());
    let known: Vec<_> = known.collect();
    let unknown = all - known.len();
    Some((known, unknown))
}

fn is_end(answer: &Answer) -> bool {
    matches!(answer, Answer::Done {} | Answer::Error(_))
}
