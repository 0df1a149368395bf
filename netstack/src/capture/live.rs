//! Captures of running stacks.

use super::comment::Comment;
use super::filter::Filter;
use super::recorder::{Interface, Recorder, RecorderStatistics, secret_line};
use crate::stack::Stack;
use crate::tap::{Tap, TapId, TappedFrame, Taps};
use netcore::Medium;

/// Where captures of a running stack begin; made by [`Stack::captures`]. Cheap to clone; it does not
/// keep the stack running.
#[derive(Debug, Clone)]
pub struct Captures(Taps);

/// A capture of a running stack. It ends when this is dropped, or with the stack.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use netstack::capture::Recorder;
///
/// let (stack, _far) = netstack::pair()?;
/// let recorder = Recorder::new(std::io::sink());
/// let capture = stack.capture(&recorder, "udp port 9".parse()?);
///
/// stack.net().udp_bind("10.0.0.1:9").await?.send_to(b"hello", "10.0.0.2:7").await?;
/// # stack.shutdown(std::time::Duration::from_secs(1)).await?;
/// assert_eq!(capture.stop().frames, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the capture"]
pub struct LiveCapture {
    taps: Taps,
    id: TapId,
    recorder: Recorder,
}

impl Stack {
    /// Records the frames of the stack that `filter` accepts, from now on, with a comment on each:
    /// its socket, what was decided, and the state of its connection. A stack may have several
    /// captures at once; without one it pays nothing for it.
    ///
    /// The interface in the file has the stack's [name](crate::Builder::name).
    pub fn capture(&self, recorder: &Recorder, filter: Filter) -> LiveCapture {
        self.captures().begin(recorder, filter)
    }

    /// Where captures of the stack begin, for those who do not have the stack itself.
    pub fn captures(&self) -> Captures {
        Captures::new(self.taps().clone())
    }
}

impl Captures {
    pub(crate) fn new(taps: Taps) -> Self {
        Self(taps)
    }

    /// As [`Stack::capture`]. After the end of the stack nothing is recorded.
    pub fn begin(&self, recorder: &Recorder, filter: Filter) -> LiveCapture {
        let medium = self.0.medium();
        let interface = recorder.interface(self.0.name(), medium);
        let id = self.0.attach(Box::new(InterfaceTap { interface, filter, medium }));
        LiveCapture { taps: self.0.clone(), id, recorder: recorder.clone() }
    }

    /// Adds a secret of a TLS connection to all captures that run now, as
    /// [`Recorder::log_secret`] does to one file: also to those of `netstack capture`, whose user then
    /// reads what the connections carry.
    pub fn log_secret(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.secret(|| secret_line(label, client_random, secret));
    }
}

impl LiveCapture {
    /// What writes the file.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Ends the capture, and returns the counters of its recorder.
    pub fn stop(self) -> RecorderStatistics {
        self.taps.detach(self.id);
        self.recorder.statistics()
    }
}

impl Drop for LiveCapture {
    fn drop(&mut self) {
        self.taps.detach(self.id);
    }
}

/// Records what a filter accepts, with comments.
pub(super) struct InterfaceTap {
    pub(super) interface: Interface,
    pub(super) filter: Filter,
    pub(super) medium: Medium,
}

impl Tap for InterfaceTap {
    fn frame(&mut self, frame: &TappedFrame) {
        if self.filter.accepts(frame, self.medium) {
            let comment = Comment(frame).to_string();
            self.interface.record_commented(frame.at, frame.direction(), &frame.bytes, &comment);
        } else {
            self.interface.pass_over();
        }
    }

    fn secret(&mut self, line: &str) {
        self.interface.add_secret(line);
    }
}
