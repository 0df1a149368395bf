//! A connection's numbers, by its handle.

use super::StreamQueue;
use crate::command::Response;
use crate::error::Error;
use crate::tcp::{self, TcpInfo};

impl StreamQueue {
    /// The numbers of the connection, as of the stack's next round; those of its end once it is
    /// over.
    ///
    /// # Errors
    ///
    /// [`Error::StackGone`] if the stack has ended before the connection;
    /// [`Error::LimitReached`] if too many commands wait for the connection.
    ///
    /// # Cancel safety
    ///
    /// Changes nothing.
    pub async fn info(&self) -> Result<TcpInfo, Error> {
        if let Some(info) = self.last_info() {
            return Ok(*info);
        }
        match self.bell.call(tcp::Command::Info.into()).await {
            Ok((Response::Tcp(tcp::Response::Info(info)), _)) => Ok(*info),
            Ok(_) => Err(Error::WrongSocket),
            // It has ended meanwhile.
            Err(error) => self.last_info().map(|info| *info).ok_or(error),
        }
    }

    /// Keeps the numbers of a connection that is over.
    pub(crate) fn keep_info(&self, info: Box<TcpInfo>) {
        self.send.lock().info = Some(info);
    }

    pub(crate) fn last_info(&self) -> Option<Box<TcpInfo>> {
        self.send.lock().info.clone()
    }
}
