//! Recording frames in pcapng files, which Wireshark and its relatives read.
//!
//! Frames are recorded as they pass: a packet that TCP leaves to a link to cut is one of up to
//! 64 KiB with a checksum that may be incomplete, as in a capture on a machine with offload.

mod comment;
mod device;
mod file;
mod filter;
mod hold;
mod live;
mod recorder;

pub use device::{Capture, CaptureSlot};
pub use filter::{Filter, FilterParseError};
pub use live::{Captures, LiveCapture};
pub use recorder::{Interface, Recorder, RecorderStatistics};
