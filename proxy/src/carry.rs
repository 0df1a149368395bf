//! The bytes of a connection, between the stack's socket and the machine's.

use crate::delivery::delivered;
use bytes::{Buf, Bytes, BytesMut};
use netsocket::KeepAlive;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes that are read from the machine's socket at once.
const READ_BYTES: usize = 256 << 10;
/// Fewer are copied, so that they do not keep a whole buffer.
const COPIED_BYTES: usize = 4 << 10;
/// Pieces that are written to the machine's socket at once; of the smallest frames, 90 KiB.
const PIECES_MAX: usize = 64;
/// How long the bytes before a reset may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// A guest that was killed sends nothing, and its connections are to end.
const KEEP_ALIVE: KeepAlive =
    KeepAlive { idle: Duration::from_secs(60), interval: Duration::from_secs(10), count: 6 };

thread_local! {
    /// What the connections of a thread read into.
    static BUFFER: RefCell<BytesMut> = RefCell::default();
}

/// Carries bytes both ways until both ends have closed; a reset of one is one of the other.
///
/// # Cancel safety
///
/// If the future is dropped, bytes on their way from one end to the other are lost.
pub async fn carry(guest: netsocket::TcpStream, host: TcpStream) {
    let _ = (guest.set_nodelay(true), host.set_nodelay(true));
    let _ = guest.set_keepalive(Some(KEEP_ALIVE));
    if tokio::try_join!(up(&guest, &host), down(&host, &guest)).is_err() {
        // What was sent before the reset arrives before it.
        let _ = timeout(FAREWELL, delivered(&guest)).await;
        let _ = (guest.set_zero_linger(), host.set_zero_linger());
    }
}

/// From the guest, without a copy up to the system call.
async fn up(guest: &netsocket::TcpStream, host: &TcpStream) -> io::Result<()> {
    let mut pieces = VecDeque::with_capacity(PIECES_MAX);
    let mut end = None;
    loop {
        match end.take() {
            Some(Ok(())) => return Ok(rustix::net::shutdown(host, rustix::net::Shutdown::Write)?),
            Some(Err(error)) => return Err(error),
            None => pieces.push_back(guest.recv_bytes(usize::MAX).await?),
        }
        while pieces.len() < PIECES_MAX && pieces.back().is_some_and(|last| !last.is_empty()) {
            match guest.try_recv_bytes(usize::MAX) {
                Ok(piece) => pieces.push_back(piece),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    end = Some(Err(error));
                    break;
                }
            }
        }
        if pieces.back().is_some_and(Bytes::is_empty) {
            pieces.pop_back();
            end = Some(Ok(()));
        }
        write_all(host, &mut pieces).await?;
        tokio::task::consume_budget().await;
    }
}

async fn write_all(host: &TcpStream, pieces: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !pieces.is_empty() {
        let written = {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            for (slice, piece) in slices.iter_mut().zip(&*pieces) {
                *slice = IoSlice::new(piece);
            }
            host.try_write_vectored(&slices[..pieces.len()])
        };
        match written {
            Ok(written) => advance(pieces, written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => host.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn advance(pieces: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = pieces.front_mut() {
        if first.len() > written {
            first.advance(written);
            return;
        }
        written -= first.len();
        pieces.pop_front();
    }
}

/// To the guest, without a copy from the system call on.
async fn down(host: &TcpStream, guest: &netsocket::TcpStream) -> io::Result<()> {
    loop {
        match read(host) {
            // It may have ended by itself.
            Ok(bytes) if bytes.is_empty() => {
                let _ = guest.shutdown_write();
                return Ok(());
            }
            Ok(bytes) => guest.send_bytes(bytes).await?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => host.readable().await?,
            Err(error) => return Err(error),
        }
        tokio::task::consume_budget().await;
    }
}

fn read(host: &TcpStream) -> io::Result<Bytes> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        buffer.reserve(READ_BYTES);
        let n = host.try_read_buf(buffer)?;
        Ok(match n < COPIED_BYTES {
            true => Bytes::copy_from_slice(buffer),
            false => buffer.split().freeze(),
        })
    })
}
