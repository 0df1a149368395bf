//! Who made a socket.

use std::fmt;
use std::sync::Arc;

/// Who made a socket, as far as that is known; an accepted connection has the owner of its listener.
///
/// Displays like `curl (pid 17)` or `task 12 on thread worker`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct Owner {
    /// The name that the program has given.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// The process, where the socket is another one's than that of the stack.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub pid: Option<u32>,
    /// The name of the thread that made it.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub thread: Option<String>,
    /// The id of the task that made it, which is tokio's and that of tokio-console.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub task: Option<u64>,
}

/// An owner, shared by its sockets; not loom's `Arc`, since nothing is synchronized by it.
pub(crate) type SharedOwner = Arc<Owner>;

/// What a channel knows of the owners of the sockets that are made over it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Maker {
    given: Option<SharedOwner>,
    current: Option<fn() -> Owner>,
}

impl Owner {
    /// An owner with this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// With this process.
    #[must_use]
    pub fn with_pid(self, pid: u32) -> Self {
        Self { pid: Some(pid), ..self }
    }

    /// With this task, on this thread.
    #[must_use]
    pub fn with_task(self, thread: Option<String>, task: Option<u64>) -> Self {
        Self { thread, task, ..self }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(name) = &self.name {
            f.write_str(name)?;
            separator = ", ";
        }
        if let Some(pid) = self.pid {
            write!(f, "{}(pid {pid})", if separator.is_empty() { "" } else { " " })?;
            separator = ", ";
        }
        match (self.task, &self.thread) {
            (Some(task), Some(thread)) => write!(f, "{separator}task {task} on thread {thread}"),
            (Some(task), None) => write!(f, "{separator}task {task}"),
            (None, Some(thread)) => write!(f, "{separator}thread {thread}"),
            (None, None) => Ok(()),
        }
    }
}

impl Maker {
    /// Sets what finds the current thread and task.
    pub(crate) fn set_current(&mut self, current: fn() -> Owner) {
        self.current = Some(current);
    }

    pub(crate) fn set_owner(&mut self, owner: Owner) {
        self.given = Some(Arc::new(owner));
    }

    /// The owner of a socket that is made now, with its thread and task if `is_whole`.
    pub(crate) fn owner(&self, is_whole: bool) -> Option<SharedOwner> {
        // Another process has no thread and no task here.
        let is_ours = self.given.as_ref().is_none_or(|given| given.pid.is_none());
        let Some(current) = self.current.filter(|_| is_whole && is_ours) else {
            return self.given.clone();
        };
        let Owner { thread, task, .. } = current();
        let given = self.given.as_deref().cloned().unwrap_or_default();
        Some(given.with_task(thread, task)).filter(|owner| !owner.is_empty()).map(Arc::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_shown_by_what_is_known() {
        let named = Owner::named("curl");
        let on_thread = |task| Owner::default().with_task(Some("worker".into()), task);

        assert_eq!(named.to_string(), "curl");
        assert_eq!(named.clone().with_pid(17).to_string(), "curl (pid 17)");
        assert_eq!(on_thread(Some(12)).to_string(), "task 12 on thread worker");
        assert_eq!(on_thread(None).to_string(), "thread worker");
        assert_eq!(named.with_task(None, Some(3)).to_string(), "curl, task 3");
    }

    #[test]
    fn the_current_task_is_asked_for_only_where_it_is_kept() {
        let mut maker = Maker::default();
        assert_eq!(maker.owner(true), None);

        maker.set_owner(Owner::named("web"));
        maker.set_current(|| Owner::default().with_task(None, Some(5)));

        assert_eq!(maker.owner(false).map(|it| it.to_string()).as_deref(), Some("web"));
        assert_eq!(maker.owner(true).map(|it| it.to_string()).as_deref(), Some("web, task 5"));
    }
}
