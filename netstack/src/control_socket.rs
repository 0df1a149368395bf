//! The control socket of a stack from its builder to its end. Without the feature there is none.

#[cfg(all(target_os = "linux", feature = "control"))]
use crate::control::{CaptureSource, ControlFile, Host, Listening, Named};
use netsocket::Net;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Where it is to be, if anywhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct ControlPath {
    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) path: Option<std::path::PathBuf>,
    /// The name of the link, for its clients.
    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) interface: String,
    /// What takes programs of its clients.
    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) host: Option<Arc<dyn Host>>,
}

/// It is bound, and nobody serves it yet.
#[derive(Debug)]
pub(crate) struct BoundControl {
    #[cfg(all(target_os = "linux", feature = "control"))]
    listening: Option<Listening>,
    #[cfg(all(target_os = "linux", feature = "control"))]
    interface: String,
    #[cfg(all(target_os = "linux", feature = "control"))]
    captures: CaptureSource,
    #[cfg(all(target_os = "linux", feature = "control"))]
    host: Option<Arc<dyn Host>>,
    busy: Option<Arc<Busy>>,
}

/// It is served; its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ServedControl {
    #[cfg(all(target_os = "linux", feature = "control"))]
    _file: Option<ControlFile>,
}

/// The time that a stack has worked.
#[derive(Debug, Default)]
pub(crate) struct Busy(AtomicU64);

impl ControlPath {
    /// Whether somebody may look at the stack from outside.
    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) fn is_open(&self) -> bool {
        self.path.is_some()
    }

    #[cfg(not(all(target_os = "linux", feature = "control")))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn is_open(&self) -> bool {
        false
    }

    /// Binds the socket, if there is to be one.
    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) fn bind(&self) -> io::Result<BoundControl> {
        let listening = self.path.as_deref().map(Listening::bind).transpose()?;
        let busy = listening.is_some().then(Arc::default);
        let (interface, captures) = (self.interface.clone(), CaptureSource::default());
        Ok(BoundControl { listening, interface, captures, host: self.host.clone(), busy })
    }

    #[cfg(not(all(target_os = "linux", feature = "control")))]
    #[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn bind(&self) -> io::Result<BoundControl> {
        Ok(BoundControl { busy: None })
    }
}

impl BoundControl {
    /// Where the driver adds up its work, if somebody may ask.
    pub(crate) fn busy(&self) -> Option<Arc<Busy>> {
        self.busy.clone()
    }

    /// Has clients capture frames, too.
    #[cfg(all(target_os = "linux", feature = "control", feature = "capture"))]
    pub(crate) fn with_captures(self, captures: crate::capture::Captures) -> Self {
        Self { captures: CaptureSource::new(captures), ..self }
    }

    /// Serves the socket until the stack is gone.
    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) fn serve(self, net: &Net, name: &str) -> io::Result<ServedControl> {
        let Self { listening, interface, captures, host, busy } = self;
        let named = Named { name: name.to_owned(), interface };
        let (busy, net) = (busy.unwrap_or_default(), net.clone());
        let served = listening.map(|listening| listening.serve(net, busy, named, captures, host));
        Ok(ServedControl { _file: served.transpose()? })
    }

    #[cfg(not(all(target_os = "linux", feature = "control")))]
    #[expect(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn serve(self, _net: &Net, _name: &str) -> io::Result<ServedControl> {
        Ok(ServedControl {})
    }
}

impl Busy {
    /// Adds the time since `began`.
    pub(crate) fn add_since(&self, began: Instant) {
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }

    #[cfg(all(target_os = "linux", feature = "control"))]
    pub(crate) fn total(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
