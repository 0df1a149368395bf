//! What can be given where an address is wanted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What the functions of this crate take as an address: what `std::net` and `tokio::net` take, as
/// far as it needs no name to be looked up.
///
/// Text must be an IP address and a port. A stack has no resolver of its own; a host name is
/// refused with [`io::ErrorKind::InvalidInput`].
pub trait ToSocketAddrs: sealed::Sealed {}

pub(crate) mod sealed {
    use super::*;

    pub trait Sealed {
        /// The addresses, in the order in which they are to be tried.
        fn addresses(&self) -> io::Result<Vec<SocketAddr>>;
    }

    macro_rules! is_address {
        ($($kind:ty),*) => {
            $(
                impl Sealed for $kind {
                    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
                        Ok(vec![(*self).into()])
                    }
                }

                impl ToSocketAddrs for $kind {}
            )*
        };
    }

    is_address!(
        SocketAddr,
        SocketAddrV4,
        SocketAddrV6,
        (IpAddr, u16),
        (Ipv4Addr, u16),
        (Ipv6Addr, u16)
    );

    impl Sealed for [SocketAddr] {
        fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
            Ok(self.to_vec())
        }
    }

    impl Sealed for str {
        fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
            match self.parse() {
                Ok(address) => Ok(vec![address]),
                Err(_) => Err(no_address(self)),
            }
        }
    }

    impl Sealed for (&str, u16) {
        fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
            match self.0.parse::<IpAddr>() {
                Ok(address) => Ok(vec![SocketAddr::new(address, self.1)]),
                Err(_) => Err(no_address(self.0)),
            }
        }
    }

    impl Sealed for String {
        fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
            self.as_str().addresses()
        }
    }

    impl<T: Sealed + ?Sized> Sealed for &T {
        fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
            (**self).addresses()
        }
    }
}

impl ToSocketAddrs for [SocketAddr] {}
impl ToSocketAddrs for str {}
impl ToSocketAddrs for (&str, u16) {}
impl ToSocketAddrs for String {}
impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}

fn no_address(text: &str) -> io::Error {
    let message = format!("\"{text}\" is not an IP address and port, and there is no resolver");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

pub(crate) fn none_given() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no address was given")
}

#[cfg(test)]
mod tests {
    use super::sealed::Sealed as _;
    use super::*;

    #[test]
    fn text_is_an_address_or_refused() {
        let expected: SocketAddr = ([10, 0, 0, 1], 80).into();

        assert_eq!("10.0.0.1:80".addresses().expect("an address"), [expected]);
        assert_eq!(("10.0.0.1", 80).addresses().expect("an address"), [expected]);
        assert_eq!(String::from("10.0.0.1:80").addresses().expect("an address"), [expected]);
        let error = "localhost:80".addresses().expect_err("a name");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
