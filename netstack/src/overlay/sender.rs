//! Sending datagrams in batches.

use super::forwarding::Destination;
use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// Datagrams that were not sent yet, in runs of one length to one destination, each of which is one
/// system call (`UDP_SEGMENT`).
#[derive(Debug)]
pub(super) struct Sender {
    runs: VecDeque<Run>,
    idle: Vec<Run>,
    /// The largest datagram that fits the path: the kernel cuts no run of larger ones.
    fitting_bytes: usize,
}

/// Datagrams of one length, only the last may be shorter.
#[derive(Debug)]
struct Run {
    to: Destination,
    bytes: Vec<u8>,
    /// The length of the first one.
    datagram_bytes: usize,
    datagrams: usize,
    is_closed: bool,
    /// How many of the destinations have got it.
    delivered: usize,
}

/// Runs that wait for room, at which there is none for a further frame.
const RUNS_MAX: usize = 8;
/// The most bytes of a run: what UDP over IPv6 carries, without options.
const RUN_BYTES_MAX: usize = 65_535 - 8;

impl Sender {
    /// For a path with datagrams of `fitting_bytes`.
    pub(super) fn new(fitting_bytes: usize) -> Self {
        Self { runs: VecDeque::new(), idle: Vec::new(), fitting_bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.runs.len() < RUNS_MAX
    }

    /// Adds a datagram of these two parts.
    pub(super) fn push(
        &mut self,
        state: &UdpSocketState,
        to: Destination,
        header: &[u8],
        frame: &[u8],
    ) {
        let len = header.len() + frame.len();
        let is_cut = len <= self.fitting_bytes;
        let runs_max = state.max_gso_segments();
        let fits = self.runs.back().is_some_and(|run| {
            !run.is_closed
                && is_cut
                && run.to == to
                && run.datagrams < runs_max
                && len <= run.datagram_bytes
                && run.bytes.len() + len <= RUN_BYTES_MAX
        });
        if !fits {
            let mut run = self.idle.pop().unwrap_or_else(Run::new);
            run.begin(to, len, is_cut);
            self.runs.push_back(run);
        }
        let run = self.runs.back_mut().expect("one was pushed");
        run.bytes.extend_from_slice(header);
        run.bytes.extend_from_slice(frame);
        run.datagrams += 1;
        run.is_closed |= len < run.datagram_bytes;
    }

    /// Sends all, and gives the number of datagrams that were lost.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room for the rest.
    pub(super) fn send(
        &mut self,
        socket: &impl AsFd,
        state: &UdpSocketState,
        all: &[SocketAddr],
        lost: &mut u64,
    ) -> io::Result<()> {
        while let Some(run) = self.runs.front_mut() {
            run.send(socket, state, all, lost)?;
            let run = self.runs.pop_front().expect("it is the front");
            if self.idle.len() < RUNS_MAX {
                self.idle.push(run);
            }
        }
        Ok(())
    }
}

impl Run {
    fn new() -> Self {
        Self {
            to: Destination::All,
            bytes: Vec::new(),
            datagram_bytes: 0,
            datagrams: 0,
            is_closed: false,
            delivered: 0,
        }
    }

    fn begin(&mut self, to: Destination, datagram_bytes: usize, may_grow: bool) {
        self.bytes.clear();
        self.to = to;
        self.datagram_bytes = datagram_bytes;
        (self.datagrams, self.delivered, self.is_closed) = (0, 0, !may_grow);
    }

    fn send(
        &mut self,
        socket: &impl AsFd,
        state: &UdpSocketState,
        all: &[SocketAddr],
        lost: &mut u64,
    ) -> io::Result<()> {
        let peer;
        let destinations = match self.to {
            Destination::Peer(one) => {
                peer = [one];
                &peer[..]
            }
            Destination::All => all,
        };
        while let Some(destination) = destinations.get(self.delivered) {
            let segment_size = (self.datagrams > 1).then_some(self.datagram_bytes);
            match transmit(socket, state, *destination, &self.bytes, segment_size) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // The path does not take a run.
                Err(_) if self.datagrams > 1 => {
                    for datagram in self.bytes.chunks(self.datagram_bytes) {
                        let sent = transmit(socket, state, *destination, datagram, None);
                        *lost += u64::from(sent.is_err());
                    }
                }
                // What one destination does not get, others may: as on a wire.
                Err(error) => {
                    tracing::trace!(%error, %destination, "a datagram was not sent");
                    *lost += 1;
                }
                Ok(()) => {}
            }
            self.delivered += 1;
        }
        Ok(())
    }
}

fn transmit(
    socket: &impl AsFd,
    state: &UdpSocketState,
    destination: SocketAddr,
    contents: &[u8],
    segment_size: Option<usize>,
) -> io::Result<()> {
    let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
    state.try_send(UdpSockRef::from(socket), &transmit)
}
