//! The connections between a TCP listener and its handle.

use super::{Core, addresses};
use crate::error::Error;
use crate::queue::{AcceptQueue, StreamQueue, WaitKey};
use crate::sync::Arc;
use loom::future::block_on;
use loom::model::Builder;
use loom::thread;
use std::future::poll_fn;
use std::task::Waker;

#[test]
fn connection_is_accepted_or_ends_with_its_listener() {
    loom::model(|| {
        let core = Core::new();
        let queue = Arc::new(AcceptQueue::new(core.bell(), addresses().1));
        let accepting = {
            let queue = queue.clone();
            thread::spawn(move || block_on(accept(&queue)))
        };

        let mut wakes = Vec::new();
        queue.push(core.stream(1), &mut wakes);
        wakes.drain(..).for_each(Waker::wake);
        let left = queue.finish(Error::Closed, &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        let accepted = accepting.join().expect("no panic");
        assert_eq!(accepted.is_ok(), left.is_empty(), "{accepted:?}, and left {left:?}");
    });
}

#[test]
fn two_waiting_accepts_get_two_connections() {
    // Three threads have too many interleavings to check all.
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let core = Core::new();
        let queue = Arc::new(AcceptQueue::new(core.bell(), addresses().1));
        let accepting = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || block_on(accept(&queue)).map(drop))
        });

        let mut wakes = Vec::new();
        queue.push(core.stream(1), &mut wakes);
        queue.push(core.stream(1), &mut wakes);
        wakes.into_iter().for_each(Waker::wake);

        for accepting in accepting {
            assert_eq!(accepting.join().expect("no panic"), Ok(()));
        }
        assert_eq!(queue.len(), 0);
    });
}

async fn accept(queue: &AcceptQueue) -> Result<Arc<StreamQueue>, Error> {
    let mut key = WaitKey::default();
    loop {
        match queue.try_accept() {
            Err(Error::WouldBlock) => {
                poll_fn(|cx| queue.poll_acceptable(&mut key, cx.waker())).await;
            }
            result => return result,
        }
    }
}
