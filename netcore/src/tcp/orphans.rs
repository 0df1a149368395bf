//! Connections whose handle is gone.

use crate::context::Context;
use crate::error::Error;
use crate::id::SocketId;
use crate::tcp::layer::TcpLayer;

impl TcpLayer {
    /// Goes on without the handle: sends what is queued and closes, or resets if there is
    /// unread data (RFC 2525 section 2.17).
    pub(crate) fn orphan(&mut self, cx: &mut Context, id: SocketId) {
        let Some(connection) = self.sockets.connection_mut(id) else {
            return;
        };
        let Some(queue) = connection.queue().cloned() else {
            return;
        };
        connection.is_orphan = true;
        // Its 4-tuple stays in use, and not the whole port.
        connection.reservation = None;
        let resets = queue.options().linger.is_some_and(|linger| linger.is_zero());
        if resets || connection.has_unread() {
            connection.abort(Error::Aborted);
        } else {
            // Fails only if the connection has ended already.
            let _ = queue.shutdown_send();
        }
        cx.mark(id);
    }
}
