//! Bytes between a pair and a connection.

use crate::far::{Far, Sender, send_now};
use bytes::Bytes;
use netsocket::{Interest, TcpStream};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How a direction ended.
enum End {
    /// All bytes are where they belong.
    Delivered,
    /// The near end was closed, with bytes unread.
    Unread,
    /// The connection failed.
    Failed(io::Error),
}

/// At most this much is taken from the connection at once.
const ROUND_BYTES_MAX: usize = 256 << 10;
/// In at most this many pieces: the kernel takes 1,024 (`IOV_MAX`).
const ROUND_PIECES_MAX: usize = 128;
/// How long a peer may take nothing of a connection that the program has closed. Linux gives up
/// after eight probes, about 100 s (tcp(7), `tcp_orphan_retries`).
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(100);

pub(crate) async fn pump(
    far: Far,
    stream: Arc<TcpStream>,
    near: impl FnOnce(&io::Error) -> Option<OwnedFd>,
) -> io::Result<()> {
    let mut near = Some(near);
    let mut show = |error: &io::Error| {
        if let Some(near) = near.take() {
            leave_unread(&far, || near(error), error);
        }
    };
    let end = carry(&far, &stream, &mut show).await;
    match end {
        End::Delivered => Ok(()),
        End::Unread => stream.set_zero_linger(),
        End::Failed(error) => Err(error),
    }
}

/// Runs both directions until none has anything left to do.
async fn carry(far: &Far, stream: &TcpStream, show: &mut impl FnMut(&io::Error)) -> End {
    let (mut outbound, mut inbound) = (pin!(outbound(far, stream)), pin!(inbound(far, stream)));
    let (mut is_outbound_over, mut is_inbound_over, mut is_closed) = (false, false, false);
    let mut failure = None;
    loop {
        tokio::select! {
            end = &mut outbound, if !is_outbound_over => {
                is_outbound_over = true;
                match end {
                    End::Delivered => {}
                    End::Unread => return End::Unread,
                    End::Failed(error) => {
                        show(&error);
                        // The program may have stopped to read, and is told at its next write.
                        far.shutdown_read();
                        failure = Some(error);
                    }
                }
            }
            end = &mut inbound, if !is_inbound_over => {
                is_inbound_over = true;
                match end {
                    // After a failure it is no end of the stream.
                    End::Delivered if failure.is_none() => far.shutdown_write(),
                    End::Delivered => {}
                    End::Unread => return End::Unread,
                    End::Failed(error) => {
                        show(&error);
                        return End::Failed(error);
                    }
                }
            }
            // Nothing else looks at it, until the program writes.
            () = stream_over(stream), if is_inbound_over && !is_outbound_over => {
                let error = stream.take_error().ok().flatten();
                let error = error.unwrap_or_else(|| ErrorKind::BrokenPipe.into());
                show(&error);
                return End::Failed(error);
            }
            () = far.hung_up(), if is_inbound_over && !is_closed => {
                is_closed = true;
                if far.has_error() {
                    return End::Unread;
                }
            }
        }
        match failure.take() {
            Some(error) if is_inbound_over => return End::Failed(error),
            other => failure = other,
        }
        if is_inbound_over && is_outbound_over && failure.is_none() {
            return End::Delivered;
        }
    }
}

/// Waits until nothing can be written any more.
async fn stream_over(stream: &TcpStream) {
    while let Ok(ready) = stream.ready(Interest::WRITABLE).await {
        if ready.is_write_closed() {
            return;
        }
        // Waits for the next change.
        let wait = || Err::<(), _>(ErrorKind::WouldBlock.into());
        let _ = stream.try_io(Interest::WRITABLE, wait);
    }
}

/// From the near end to the connection.
async fn outbound(far: &Far, stream: &TcpStream) -> End {
    let mut is_closed = false;
    loop {
        let mut data = match far.recv().await {
            Ok(data) if data.is_empty() => {
                // A close is that of the connection, which the last handle of it does: by a reset if
                // the program has asked for one (`SO_LINGER`), which no FIN may come before.
                if !far.has_hung_up() {
                    // Fails if the connection is over, and nothing is left to end.
                    let _ = stream.shutdown_write();
                }
                return End::Delivered;
            }
            Ok(data) => Bytes::from(data),
            Err(_) => return End::Unread,
        };
        while !data.is_empty() {
            tokio::select! {
                sent = stream.write_bytes(&mut data) => {
                    if let Err(error) = sent {
                        return End::Failed(error);
                    }
                }
                () = far.hung_up(), if !is_closed => {
                    is_closed = true;
                    if far.has_error() {
                        return End::Unread;
                    }
                    // Its bytes are still sent, but not for ever.
                    if matches!(stream.user_timeout(), Ok(None)) {
                        let _ = stream.set_user_timeout(Some(ORPHAN_TIMEOUT));
                    }
                }
            }
        }
    }
}

/// From the connection to the near end.
async fn inbound(far: &Far, stream: &TcpStream) -> End {
    let mut sender = Sender::new(far);
    let mut pieces = VecDeque::new();
    loop {
        tokio::task::consume_budget().await;
        let mut end = take_round(stream, &mut pieces);
        if end.is_none() && pieces.is_empty() {
            sender.rest();
            let first = tokio::select! {
                first = stream.recv_bytes(ROUND_BYTES_MAX) => first,
                () = far.hung_up() => {
                    return if far.has_error() { End::Unread } else { End::Delivered };
                }
            };
            end = take(first, &mut pieces);
        }
        while !pieces.is_empty() {
            let slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            match sender.send(&slices).await {
                Ok(n) => advance(&mut pieces, n),
                Err(_) => {
                    // Closed, or its read half is shut down: then closed later, with these unread.
                    far.hung_up().await;
                    return End::Unread;
                }
            }
        }
        if let Some(end) = end {
            return end;
        }
    }
}

/// Takes what the connection has received, up to a bound; returns the end if that was found.
fn take_round(stream: &TcpStream, pieces: &mut VecDeque<Bytes>) -> Option<End> {
    let mut left = ROUND_BYTES_MAX;
    while left > 0 && pieces.len() < ROUND_PIECES_MAX {
        match stream.try_recv_bytes(left) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Ok(piece) if !piece.is_empty() => {
                left -= piece.len();
                pieces.push_back(piece);
            }
            other => return take(other, pieces),
        }
    }
    None
}

fn take(piece: io::Result<Bytes>, pieces: &mut VecDeque<Bytes>) -> Option<End> {
    match piece {
        Ok(piece) if piece.is_empty() => return Some(End::Delivered),
        Ok(piece) => pieces.push_back(piece),
        Err(error) => return Some(End::Failed(error)),
    }
    None
}

/// Removes `n` bytes from the front.
fn advance(pieces: &mut VecDeque<Bytes>, mut n: usize) {
    while let Some(piece) = pieces.front_mut() {
        if n < piece.len() {
            let _ = piece.split_to(n);
            return;
        }
        n -= piece.len();
        pieces.pop_front();
    }
}

/// Sees to it that closing the far end is `ECONNRESET` at the near end: one of its bytes is unread.
fn leave_unread(far: &Far, near: impl FnOnce() -> Option<OwnedFd>, error: &io::Error) {
    // The peer takes no more data, or the stack is gone: reading has ended in order, and writing
    // fails with EPIPE on the kernel's sockets too.
    let near = near();
    if error.kind() != ErrorKind::BrokenPipe
        && !far.has_unread()
        && let Some(near) = near
    {
        let _ = send_now(near, &[0]);
    }
}
