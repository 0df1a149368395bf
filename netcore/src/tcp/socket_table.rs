//! Adding and removing TCP sockets.

use crate::context::Context;
use crate::error::Error;
use crate::id::SocketId;
use crate::socket_ids::Transport;
use crate::tcp::layer::TcpLayer;
use crate::tcp::sockets::TcpSocket;

impl TcpLayer {
    /// Gives a socket its id.
    ///
    /// # Errors
    ///
    /// [`Error::LimitReached`] if there are too many sockets; what `make` fails with.
    pub(crate) fn insert_socket(
        &mut self,
        cx: &mut Context,
        make: impl FnOnce(SocketId) -> Result<TcpSocket, Error>,
    ) -> Result<SocketId, Error> {
        cx.sockets.insert(Transport::Tcp, |id| {
            self.sockets.insert(id, make(id)?);
            Ok(())
        })
    }

    pub(crate) fn remove_socket(&mut self, cx: &mut Context, id: SocketId) -> Option<TcpSocket> {
        cx.sockets.remove(id);
        self.sockets.remove(id)
    }
}
