//! Reading and writing a stream, and the traits of tokio and futures-io.

use crate::stream::Stream;
use crate::wait;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

impl Stream {
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        wait::poll_retry(&self.reads(), cx, || self.try_recv(buf))
    }

    /// Takes the next piece, at most `max` bytes of it.
    #[cfg(feature = "hyper")]
    pub(crate) fn poll_read_bytes(
        &self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<io::Result<bytes::Bytes>> {
        wait::poll_retry(&self.reads(), cx, || self.try_recv_bytes(max))
    }

    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        wait::poll_retry(&self.writes(), cx, || self.try_send(buf))
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        wait::poll_retry(&self.writes(), cx, || self.try_send_vectored(bufs))
    }

    /// Shutting down twice, or after the connection has ended, is not an error, as with tokio.
    pub(crate) fn poll_shutdown(&self) -> Poll<io::Result<()>> {
        match self.shutdown_send() {
            Err(error) if error.is_stack_gone() => Poll::Ready(Err(error.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Implements the traits of tokio, and of futures-io, for something that leads to a [`Stream`].
macro_rules! implements {
    (read $kind:ty, $self:ident => $stream:expr) => {
        impl tokio::io::AsyncRead for $kind {
            fn poll_read(
                $self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                let n = std::task::ready!($stream.poll_read(cx, buf.initialize_unfilled()))?;
                buf.advance(n);
                std::task::Poll::Ready(Ok(()))
            }
        }

        #[cfg(feature = "futures-io")]
        impl futures_io::AsyncRead for $kind {
            fn poll_read(
                $self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut [u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                $stream.poll_read(cx, buf)
            }
        }
    };
    (write $kind:ty, $self:ident => $stream:expr) => {
        impl tokio::io::AsyncWrite for $kind {
            $crate::stream_io::implements!(writing $self => $stream);

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_shutdown(
                $self: std::pin::Pin<&mut Self>,
                _cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                $stream.poll_shutdown()
            }
        }

        #[cfg(feature = "futures-io")]
        impl futures_io::AsyncWrite for $kind {
            $crate::stream_io::implements!(writing $self => $stream);

            fn poll_close(
                $self: std::pin::Pin<&mut Self>,
                _cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                $stream.poll_shutdown()
            }
        }
    };
    // The common part of both `AsyncWrite`s.
    (writing $self:ident => $stream:expr) => {
        fn poll_write(
            $self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            $stream.poll_write(cx, buf)
        }

        fn poll_write_vectored(
            $self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            bufs: &[std::io::IoSlice<'_>],
        ) -> std::task::Poll<std::io::Result<usize>> {
            $stream.poll_write_vectored(cx, bufs)
        }

        /// Does nothing: written bytes are sent without a flush.
        fn poll_flush(
            $self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    };
}

pub(crate) use implements;
