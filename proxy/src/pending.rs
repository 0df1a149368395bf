//! Connections whose SYN waits for an answer.

use crate::carry;
use netsocket::{PendingConnection, Refusal};
use std::io;
use tokio::net::TcpStream;

/// Answers a SYN as the destination answers this machine, and carries what there is to carry.
///
/// # Cancel safety
///
/// If the future is dropped, the client is reset.
pub async fn carry_pending(
    pending: PendingConnection,
    dial: impl Future<Output = io::Result<TcpStream>>,
) {
    let dialled = pending.local_addr();
    let connected = tokio::select! {
        connected = dial => connected,
        _ = pending.ended() => return,
    };
    match connected {
        Ok(host) => {
            if let Ok(guest) = pending.accept().await {
                carry(guest, host).await;
            }
        }
        Err(error) => {
            tracing::debug!(%dialled, %error, "no connection");
            // If the client has given up meanwhile, nobody is to be told.
            let _ = pending.reject(Refusal::from(error.kind()));
        }
    }
}
