//! Tasks with names, which tokio-console shows.
//!
//! tokio has names behind `--cfg tokio_unstable` alone; without it a name is dropped.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Spawns a task on the current runtime.
///
/// # Panics
///
/// Outside of a tokio runtime.
#[track_caller]
pub(crate) fn spawn<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    spawn_on(&Handle::current(), name, future)
}

/// Spawns a task on a runtime.
#[track_caller]
pub(crate) fn spawn_on<F>(runtime: &Handle, name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    #[cfg(all(tokio_unstable, feature = "console"))]
    {
        let task = tokio::task::Builder::new().name(name).spawn_on(future, runtime);
        task.expect("tokio spawns tasks without fail")
    }
    #[cfg(not(all(tokio_unstable, feature = "console")))]
    {
        let _ = name;
        runtime.spawn(future)
    }
}
