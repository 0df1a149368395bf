//! Requests for a port of a VDE switch: any bytes, and requests with any mistakes.

use arbitrary::Unstructured;
use netstack::device::{VdeRequest, VdeRequestError};

const MAGIC: u32 = 0xfeed_face;
/// `AF_UNIX` of Linux.
const UNIX: u16 = 1;
const PATH_BYTES: usize = 108;

/// Reads the bytes as a request, and then the request that they describe.
///
/// Whatever is taken is safe to use and to print, and is read again as it was; each mistake is the one
/// that was made.
///
/// # Panics
///
/// If one of these invariants does not hold.
pub fn vde_request(data: &[u8]) {
    if let Ok(request) = VdeRequest::parse(data) {
        assert_usable(&request);
    }
    if let Ok(told) = Told::new(&mut Unstructured::new(data)) {
        let bytes = told.bytes();
        let parsed = VdeRequest::parse(&bytes);
        if let Ok(request) = &parsed {
            assert_usable(request);
        }
        assert_eq!(parsed.map(|request| (request.port, request.socket)), told.expected(&bytes));
    }
}

fn assert_usable(request: &VdeRequest) {
    let path = request.socket.as_os_str().as_encoded_bytes();
    assert!(request.socket.is_absolute() && path.len() < PATH_BYTES, "{request:?}");
    assert!(!path.contains(&0), "{request:?}");
    assert!(!request.description.chars().any(char::is_control), "{request:?}");
    assert!(request.port != Some(0), "{request:?}");
    let again = request.encode().expect("what was read can be written");
    let again = VdeRequest::parse(&again).expect("what was written can be read");
    assert_eq!((again.port, &again.socket), (request.port, &request.socket));
    assert!(request.description.starts_with(&again.description), "{request:?}");
}

/// A request in parts.
#[derive(Debug)]
struct Told {
    magic: u32,
    version: u32,
    kind: u32,
    family: u16,
    path: Vec<u8>,
    description: Vec<u8>,
    /// Where it is cut off.
    len: usize,
}

impl Told {
    fn new(story: &mut Unstructured<'_>) -> arbitrary::Result<Self> {
        let one_in = |story: &mut Unstructured<'_>, of: u8| story.ratio(1, of);
        let mut told = Self {
            magic: if one_in(story, 16)? { story.arbitrary()? } else { MAGIC },
            version: if one_in(story, 4)? { story.int_in_range(0..=4)? } else { 3 },
            kind: if one_in(story, 8)? { story.arbitrary()? } else { 0 },
            family: if one_in(story, 16)? { story.arbitrary()? } else { UNIX },
            path: story.arbitrary()?,
            description: story.arbitrary()?,
            len: usize::MAX,
        };
        if one_in(story, 2)? {
            told.kind = u32::from(story.arbitrary::<u16>()?) << 8 | u32::from(one_in(story, 4)?);
        }
        if !one_in(story, 8)? {
            told.path.insert(0, b'/');
        }
        told.path.truncate(PATH_BYTES);
        if one_in(story, 8)? {
            told.len = story.int_in_range(0..=140)?;
        }
        Ok(told)
    }

    fn is_version_1(&self) -> bool {
        self.version == 0 || self.version == 1
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_ne_bytes().to_vec();
        match self.is_version_1() {
            // Its type, and a hardware address.
            true => bytes.extend([&self.version.to_ne_bytes()[..], &[2; 6]].concat()),
            false => bytes.extend([self.version.to_ne_bytes(), self.kind.to_ne_bytes()].concat()),
        }
        bytes.extend(self.family.to_ne_bytes());
        let mut path = self.path.clone();
        path.resize(PATH_BYTES, 0);
        bytes.extend(path);
        bytes.extend(&self.description);
        bytes.truncate(self.len);
        bytes
    }

    /// The port and the path, or the first mistake.
    fn expected(&self, bytes: &[u8]) -> Result<(Option<u32>, std::path::PathBuf), VdeRequestError> {
        let len = bytes.len();
        let short =
            |needed: usize| if len < needed { Err(VdeRequestError::Short(len)) } else { Ok(()) };
        short(4)?;
        if self.magic != MAGIC {
            return Err(VdeRequestError::Magic(self.magic));
        }
        short(8)?;
        let (head, port) = match (self.version, self.kind & 0xff) {
            (0 | 1, _) => (14, 0),
            (3, kind) => {
                short(12)?;
                match kind {
                    0 => (12, self.kind >> 8),
                    1 => (12, 0),
                    _ => return Err(VdeRequestError::Type(self.kind)),
                }
            }
            (other, _) => return Err(VdeRequestError::Version(other)),
        };
        short(head + 2 + PATH_BYTES)?;
        if self.family != UNIX {
            return Err(VdeRequestError::Family(self.family));
        }
        let end = self.path.iter().position(|byte| *byte == 0).unwrap_or(self.path.len());
        if end == PATH_BYTES || self.path.first() != Some(&b'/') {
            return Err(VdeRequestError::Path);
        }
        let path = std::os::unix::ffi::OsStrExt::from_bytes(&self.path[..end]);
        Ok(((port > 0).then_some(port), std::path::Path::new::<std::ffi::OsStr>(path).to_owned()))
    }
}
