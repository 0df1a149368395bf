//! The protocol of the comparison's servers: the first byte of a connection selects the behaviour.
//!
//! | byte | the server |
//! |---|---|
//! | `U` | reads and discards until the end of the stream |
//! | `D` | writes 64 KiB blocks until the client disconnects |
//! | `R` | echoes |
//! | `X` | shuts its side down at once |
//! | `I` | reads and waits |
//!
//! Datagrams to the same port are echoed.

use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Where the kernel's end of the TUN is, and the stack's.
pub const KERNEL: [u8; 4] = [10, 9, 0, 1];
pub const STACK: [u8; 4] = [10, 9, 0, 2];
pub const PREFIX: u8 = 24;
/// Where servers listen.
pub const PORT: u16 = 80;
/// The name of the TUN.
pub const TUN: &str = "tun0";

const BLOCK: usize = 64 * 1024;

/// Echoes datagrams, until there is an error.
pub async fn echo_datagrams(socket: tokio::net::UdpSocket) {
    let mut datagram = [0; 2048];
    while let Ok((n, client)) = socket.recv_from(&mut datagram).await {
        // One that finds no room is lost, as on any link.
        let _ = socket.send_to(&datagram[..n], client).await;
    }
}

/// Serves one connection, as its first byte selects.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut first = [0; 1];
    if !matches!(stream.read(&mut first).await, Ok(1)) {
        return;
    }
    match first[0] {
        b'U' => {
            let mut block = vec![0; BLOCK];
            while matches!(stream.read(&mut block).await, Ok(n) if n > 0) {}
        }
        b'D' => {
            let block = vec![0; BLOCK];
            while stream.write_all(&block).await.is_ok() {}
        }
        b'R' => {
            let mut block = vec![0; BLOCK];
            while let Ok(n @ 1..) = stream.read(&mut block).await {
                if stream.write_all(&block[..n]).await.is_err() {
                    break;
                }
            }
        }
        b'I' => while matches!(stream.read(&mut first).await, Ok(n) if n > 0) {},
        _ => {}
    }
    // Some stacks never finish this.
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.shutdown()).await;
}
