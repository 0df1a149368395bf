//! The bound on the open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises it as far as that is allowed, and returns it.
pub(crate) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX)
}
