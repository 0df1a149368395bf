//! A pipe that carries packets between two ends.

use bytes::Bytes;

/// One end of a pipe: packets sent to `tx` are received from the other end's `rx`.
///
/// ```
/// let (near, far) = netcore::Pipe::unbounded();
/// near.tx.send(bytes::Bytes::from_static(b"hello")).unwrap();
/// assert_eq!(far.rx.recv().unwrap(), "hello");
/// ```
#[derive(Debug, Clone)]
pub struct Pipe {
    /// To the other end.
    pub tx: flume::Sender<Bytes>,
    /// From the other end.
    pub rx: flume::Receiver<Bytes>,
}

impl Pipe {
    /// Creates a pipe of unlimited capacity.
    pub fn unbounded() -> (Self, Self) {
        Self::join(flume::unbounded(), flume::unbounded())
    }

    /// Creates a pipe of at most `packets` in each direction.
    pub fn bounded(packets: usize) -> (Self, Self) {
        Self::join(flume::bounded(packets), flume::bounded(packets))
    }

    fn join(
        (there, far_rx): (flume::Sender<Bytes>, flume::Receiver<Bytes>),
        (back, near_rx): (flume::Sender<Bytes>, flume::Receiver<Bytes>),
    ) -> (Self, Self) {
        (Self { tx: there, rx: near_rx }, Self { tx: back, rx: far_rx })
    }
}
