//! `listen`.

use crate::run::call::Call;
use crate::run::supervisor::{Descriptor, Supervisor};
use netfd::posix::{Phase, StreamSocket};
use rustix::io::Errno;
use std::sync::Arc;

/// The longest queue (net.core.somaxconn).
const BACKLOG_MAX: i32 = 4096;

pub(super) fn listen(
    supervisor: &Arc<Supervisor>,
    call: Call,
    descriptor: Descriptor,
    socket: Arc<StreamSocket>,
) {
    match socket.phase() {
        Phase::Idle => {}
        // Repeated, or to change the length of the queue, which stays here.
        Phase::Listening => return call.end(Ok(0)),
        _ => return call.fail(Errno::INVAL),
    }
    // A negative one is a very large one, to the kernel.
    let backlog = match call.int(1) {
        it @ 0..=BACKLOG_MAX => it as u32,
        _ => BACKLOG_MAX as u32,
    };
    supervisor.park(call.task(), async move {
        call.end(socket.listen(descriptor.near, backlog).await.map(|()| 0));
    });
}
