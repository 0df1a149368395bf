//! A pipe that carries packets between two ends.

use bytes::Bytes;

/// One end of a pipe: what goes into `tx` comes out of the other end's `rx`.
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
    /// A pipe that takes any number of packets.
    pub fn unbounded() -> (Self, Self) {
        Self::join(flume::unbounded(), flume::unbounded())
    }

    /// A pipe that holds at most `packets` in each direction.
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
