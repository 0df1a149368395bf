//! One connection over time: sequence numbers, windows and round trips.

mod csv;
#[cfg(feature = "plot")]
mod svg;
mod tap;

pub(super) use tap::RecordTap;

use netcore::ObservedConnection;
use netcore::tcp::RetransmitRule;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Records one TCP connection of a host over time; made by
/// [`Host::record`](super::Host::record). Cheap to clone.
///
/// ```
/// use netstack::sim::{self, LinkConfig};
/// use std::time::Duration;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let record = sim::run(1, |sim| async move {
///     let link = LinkConfig::new().delay(Duration::from_millis(20)).loss(0.02);
///     let (client, server) = sim.pair(link);
///     let remote = "10.0.0.2:80".parse().unwrap();
///     let record = client.record(remote);
///     let listener = server.net().tcp_listen(remote).await?;
///
///     let mut stream = client.net().tcp_connect(remote).await?;
///     let (mut peer, _) = listener.accept().await?;
///     stream.write_all(&[7; 200_000]).await?;
///     stream.shutdown().await?;
///     peer.read_to_end(&mut Vec::new()).await?;
///     Ok::<_, std::io::Error>(record)
/// });
/// assert!(record.unwrap().to_csv().contains(",repeated,"));
/// ```
#[derive(Debug, Clone)]
pub struct Record(Arc<Mutex<Vec<RecordPoint>>>);

/// So many points are kept of a connection, the first ones.
const POINTS_MAX: usize = 1 << 20;

/// A segment of a recorded connection, and what the connection is like at its moment: before it, if
/// it is sent, and after it, if it is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordPoint {
    /// Since the first SYN.
    pub at: Duration,
    /// What is in the segment.
    pub event: RecordEvent,
    /// The connection.
    pub connection: ObservedConnection,
}

/// What is in a segment of a recorded connection. Numbers count the bytes that the recorded host
/// sends from 0; a FIN is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordEvent {
    /// Bytes that were sent for the first time.
    Sent {
        /// The first one.
        start: u64,
        /// One behind the last.
        end: u64,
    },
    /// Bytes that were sent again.
    Repeated {
        /// The first one.
        start: u64,
        /// One behind the last.
        end: u64,
        /// Why.
        rule: RetransmitRule,
    },
    /// The peer has acknowledged everything before `number`.
    Acknowledged {
        /// The acknowledgement.
        number: u64,
        /// One behind the last byte that fits the window that the peer offers.
        window_end: u64,
    },
    /// The peer has acknowledged a block behind a gap (RFC 2018).
    Sacked {
        /// The first byte.
        start: u64,
        /// One behind the last.
        end: u64,
    },
}

impl Record {
    /// An empty record, and the tap that fills it.
    pub(super) fn new(remote: SocketAddr) -> (Self, RecordTap) {
        let record = Self(Arc::default());
        let tap = RecordTap::new(remote, record.clone());
        (record, tap)
    }

    /// All that was recorded so far, the first 1,048,576 points of it.
    pub fn points(&self) -> Vec<RecordPoint> {
        self.lock().clone()
    }

    /// The points as CSV, with a header line. Times are in seconds and milliseconds, all else is in
    /// bytes; what has no value is empty.
    pub fn to_csv(&self) -> String {
        csv::write(&self.lock())
    }

    /// Writes the points as [CSV](Self::to_csv).
    ///
    /// # Errors
    ///
    /// A failure to write the file.
    pub fn write_csv(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.to_csv())
    }

    /// Draws the connection: its sequence numbers with what was sent again, its windows, and its
    /// round trips, over the same time.
    ///
    /// # Errors
    ///
    /// A failure to write the file.
    #[cfg(feature = "plot")]
    pub fn write_svg(&self, path: &Path, title: &str) -> io::Result<()> {
        std::fs::write(path, svg::draw(&self.lock(), title)?)
    }

    fn push(&self, point: RecordPoint) {
        let mut points = self.lock();
        if points.len() < POINTS_MAX {
            points.push(point);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RecordPoint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
