//! Waiting for the delivery of what a stream has sent.

use netsocket::TcpStream;
use netsocket::netcore::TcpState;
use std::time::Duration;
use tokio::time::sleep;

/// Waits until the peer has acknowledged everything.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
pub async fn delivered(stream: &TcpStream) {
    while let Ok(info) = stream.info().await
        && info.state != TcpState::Closed
        && info.unacked + info.notsent_bytes > 0
    {
        sleep(Duration::from_millis(1)).await;
    }
}
