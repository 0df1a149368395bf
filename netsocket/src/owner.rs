//! Who makes a socket: the current thread and task.

use netcore::Owner;
use std::fmt::Write;

/// The thread and the task that run now.
pub(crate) fn current() -> Owner {
    let thread = std::thread::current().name().map(str::to_owned);
    Owner::default().with_task(thread, tokio::task::try_id().and_then(number))
}

/// The number of a task, which tokio only displays.
fn number(id: tokio::task::Id) -> Option<u64> {
    let mut text = String::new();
    write!(text, "{id}").ok()?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_owner_is_the_task_on_its_thread() {
        let task = tokio::spawn(async { (current(), tokio::task::id()) });
        let (owner, id) = task.await.expect("it does not panic");

        assert_eq!(owner.task.map(|it| it.to_string()), Some(id.to_string()));
        assert_eq!(owner.thread.as_deref(), std::thread::current().name());
    }
}
