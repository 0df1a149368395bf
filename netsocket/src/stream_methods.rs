//! The methods that several handles of a TCP connection have: the stream itself and its halves,
//! and for the options the blocking stream too.

/// Waiting for a stream and using it when it is ready.
macro_rules! readiness_methods {
    ($self:ident => $stream:expr) => {
        /// Waits until the stream is ready for something that `interest` names, and returns all of
        /// it that is so.
        ///
        /// # Errors
        ///
        /// None: an error is found by reading or writing.
        ///
        /// # Cancel safety
        ///
        /// Changes nothing.
        pub async fn ready(&$self, interest: $crate::Interest) -> std::io::Result<$crate::Ready> {
            Ok($stream.ready(interest).await.ready)
        }
    };
}

/// The addresses of a connection.
macro_rules! address_methods {
    ($self:ident => $stream:expr) => {
        /// This end's address.
        ///
        /// # Errors
        ///
        /// None; as everywhere in this crate the result is that of the kernel's sockets.
        pub fn local_addr(&$self) -> std::io::Result<std::net::SocketAddr> {
            Ok($stream.local_addr())
        }

        /// The other end's address.
        ///
        /// # Errors
        ///
        /// `NotConnected` once the connection is over.
        pub fn peer_addr(&$self) -> std::io::Result<std::net::SocketAddr> {
            Ok($stream.connected_peer_addr()?)
        }
    };
}

/// Reading without a trait.
macro_rules! reading_methods {
    ($self:ident => $stream:expr) => {
        /// Waits until there is something to read: bytes, the end of the stream, or an error.
        ///
        /// # Errors
        ///
        /// None: an error is found by reading.
        ///
        /// # Cancel safety
        ///
        /// Changes nothing.
        pub async fn readable(&$self) -> std::io::Result<()> {
            $crate::wait::ready(&$stream.reads()).await;
            Ok(())
        }

        /// Reads the available bytes; 0 means the end of the stream, or an empty `buf`.
        ///
        /// # Errors
        ///
        /// `WouldBlock` if no bytes are available; the error of the connection, once.
        pub fn try_read(&$self, buf: &mut [u8]) -> std::io::Result<usize> {
            Ok($stream.try_recv(buf)?)
        }

        /// As [`try_read`](Self::try_read), into several buffers in turn.
        ///
        /// # Errors
        ///
        /// As [`try_read`](Self::try_read).
        pub fn try_read_vectored(
            &$self,
            bufs: &mut [std::io::IoSliceMut<'_>],
        ) -> std::io::Result<usize> {
            Ok($stream.try_recv_vectored(bufs)?)
        }

        /// As [`try_read`](Self::try_read), into the free room of `buf`.
        ///
        /// # Errors
        ///
        /// As [`try_read`](Self::try_read).
        pub fn try_read_buf<B: bytes::BufMut>(&$self, buf: &mut B) -> std::io::Result<usize> {
            let chunk = $stream.try_recv_bytes(buf.remaining_mut())?;
            let n = chunk.len();
            buf.put(chunk);
            Ok(n)
        }

        /// Copies received bytes into `buf` and leaves them in the queue; returns how many, 0 at
        /// the end of the stream.
        ///
        /// # Errors
        ///
        /// The error of the connection, unless it was returned before.
        ///
        /// # Cancel safety
        ///
        /// Changes nothing.
        pub async fn peek(&$self, buf: &mut [u8]) -> std::io::Result<usize> {
            $crate::wait::retry(&$stream.reads(), || $stream.try_peek(buf)).await
        }

        /// As [`peek`](Self::peek); only the last caller is woken.
        pub fn poll_peek(
            &$self,
            cx: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<usize>> {
            $crate::wait::poll_retry(&$stream.reads(), cx, || {
                let n = $stream.try_peek(buf.initialize_unfilled())?;
                buf.advance(n);
                Ok(n)
            })
        }
    };
}

/// Writing without a trait.
macro_rules! writing_methods {
    ($self:ident => $stream:expr) => {
        /// Waits until something can be written, or writing fails.
        ///
        /// # Errors
        ///
        /// None: an error is found by writing.
        ///
        /// # Cancel safety
        ///
        /// Changes nothing.
        pub async fn writable(&$self) -> std::io::Result<()> {
            $crate::wait::ready(&$stream.writes()).await;
            Ok(())
        }

        /// Writes as much as there is room for and returns the number of bytes.
        ///
        /// # Errors
        ///
        /// `WouldBlock` without room; the error of the connection, once; `BrokenPipe` after the
        /// write half was shut down, and after the connection has ended.
        pub fn try_write(&$self, buf: &[u8]) -> std::io::Result<usize> {
            Ok($stream.try_send(buf)?)
        }

        /// As [`try_write`](Self::try_write), from several buffers in turn.
        ///
        /// # Errors
        ///
        /// As [`try_write`](Self::try_write).
        pub fn try_write_vectored(
            &$self,
            bufs: &[std::io::IoSlice<'_>],
        ) -> std::io::Result<usize> {
            Ok($stream.try_send_vectored(bufs)?)
        }
    };
}

/// Options of an open connection.
macro_rules! option_methods {
    ($self:ident => $stream:expr) => {
        /// Whether small segments are sent at once. Off by default, as on the kernel.
        ///
        /// # Errors
        ///
        /// None.
        pub fn nodelay(&$self) -> std::io::Result<bool> {
            Ok($stream.options().nodelay)
        }

        /// Sends small segments at once, or gathers them while data is in flight (RFC 896).
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_nodelay(&$self, nodelay: bool) -> std::io::Result<()> {
            $stream.set_options(|options| options.nodelay = nodelay);
            Ok(())
        }

        /// Whether every segment is acknowledged at once. Off by default.
        ///
        /// # Errors
        ///
        /// None.
        pub fn quickack(&$self) -> std::io::Result<bool> {
            Ok($stream.options().quickack)
        }

        /// Acknowledges every segment at once, or waits a moment for one to go along with. Unlike
        /// the kernel's, the setting stays.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_quickack(&$self, quickack: bool) -> std::io::Result<()> {
            $stream.set_options(|options| options.quickack = quickack);
            Ok(())
        }

        /// The congestion control, if one was set; `None` is that of the stack's configuration.
        ///
        /// # Errors
        ///
        /// None.
        pub fn congestion_control(
            &$self,
        ) -> std::io::Result<Option<$crate::CongestionControl>> {
            Ok($stream.options().congestion_control)
        }

        /// Sets the congestion control (`TCP_CONGESTION` on Linux); `None` takes that of the
        /// stack's configuration. The connection goes on from the initial window.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_congestion_control(
            &$self,
            control: Option<$crate::CongestionControl>,
        ) -> std::io::Result<()> {
            $stream.set_options(|options| options.congestion_control = control);
            Ok(())
        }

        /// The time to live or hop limit of outgoing packets.
        ///
        /// # Errors
        ///
        /// None.
        pub fn ttl(&$self) -> std::io::Result<u32> {
            Ok($stream.ttl())
        }

        /// Sets the time to live or hop limit of outgoing packets, from 1 to 255.
        ///
        /// # Errors
        ///
        /// `InvalidInput` for any other value.
        pub fn set_ttl(&$self, ttl: u32) -> std::io::Result<()> {
            $stream.set_ttl(ttl)
        }

        /// How dropping the stream behaves; see [`set_linger`](Self::set_linger).
        ///
        /// # Errors
        ///
        /// None.
        pub fn linger(&$self) -> std::io::Result<Option<std::time::Duration>> {
            Ok($stream.options().linger)
        }

        /// Zero makes dropping the stream reset the connection; with any other value the remaining
        /// bytes are sent in the background. Dropping never blocks.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_linger(&$self, linger: Option<std::time::Duration>) -> std::io::Result<()> {
            $stream.set_options(|options| options.linger = linger);
            Ok(())
        }

        /// When an idle peer is probed, and given up; `None`, the default, for never.
        ///
        /// # Errors
        ///
        /// None.
        pub fn keepalive(&$self) -> std::io::Result<Option<$crate::KeepAlive>> {
            Ok($stream.options().keep_alive)
        }

        /// Sends keep-alive probes to a silent peer; the connection ends with `TimedOut` if they
        /// are not answered. [`KeepAlive::default`](crate::KeepAlive) has the kernel's intervals.
        ///
        /// # Errors
        ///
        /// `InvalidInput` if one of its values is zero.
        pub fn set_keepalive(
            &$self,
            keepalive: Option<$crate::KeepAlive>,
        ) -> std::io::Result<()> {
            let keepalive = keepalive.map($crate::stream::valid_keepalive).transpose()?;
            $stream.set_options(|options| options.keep_alive = keepalive);
            Ok(())
        }

        /// How long data may remain unacknowledged; `None`, the default, for the stack's own limit.
        ///
        /// # Errors
        ///
        /// None.
        pub fn user_timeout(&$self) -> std::io::Result<Option<std::time::Duration>> {
            Ok($stream.options().user_timeout)
        }

        /// Ends the connection with `TimedOut` once data has been unacknowledged for this long (RFC
        /// 5482, Linux's `TCP_USER_TIMEOUT`). A closed window of the peer counts too.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_user_timeout(
            &$self,
            timeout: Option<std::time::Duration>,
        ) -> std::io::Result<()> {
            $stream.set_options(|options| options.user_timeout = timeout);
            Ok(())
        }

        $crate::traffic_class::traffic_class_methods!(
            $self => $stream.options().traffic_class,
            class => $stream.set_options(|options| options.traffic_class = class)
        );

        /// Takes the error of the connection, if it failed and no call has returned the error yet.
        /// It is returned once: after it reads return the end of the stream, and writes fail with
        /// `BrokenPipe`.
        ///
        /// # Errors
        ///
        /// None.
        pub fn take_error(&$self) -> std::io::Result<Option<std::io::Error>> {
            Ok($stream.take_error().map(std::io::Error::from))
        }
    };
}

pub(crate) use {
    address_methods, option_methods, readiness_methods, reading_methods, writing_methods,
};
