//! A connection or stream of a test, whatever it runs over: bytes in both directions.

use crate::http::{Asking, Message};
use crate::shared::Shared;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use netsocket::TcpStream;
use quinn::{RecvStream, SendStream};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes in both directions, each of which ends by itself.
pub(crate) enum Channel {
    Tcp(Shared),
    Over(Box<Over>),
    Quic(SendStream, RecvStream),
    Message(Box<Message>),
    Asking(Box<Asking>),
}

/// Something over a connection: TLS, or what is left of HTTP after an upgrade.
pub(crate) struct Over {
    stream: Control,
    under: Arc<TcpStream>,
    /// Room for the next piece, used again when that is gone.
    room: BytesMut,
}

/// The connection of a test's messages.
pub(crate) type Control = Box<dyn Duplex>;

/// What the control connection needs.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// As much as TLS decrypts at once, some records.
const PIECE_BYTES: usize = 64 * 1024;

impl Channel {
    /// Over this connection.
    pub(crate) fn over(stream: impl Duplex + 'static, under: Arc<TcpStream>) -> Self {
        Self::Over(Box::new(Over { stream: Box::new(stream), under, room: BytesMut::new() }))
    }

    /// Uses it for a test's messages.
    pub(crate) fn into_control(self) -> Control {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Over(over) => over.stream,
            Self::Quic(to, from) => Box::new(tokio::io::join(from, to)),
            // Its cookie came with a request, which none of a test's messages does.
            Self::Message(_) | Self::Asking(_) => Box::new(tokio::io::empty()),
        }
    }

    /// The connection of TCP that it runs over.
    pub(crate) fn tcp(&self) -> Option<&Arc<TcpStream>> {
        match self {
            Self::Tcp(stream) => Some(&stream.0),
            Self::Over(over) => Some(&over.under),
            Self::Quic(..) => None,
            Self::Message(message) => Some(&message.under),
            Self::Asking(asking) => Some(&asking.under),
        }
    }

    /// Whether each message is on its own, and not a part of a stream.
    pub(crate) fn has_messages(&self) -> bool {
        matches!(self, Self::Asking(_))
    }

    /// Writes as much as there is room for, and takes it from the front of `data`; returns how much.
    /// Small pieces may wait for the next [`send_bytes`](Self::send_bytes) or [`finish`](Self::finish).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing was written.
    pub(crate) async fn write_bytes(&mut self, data: &mut Bytes) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.0.write_bytes(data).await,
            Self::Over(over) => {
                let written = over.stream.write(data).await?;
                data.advance(written);
                Ok(written)
            }
            Self::Quic(to, _) => Ok(to.write_chunks(std::slice::from_mut(data)).await?.bytes),
            Self::Message(message) => message.write_bytes(data).await,
            Self::Asking(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends a message.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a part of the message may have been sent.
    pub(crate) async fn send_bytes(&mut self, mut data: Bytes) -> io::Result<()> {
        if let Self::Asking(asking) = self {
            return asking.ask(data).await;
        }
        while !data.is_empty() {
            self.write_bytes(&mut data).await?;
        }
        match self {
            Self::Over(over) => over.stream.flush().await,
            _ => Ok(()),
        }
    }

    /// The next piece of at most `max` bytes; an empty one is the end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses nothing.
    pub(crate) async fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes> {
        match self {
            Self::Tcp(stream) => stream.0.recv_bytes(max).await,
            Self::Over(over) => {
                let Over { stream, room, .. } = &mut **over;
                room.reserve(PIECE_BYTES);
                stream.read_buf(&mut (&mut *room).limit(max)).await?;
                Ok(room.split().freeze())
            }
            Self::Quic(_, from) => {
                let piece = from.read_chunk(max, true).await?;
                Ok(piece.map(|piece| piece.bytes).unwrap_or_default())
            }
            Self::Message(message) => message.recv_bytes(max).await,
            Self::Asking(asking) => asking.recv_bytes(max).await,
        }
    }

    /// Ends what this end sends, after all that was written.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.0.shutdown_write(),
            Self::Over(over) => over.stream.shutdown().await,
            Self::Quic(to, _) => Ok(to.finish()?),
            Self::Message(message) => {
                message.to = None;
                Ok(())
            }
            Self::Asking(_) => Ok(()),
        }
    }
}
