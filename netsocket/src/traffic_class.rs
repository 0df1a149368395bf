//! The differentiated services field of the IP header (RFC 2474).

/// The traffic class, under the names that it has in each family.
macro_rules! traffic_class_methods {
    ($self:ident => $get:expr, $class:ident => $set:expr) => {
        /// The differentiated services field of outgoing packets (RFC 2474), without its two lowest
        /// bits.
        ///
        /// # Errors
        ///
        /// None.
        pub fn tos_v4(&$self) -> std::io::Result<u32> {
            Ok(u32::from($get))
        }

        /// Sets the differentiated services field of outgoing packets, for IPv6 too.
        ///
        /// # Errors
        ///
        /// `InvalidInput` above 255.
        pub fn set_tos_v4(&$self, tos: u32) -> std::io::Result<()> {
            let $class = $crate::stream::valid_byte(tos)?;
            $set;
            Ok(())
        }

        /// The same as [`tos_v4`](Self::tos_v4), under the name that IPv6 has for it.
        ///
        /// # Errors
        ///
        /// None.
        pub fn tclass_v6(&$self) -> std::io::Result<u32> {
            $self.tos_v4()
        }

        /// The same as [`set_tos_v4`](Self::set_tos_v4), under the name that IPv6 has for it.
        ///
        /// # Errors
        ///
        /// `InvalidInput` above 255.
        pub fn set_tclass_v6(&$self, tclass: u32) -> std::io::Result<()> {
            $self.set_tos_v4(tclass)
        }
    };
}

pub(crate) use traffic_class_methods;
