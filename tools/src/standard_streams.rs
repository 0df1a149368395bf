//! Standard input and output over a connection or datagrams, as nc carries them.

use anyhow::{Context, Result};
use netstack::netsocket::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// How much is carried at once, in bytes.
const BLOCK: usize = 64 * 1024;
/// The largest payload of a datagram that all links carry in fragments at most.
const DATAGRAM_MAX: usize = 65_507;

/// Carries until the peer has sent its last byte, or nothing for so long.
pub(crate) async fn carry(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    wait: Option<Duration>,
) -> Result<()> {
    let (mut from, mut to) = tokio::io::split(stream);
    let input = tokio::spawn(async move {
        let mut input = tokio::io::stdin();
        tokio::io::copy(&mut input, &mut to).await?;
        // The end of the input is the end of the stream; the answer may still come.
        to.shutdown().await
    });
    let mut block = vec![0; BLOCK];
    while let Some(read) = within(wait, from.read(&mut block)).await {
        match read.context("receiving")? {
            0 => break,
            len => cli::output::write(&block[..len]).await?,
        }
    }
    if input.is_finished() {
        input.await?.context("sending")?;
    }
    Ok(())
}

/// Carries until nothing has come for so long; without that for ever.
pub(crate) async fn carry_datagrams(socket: UdpSocket, wait: Option<Duration>) -> Result<()> {
    let socket = Arc::new(socket);
    let sender = socket.clone();
    tokio::spawn(async move {
        let (mut input, mut block) = (tokio::io::stdin(), vec![0; DATAGRAM_MAX]);
        while let Ok(len) = input.read(&mut block).await
            && len > 0
        {
            // What could not be sent is lost, and what ICMP says of it comes to the reader.
            let _ = sender.send(&block[..len]).await;
        }
    });
    let mut block = vec![0; DATAGRAM_MAX];
    while let Some(len) = within(wait, socket.recv(&mut block)).await {
        cli::output::write(&block[..len.context("receiving")?]).await?;
    }
    Ok(())
}

/// What a future makes, unless that takes too long.
pub(crate) async fn within<T>(wait: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match wait {
        Some(wait) => timeout(wait, work).await.ok(),
        None => Some(work.await),
    }
}
