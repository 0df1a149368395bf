//! The request of a client for a port, and the answer of the switch.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a client writes to the control socket of a VDE switch.
///
/// The numbers are in the order of the machine: magic `feedface`, version, type, then the address of
/// the client's datagram socket (`sockaddr_un` of 110 bytes) and a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VdeRequest {
    /// The number of the port that it asks for; `None` for any.
    pub port: Option<u32>,
    /// The path of its datagram socket, absolute, at most 107 bytes.
    pub socket: PathBuf,
    /// How it names itself. At most 128 bytes are sent.
    pub description: String,
}

/// Why bytes are no request for a port of a VDE switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VdeRequestError {
    /// Less than a request without a description.
    Short(usize),
    /// It does not begin with the magic number.
    Magic(u32),
    /// Neither version 3 nor 1.
    Version(u32),
    /// Not a request for a port.
    Type(u32),
    /// The address is none of the UNIX family.
    Family(u16),
    /// The path of the socket is relative, empty, or too long.
    Path,
}

/// The most bytes of a request that a switch reads.
pub(crate) const REQUEST_BYTES_MAX: usize = 256;
/// The bytes of a `sockaddr_un`: a family, and a path.
pub(crate) const ADDRESS_BYTES: usize = 2 + PATH_BYTES;
/// The bytes of a path with its terminating zero (unix(7)).
const PATH_BYTES: usize = 108;
const DESCRIPTION_BYTES_MAX: usize = 128;
const HARDWARE_ADDRESS_BYTES: usize = 6;

const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;
/// The version that has no number: the type stands in its place.
const TYPES_OF_VERSION_1: [u32; 2] = [NEW_PORT, NEW_PORT_0];
/// The low byte of a type; the others are the number of a port, or 0.
const TYPE_BITS: u32 = 0xff;
const NEW_PORT: u32 = 0;
/// A port of any number that is not managed.
const NEW_PORT_0: u32 = 1;
/// `AF_UNIX` of Linux.
const FAMILY: u16 = 1;

impl VdeRequest {
    /// Reads a request of version 3, or of version 1 with the client's hardware address.
    ///
    /// Control characters in the description become `?`.
    ///
    /// # Errors
    ///
    /// The reason why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, VdeRequestError> {
        let mut rest = Rest { bytes, len: bytes.len() };
        match rest.number()? {
            MAGIC => {}
            other => return Err(VdeRequestError::Magic(other)),
        }
        let kind = match rest.number()? {
            VERSION => rest.number()?,
            other if TYPES_OF_VERSION_1.contains(&(other & TYPE_BITS)) => {
                rest.take(HARDWARE_ADDRESS_BYTES)?;
                other
            }
            other => return Err(VdeRequestError::Version(other)),
        };
        let port = match (kind & TYPE_BITS, kind >> 8) {
            (NEW_PORT, 0) | (NEW_PORT_0, _) => None,
            (NEW_PORT, port) => Some(port),
            _ => return Err(VdeRequestError::Type(kind)),
        };
        let socket = parse_address(rest.take(ADDRESS_BYTES)?)?;
        Ok(Self { port, socket, description: description(rest.bytes) })
    }

    /// Writes a request of version 3.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a path that is relative or longer than 107 bytes, and for the number of a
    /// port above 16,777,215.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let port = self.port.unwrap_or(0);
        if port > u32::MAX >> 8 {
            let message = format!("{port} is not the number of a port");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let mut bytes = Vec::new();
        for number in [MAGIC, VERSION, NEW_PORT | port << 8] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(address(&self.socket)?);
        let mut end = self.description.len().min(DESCRIPTION_BYTES_MAX);
        while !self.description.is_char_boundary(end) {
            end -= 1;
        }
        bytes.extend(&self.description.as_bytes()[..end]);
        Ok(bytes)
    }
}

/// The address of a socket, as the kernel has it.
///
/// # Errors
///
/// `InvalidInput` for a path that is relative or too long.
pub(crate) fn address(path: &Path) -> io::Result<[u8; ADDRESS_BYTES]> {
    let text = path.as_os_str().as_bytes();
    if text.len() >= PATH_BYTES || !path.is_absolute() {
        let message = format!(
            "{}: the path of a socket is absolute and has at most {} bytes",
            path.display(),
            PATH_BYTES - 1
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut address = [0; ADDRESS_BYTES];
    address[..2].copy_from_slice(&FAMILY.to_ne_bytes());
    address[2..2 + text.len()].copy_from_slice(text);
    Ok(address)
}

/// The path in an address.
///
/// # Errors
///
/// The reason why there is none.
pub(crate) fn parse_address(address: &[u8]) -> Result<PathBuf, VdeRequestError> {
    let mut rest = Rest { bytes: address, len: address.len() };
    let family = rest.take(2)?.try_into().map_or(0, u16::from_ne_bytes);
    if family != FAMILY {
        return Err(VdeRequestError::Family(family));
    }
    let path = rest.take(PATH_BYTES)?;
    let end = path.iter().position(|byte| *byte == 0).ok_or(VdeRequestError::Path)?;
    let path = Path::new(OsStr::from_bytes(&path[..end]));
    // An abstract address begins with a zero: nothing shows whose it is.
    path.is_absolute().then(|| path.to_owned()).ok_or(VdeRequestError::Path)
}

/// What is shown of a description: it is the client's, and lists print it.
fn description(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end.min(DESCRIPTION_BYTES_MAX)]);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// What is left of a request.
struct Rest<'a> {
    bytes: &'a [u8],
    /// The length of the whole.
    len: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], VdeRequestError> {
        let (taken, rest) =
            self.bytes.split_at_checked(len).ok_or(VdeRequestError::Short(self.len))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, VdeRequestError> {
        let bytes = self.take(4)?.try_into().map_err(|_| VdeRequestError::Short(self.len))?;
        Ok(u32::from_ne_bytes(bytes))
    }
}

impl fmt::Display for VdeRequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(len) => write!(f, "{len} bytes are no whole request"),
            Self::Magic(number) => write!(f, "{number:08x} is not the magic number feedface"),
            Self::Version(number) => write!(f, "version {number} is neither 3 nor 1"),
            Self::Type(number) => write!(f, "type {number:#x} is no request for a port"),
            Self::Family(number) => write!(f, "address family {number} is not UNIX"),
            Self::Path => f.write_str("the path of the socket is relative, empty or too long"),
        }
    }
}

impl std::error::Error for VdeRequestError {}

impl From<VdeRequestError> for io::Error {
    fn from(error: VdeRequestError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(port: Option<u32>) -> VdeRequest {
        let description = "vdens user=root pid=7".to_owned();
        VdeRequest { port, socket: "/tmp/sw/.00007-00000".into(), description }
    }

    #[test]
    fn a_request_is_what_vdeplug_sends() {
        let bytes = request(Some(1)).encode().expect("right");

        // Little-endian, as seen from libvdeplug on x86.
        #[cfg(target_endian = "little")]
        assert_eq!(bytes[..16], *b"\xce\xfa\xed\xfe\x03\0\0\0\0\x01\0\0\x01\0/t");
        assert_eq!(bytes.len(), 122 + 21);
        assert_eq!(VdeRequest::parse(&bytes), Ok(request(Some(1))));
    }

    #[test]
    fn a_request_of_version_1_has_a_hardware_address() {
        let third = request(None).encode().expect("right");
        let mut first = third[..4].to_vec();
        first.extend(0_u32.to_ne_bytes());
        first.extend([2, 0, 0, 0, 0, 1]);
        first.extend(&third[12..]);

        assert_eq!(VdeRequest::parse(&first), Ok(request(None)));
    }

    #[test]
    fn each_mistake_in_a_request_is_named() {
        let right = request(None).encode().expect("right");
        let with = |at: usize, bytes: &[u8]| {
            let mut wrong = right.clone();
            wrong[at..at + bytes.len()].copy_from_slice(bytes);
            VdeRequest::parse(&wrong).expect_err("wrong")
        };
        assert_eq!(with(0, &7_u32.to_ne_bytes()), VdeRequestError::Magic(7));
        assert_eq!(with(4, &2_u32.to_ne_bytes()), VdeRequestError::Version(2));
        assert_eq!(with(8, &2_u32.to_ne_bytes()), VdeRequestError::Type(2));
        assert_eq!(with(12, &2_u16.to_ne_bytes()), VdeRequestError::Family(2));
        assert_eq!(with(14, b"t"), VdeRequestError::Path);
        assert_eq!(with(14, &[0]), VdeRequestError::Path);
        assert_eq!(with(14, &[b'/'; 108]), VdeRequestError::Path);
        assert_eq!(VdeRequest::parse(&right[..121]), Err(VdeRequestError::Short(121)));
    }

    #[test]
    fn a_path_that_the_kernel_would_cut_is_an_error() {
        let long = VdeRequest { socket: format!("/{}", "a".repeat(107)).into(), ..request(None) };
        let relative = VdeRequest { socket: "a".into(), ..request(None) };
        for wrong in [long, relative] {
            let error = wrong.encode().expect_err("wrong");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
    }

    #[test]
    fn a_description_cannot_break_a_list() {
        let description = "a\nport 1\u{1b}[2J".to_owned();
        let bytes = VdeRequest { description, ..request(None) }.encode().expect("right");
        assert_eq!(VdeRequest::parse(&bytes).expect("right").description, "a?port 1?[2J");
    }

    proptest! {
        #[test]
        fn a_request_is_read_as_it_was_written(
            port in proptest::option::of(1_u32..1 << 24),
            path in "/[a-z/.é]{0,50}",
            description in "[a-zA-Zé ]{0,200}",
        ) {
            let sent = VdeRequest { port, socket: path.into(), description };
            let read = VdeRequest::parse(&sent.encode().expect("right")).expect("right");
            prop_assert!(sent.description.starts_with(&read.description));
            prop_assert_eq!((read.port, read.socket), (sent.port, sent.socket));
        }
    }
}
