//! Target addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// An address argument: the types that `std::net` and `tokio::net` accept.
///
/// A string is an IP address and a port, or with the feature `dns` a host name and a port, which
/// the stack's [resolver](crate::Net#names) looks up. Without that feature a host name is refused
/// with [`io::ErrorKind::InvalidInput`].
pub trait ToSocketAddrs: sealed::Sealed {}

/// A parsed address argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// The addresses, in the order to try them.
    Addresses(Vec<SocketAddr>),
    /// A host name, and a port.
    Name(String, u16),
}

pub(crate) mod sealed {
    use super::*;

    pub trait Sealed {
        /// Parses the argument, without a lookup.
        fn targets(&self) -> io::Result<Targets>;
    }

    macro_rules! is_address {
        ($($kind:ty),*) => {
            $(
                impl Sealed for $kind {
                    fn targets(&self) -> io::Result<Targets> {
                        Ok(Targets::Addresses(vec![(*self).into()]))
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
        fn targets(&self) -> io::Result<Targets> {
            Ok(Targets::Addresses(self.to_vec()))
        }
    }

    impl Sealed for str {
        fn targets(&self) -> io::Result<Targets> {
            if let Ok(address) = self.parse() {
                return Ok(Targets::Addresses(vec![address]));
            }
            let (host, port) = self.rsplit_once(':').ok_or_else(|| no_address(self))?;
            let port = port.parse().map_err(|_| no_address(self))?;
            name(host, port)
        }
    }

    impl Sealed for (&str, u16) {
        fn targets(&self) -> io::Result<Targets> {
            match self.0.parse::<IpAddr>() {
                Ok(address) => Ok(Targets::Addresses(vec![SocketAddr::new(address, self.1)])),
                Err(_) => name(self.0, self.1),
            }
        }
    }

    impl Sealed for (String, u16) {
        fn targets(&self) -> io::Result<Targets> {
            (self.0.as_str(), self.1).targets()
        }
    }

    impl Sealed for String {
        fn targets(&self) -> io::Result<Targets> {
            self.as_str().targets()
        }
    }

    impl<T: Sealed + ?Sized> Sealed for &T {
        fn targets(&self) -> io::Result<Targets> {
            (**self).targets()
        }
    }
}

impl ToSocketAddrs for [SocketAddr] {}
impl ToSocketAddrs for str {}
impl ToSocketAddrs for (&str, u16) {}
impl ToSocketAddrs for (String, u16) {}
impl ToSocketAddrs for String {}
impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}

/// Whether this may be a host name. A name whose last label is numeric is a mistyped address (RFC
/// 1123 section 2.1), and is not looked up.
fn name(host: &str, port: u16) -> io::Result<Targets> {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    let is_strange = |c: char| matches!(c, ':' | '[' | ']' | '/' | '@' | '%') || c.is_whitespace();
    if is_number || host.contains(is_strange) {
        return Err(no_address(host));
    }
    Ok(Targets::Name(host.to_owned(), port))
}

fn no_address(text: &str) -> io::Error {
    let message = format!("\"{text}\" is neither an IP address nor a host name, with a port");
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

pub(crate) fn none_given() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the list of addresses is empty")
}

#[cfg(test)]
mod tests {
    use super::sealed::Sealed as _;
    use super::*;

    #[test]
    fn text_is_an_address_a_name_or_refused() {
        let expected = Targets::Addresses(vec![([10, 0, 0, 1], 80).into()]);

        assert_eq!("10.0.0.1:80".targets().expect("an address"), expected);
        assert_eq!(("10.0.0.1", 80).targets().expect("an address"), expected);
        assert_eq!(String::from("10.0.0.1:80").targets().expect("an address"), expected);
        let v6 = Targets::Addresses(vec!["[::1]:80".parse().expect("an address")]);
        assert_eq!("[::1]:80".targets().expect("an address"), v6);
        assert_eq!(("::1", 80).targets().expect("an address"), v6);
        let name = Targets::Name("www.example.com".into(), 443);
        assert_eq!("www.example.com:443".targets().expect("a name"), name);
        assert_eq!(("www.example.com", 443).targets().expect("a name"), name);
        assert_eq!((String::from("www.example.com"), 443).targets().expect("a name"), name);
        for text in
            ["", ":80", "host", "host:", "host:http", "host:65536", "10.0.0:80", "10.0.0.256:80"]
        {
            let error = text.targets().expect_err(text);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text}");
        }
        for host in ["::1:80:", "[::1]", "a b", "a/b", "a@b", "1.2.3.4.", "fe80::1%0", "."] {
            let error = (host, 80).targets().expect_err(host);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{host}");
        }
    }
}
