//! Rings against a driver that falls asleep.

use super::Core;
use crate::command::Response;
use crate::command::outcome::Undelivered;
use crate::doorbell::Events;
use crate::sync::Arc;
use loom::thread;

#[test]
fn sleeping_stack_is_woken_once_by_several_rings() {
    loom::model(|| {
        let core = Core::new();
        let bells = [Arc::new(core.bell()), Arc::new(core.bell())];
        let ringing = bells.clone().map(|bell| thread::spawn(move || bell.ring(Events::SEND)));

        let sleeps = core.doorbell.fall_asleep();

        ringing.into_iter().for_each(|ringing| ringing.join().expect("no panic"));
        assert_woken(&core, sleeps);
        let mut rung = Vec::new();
        core.doorbell.take_ready(&mut rung);
        assert_eq!(rung.len(), 2);
    });
}

#[test]
fn returned_answer_wakes_a_sleeping_stack() {
    loom::model(|| {
        let core = Core::new();
        let doorbell = core.doorbell.clone();
        let giving = thread::spawn(move || {
            doorbell.give_back(Undelivered { handle: None, response: Response::Done, queue: None });
        });

        let sleeps = core.doorbell.fall_asleep();

        giving.join().expect("no panic");
        assert_woken(&core, sleeps);
        assert_eq!(core.doorbell.take_undelivered().len(), 1);
    });
}

#[test]
fn event_is_taken_exactly_once() {
    loom::model(|| {
        let core = Core::new();
        let bell = Arc::new(core.bell());
        let ringing = [Events::SEND, Events::CLOSE].map(|event| {
            let bell = bell.clone();
            thread::spawn(move || bell.ring(event))
        });

        let during = core.take_events(&bell);

        ringing.into_iter().for_each(|ringing| ringing.join().expect("no panic"));
        let after = core.take_events(&bell);
        for event in [Events::SEND, Events::CLOSE] {
            let times = [during, after].into_iter().flatten().filter(|seen| seen.contains(event));
            assert_eq!(times.count(), 1, "{during:?}, then {after:?}");
        }
    });
}

/// A stack that found work before it slept may be woken in addition.
fn assert_woken(core: &Core, sleeps: bool) {
    match core.requests.len() {
        0 => assert!(!sleeps, "the wake-up was lost"),
        1 => {}
        wakes => panic!("{wakes} wake-ups"),
    }
}
