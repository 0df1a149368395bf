//! Requests, and the answers to them.

use super::Core;
use crate::command::{Response, control};
use crate::error::Error;
use crate::id::SocketId;
use crate::reply::Responder;
use loom::future::block_on;
use loom::sync::Mutex;
use loom::thread;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

type Answer = Result<(Response, Option<crate::queue::SocketQueue>), Error>;
type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A sent request, and the stack's end of it.
fn request(core: &Core) -> (Pending, Responder) {
    let channel = core.channel();
    let mut reply: Pending =
        Box::pin(async move { channel.call(None, control::Command::Wake).await });
    assert!(reply.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let responder = core.requests.try_recv().expect("it was sent").responder;
    (reply, responder.expect("an answer is wanted"))
}

#[test]
fn answer_is_received_or_comes_back() {
    loom::model(|| {
        let core = Core::new();
        let (mut reply, responder) = request(&core);
        let requesting = thread::spawn(move || {
            let is_received =
                reply.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            drop(reply);
            is_received
        });

        let refused = responder.answer(Ok((Response::Done, None))).is_err();

        let received = requesting.join().expect("no panic");
        let undelivered = core.doorbell.take_undelivered().len();
        let times = usize::from(received) + usize::from(refused) + undelivered;
        assert_eq!(times, 1, "received {received}, refused {refused}, back {undelivered}");
    });
}

#[test]
fn waiting_requester_is_woken_by_the_answer() {
    loom::model(|| {
        let core = Core::new();
        let (reply, responder) = request(&core);
        let requesting = thread::spawn(move || block_on(reply));

        assert!(responder.answer(Ok((Response::Done, None))).is_ok());

        assert!(matches!(requesting.join().expect("no panic"), Ok((Response::Done, None))));
    });
}

#[test]
fn waiting_requester_fails_when_the_request_is_dropped() {
    loom::model(|| {
        let core = Core::new();
        let (reply, responder) = request(&core);
        let requesting = thread::spawn(move || block_on(reply));

        core.doorbell.close();
        drop(responder);

        assert_eq!(requesting.join().expect("no panic").err(), Some(Error::StackGone));
    });
}

#[test]
fn request_that_panics_fails_and_the_stack_goes_on() {
    loom::model(|| {
        let core = Core::new();
        let (reply, responder) = request(&core);
        let requesting = thread::spawn(move || block_on(reply));

        drop(responder);

        assert_eq!(requesting.join().expect("no panic").err(), Some(Error::Aborted));
    });
}

#[test]
fn withdrawn_request_is_noticed_when_parked_or_later() {
    loom::model(|| {
        let core = Core::new();
        let (reply, responder) = request(&core);
        let requesting = thread::spawn(move || drop(reply));

        let is_wanted = responder.park_on(SocketId::default());

        requesting.join().expect("no panic");
        let mut rung = Vec::new();
        core.doorbell.take_ready(&mut rung);
        assert_eq!(rung.len(), usize::from(is_wanted));
        assert!(responder.is_abandoned());
    });
}

/// As in `Netstack`'s `Drop`: a request sent before is found in the channel, one sent after sees
/// the closed doorbell.
#[test]
fn request_to_a_stopping_stack_never_hangs() {
    loom::model(|| {
        let core = Core::new();
        let sender = core.sender.clone();
        let channel = core.channel();
        // The lock inside of flume's channel, which loom does not see.
        let line = Arc::new(Mutex::new(()));
        let requesting = {
            let line = line.clone();
            thread::spawn(move || {
                let (request, reply) = channel.prepare(None, control::Command::Wake.into());
                {
                    let _sending = line.lock();
                    sender.try_send(request).expect("room");
                }
                block_on(reply)
            })
        };

        core.doorbell.close();
        {
            let _draining = line.lock();
            core.requests.drain();
        }

        assert_eq!(requesting.join().expect("no panic").err(), Some(Error::StackGone));
    });
}
