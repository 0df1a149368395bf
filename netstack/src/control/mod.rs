//! A control socket: a running stack from outside of its program.
//!
//! [`Builder::control`](crate::Builder::control) has a stack listen on a UNIX socket that only its
//! user can open. A client sends a [`Request`] in a line of JSON, and reads lines of JSON, each an
//! [`Answer`], up to [`Answer::Done`] or [`Answer::Error`]. `netstack ss`, `why`, `top` and others of
//! the `tools` are such clients; [`Client`] makes one of any program.
//!
//! ```
//! use netstack::control::{Answer, Client, Command};
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("control");
//! let (device, _far) = netstack::device::pipe(16, 1500);
//! let stack = netstack::Builder::new().control(&path).spawn(device)?;
//! let listener = stack.net().tcp_listen("127.0.0.1:80").await?;
//!
//! let sockets = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
//!     Client::connect(&path)?.ask(&Command::Sockets {})?.collect::<std::io::Result<Vec<_>>>()
//! });
//! let sockets = sockets.await??;
//! assert!(matches!(&sockets[..], [Answer::Socket(socket)] if socket.local.port() == 80));
//! # drop(listener);
//! # Ok(())
//! # }
//! ```
//!
//! # The protocol
//!
//! ```text
//! {"version":1,"command":"socket","id":"17v3"}
//! {"socket":{"id":"17v3","kind":"tcp","local":"10.9.0.2:80",…}}
//! {"done":{}}
//! ```
//!
//! Times are whole microseconds, sizes bytes, rates bytes a second. Within a version, commands, answers,
//! fields and names are only added: a client skips what it does not know. A client may send the next
//! request before the answer to the last has ended; requests are answered in order. After
//! [`Answer::Capture`] the rest of the stream is a pcapng file, up to the end of the client's half;
//! after [`Answer::Joined`] it is what the [`Host`] says.
//!
//! # Bounds
//!
//! [`CLIENTS_MAX`] clients at once, [`REQUEST_BYTES_MAX`] for a request, and as much of an answer at
//! once as [32 sockets](Command::Sockets) have: a long one is read from the stack as the client takes
//! it, page by page, between other work. A client that takes nothing for ten seconds is disconnected.
//! The server is a thread of its own, so that writing JSON takes no time from the stack's.

#[cfg_attr(not(feature = "capture"), path = "no_capture.rs")]
mod capture;
mod client;
mod host;
mod protocol;
mod server;
mod session;

pub use client::{Answers, CaptureStopper, CaptureStream, Client, JoinedStream};
pub use host::{Host, Joining, Serve};
pub use protocol::{Answer, Change, Command, Failure, Flow, Request, StackInfo, VERSION};
pub use server::CLIENTS_MAX;
pub use session::REQUEST_BYTES_MAX;

pub(crate) use capture::CaptureSource;
pub(crate) use server::{ControlFile, Listening, Named};
