//! The options of UDP sockets, which the async and the blocking one have in common.

/// Options of a UDP socket.
macro_rules! udp_option_methods {
    ($self:ident => $socket:expr) => {
        /// The time to live or hop limit of outgoing unicast packets.
        ///
        /// # Errors
        ///
        /// None.
        pub fn ttl(&$self) -> std::io::Result<u32> {
            Ok($socket.ttl())
        }

        /// Sets the time to live or hop limit of outgoing unicast packets, from 1 to 255.
        ///
        /// # Errors
        ///
        /// `InvalidInput` for any other value.
        pub fn set_ttl(&$self, ttl: u32) -> std::io::Result<()> {
            $socket.set_ttl(ttl)
        }

        /// Whether other sockets that have this set may bind to the address and port of this one
        /// (`SO_REUSEADDR`). Off by default.
        ///
        /// # Errors
        ///
        /// None.
        pub fn reuse_address(&$self) -> std::io::Result<bool> {
            Ok($socket.options().reuse_address)
        }

        /// Lets other sockets that have this set bind to the address and port of this one, or no
        /// longer. For this socket's own bind it is an
        /// [option](netcore::udp::Options::reuse_address), which also has who receives what.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_reuse_address(&$self, reuse: bool) -> std::io::Result<()> {
            $socket.set_options(|options| options.reuse_address = reuse);
            Ok(())
        }

        /// Whether other sockets that have this set may bind to the address and port of this one
        /// (`SO_REUSEPORT`). Off by default.
        ///
        /// # Errors
        ///
        /// None.
        pub fn reuse_port(&$self) -> std::io::Result<bool> {
            Ok($socket.options().reuse_port)
        }

        /// As [`set_reuse_address`](Self::set_reuse_address), for `SO_REUSEPORT`.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_reuse_port(&$self, reuse: bool) -> std::io::Result<()> {
            $socket.set_options(|options| options.reuse_port = reuse);
            Ok(())
        }

        /// Whether datagrams may be sent to broadcast addresses. Off by default.
        ///
        /// # Errors
        ///
        /// None.
        pub fn broadcast(&$self) -> std::io::Result<bool> {
            Ok($socket.options().broadcast)
        }

        /// Allows datagrams to broadcast addresses, or forbids them: sending one fails with
        /// `PermissionDenied` then, for a subnet's with the next call.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_broadcast(&$self, broadcast: bool) -> std::io::Result<()> {
            $socket.set_options(|options| options.broadcast = broadcast);
            Ok(())
        }

        /// Whether datagrams to an IPv4 group come back to this stack's members. On by default.
        ///
        /// # Errors
        ///
        /// None.
        pub fn multicast_loop_v4(&$self) -> std::io::Result<bool> {
            Ok($socket.options().multicast_loop_v4)
        }

        /// Sets whether datagrams to an IPv4 group come back to this stack's members.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_multicast_loop_v4(&$self, multicast_loop: bool) -> std::io::Result<()> {
            $socket.set_options(|options| options.multicast_loop_v4 = multicast_loop);
            Ok(())
        }

        /// Whether datagrams to an IPv6 group come back to this stack's members. On by default.
        ///
        /// # Errors
        ///
        /// None.
        pub fn multicast_loop_v6(&$self) -> std::io::Result<bool> {
            Ok($socket.options().multicast_loop_v6)
        }

        /// Sets whether datagrams to an IPv6 group come back to this stack's members.
        ///
        /// # Errors
        ///
        /// None.
        pub fn set_multicast_loop_v6(&$self, multicast_loop: bool) -> std::io::Result<()> {
            $socket.set_options(|options| options.multicast_loop_v6 = multicast_loop);
            Ok(())
        }

        /// The time to live of datagrams to a group, which is IPv6's hop limit too. 1 by default:
        /// they stay on the link.
        ///
        /// # Errors
        ///
        /// None.
        pub fn multicast_ttl_v4(&$self) -> std::io::Result<u32> {
            Ok(u32::from($socket.options().multicast_hop_limit))
        }

        /// Sets the time to live of datagrams to a group, and their hop limit, from 0 to 255.
        ///
        /// # Errors
        ///
        /// `InvalidInput` for any other value.
        pub fn set_multicast_ttl_v4(&$self, ttl: u32) -> std::io::Result<()> {
            let ttl = $crate::stream::valid_byte(ttl)?;
            $socket.set_options(|options| options.multicast_hop_limit = ttl);
            Ok(())
        }

        $crate::traffic_class::traffic_class_methods!(
            $self => $socket.options().traffic_class,
            class => $socket.set_options(|options| options.traffic_class = class)
        );

        /// Joins an IPv6 multicast group. A stack has one link, so `interface` is ignored.
        ///
        /// # Errors
        ///
        /// `InvalidInput` if it is not a multicast address; `AddrInUse` if the socket has joined it
        /// already; `QuotaExceeded` if it has joined too many.
        pub fn join_multicast_v6(
            &$self,
            multiaddr: &std::net::Ipv6Addr,
            interface: u32,
        ) -> std::io::Result<()> {
            let _ = interface;
            Ok($socket.join((*multiaddr).into())?)
        }

        /// Leaves an IPv6 group.
        ///
        /// # Errors
        ///
        /// `AddrNotAvailable` if the socket is not in it.
        pub fn leave_multicast_v6(
            &$self,
            multiaddr: &std::net::Ipv6Addr,
            interface: u32,
        ) -> std::io::Result<()> {
            let _ = interface;
            Ok($socket.leave((*multiaddr).into())?)
        }

        /// Takes the error that the network reported for an earlier datagram.
        ///
        /// # Errors
        ///
        /// None.
        pub fn take_error(&$self) -> std::io::Result<Option<std::io::Error>> {
            Ok($socket.take_error().map(std::io::Error::from))
        }
    };
}

pub(crate) use udp_option_methods;
