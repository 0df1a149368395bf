//! Where the parts of a datagram are in the memory of the program: the arguments of `sendto` and
//! `recvfrom`, and `struct msghdr` of `sendmsg` and its like.

use crate::run::call::Call;
use rustix::io::Errno;

/// The places of a datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The payload, in parts.
    pub(crate) parts: Vec<Part>,
    /// The address, or 0.
    pub(crate) name: u64,
    pub(crate) name_len: u64,
    /// Where the length of the address is.
    pub(crate) name_len_at: u64,
    /// The message's header, or 0.
    pub(crate) header: u64,
    /// The room for control messages.
    control: Part,
}

/// A control message: its level, its type, and its data.
pub(crate) type Control = (libc::c_int, libc::c_int, Vec<u8>);

/// A part of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) at: u64,
    pub(crate) len: u64,
}

/// The length of a `msghdr` of 64-bit programs, and the places of its fields.
const HEADER: usize = 56;
const NAME: usize = 0;
const NAME_LEN: usize = 8;
const PARTS: usize = 16;
const PARTS_COUNT: usize = 24;
const CONTROL: usize = 32;
const CONTROL_LEN: usize = 40;
const FLAGS: usize = 48;
/// The length of a `mmsghdr`, which is a `msghdr` and the length of the message.
const MANY_HEADER: u64 = 64;
const MESSAGE_LEN: u64 = 56;
/// The length of an `iovec`.
const PART: usize = 16;
/// More parts, and more messages at once, are an error to the kernel (`UIO_MAXIOV`).
const PARTS_MAX: u64 = 1024;

impl Message {
    /// Of `sendto` and `recvfrom`. `name_len` is the length to the one, and its place to the other.
    pub(crate) fn of_arguments(call: &Call) -> Self {
        Self {
            parts: vec![Part { at: call.argument(1), len: call.argument(2) }],
            name: call.argument(4),
            name_len: call.argument(5),
            name_len_at: call.argument(5),
            header: 0,
            control: Part { at: 0, len: 0 },
        }
    }

    /// Reads a header.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is not all there; `EMSGSIZE` if it has too many parts.
    pub(crate) fn read(call: &Call, header: u64) -> Result<Self, Errno> {
        let mut bytes = [0; HEADER];
        call.read(header, &mut bytes)?;
        let count = word(&bytes, PARTS_COUNT);
        if count > PARTS_MAX {
            return Err(Errno::MSGSIZE);
        }
        let mut parts = vec![0; count as usize * PART];
        call.read(word(&bytes, PARTS), &mut parts)?;
        let parts = parts.chunks_exact(PART);
        Ok(Self {
            parts: parts.map(|part| Part { at: word(part, 0), len: word(part, 8) }).collect(),
            name: word(&bytes, NAME),
            name_len: word(&bytes, NAME_LEN) & u64::from(u32::MAX),
            name_len_at: header + NAME_LEN as u64,
            header,
            control: Part { at: word(&bytes, CONTROL), len: word(&bytes, CONTROL_LEN) },
        })
    }

    /// Reads the headers of `sendmmsg` and `recvmmsg`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub(crate) fn read_many(call: &Call, first: u64, count: u64) -> Result<Vec<Self>, Errno> {
        (0..count.min(PARTS_MAX)).map(|it| Self::read(call, first + it * MANY_HEADER)).collect()
    }

    /// The room for a payload, or its length.
    pub(crate) fn len(&self) -> u64 {
        self.parts.iter().fold(0, |len, part| len.saturating_add(part.len))
    }

    /// Reads the payload.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is not all there; `EMSGSIZE` if it is longer than `len_max`.
    pub(crate) fn payload(&self, call: &Call, len_max: usize) -> Result<Vec<u8>, Errno> {
        let len = usize::try_from(self.len()).ok().filter(|len| *len <= len_max);
        let mut payload = vec![0; len.ok_or(Errno::MSGSIZE)?];
        let mut rest = payload.as_mut_slice();
        for part in &self.parts {
            let (piece, others) = rest.split_at_mut(part.len as usize);
            call.read(part.at, piece)?;
            rest = others;
        }
        Ok(payload)
    }

    /// Writes as much of a payload as there is room for; returns how much.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the memory is not there.
    pub(crate) fn write_payload(&self, call: &Call, payload: &[u8]) -> Result<usize, Errno> {
        let mut rest = payload;
        for part in &self.parts {
            let len = usize::try_from(part.len).unwrap_or(usize::MAX).min(rest.len());
            let (piece, others) = rest.split_at(len);
            call.write(part.at, piece)?;
            rest = others;
        }
        Ok(payload.len() - rest.len())
    }

    /// Writes into the header, if there is one, that there is no control message, and the flags.
    ///
    /// # Errors
    ///
    /// As [`write_payload`](Self::write_payload).
    pub(crate) fn write_flags(&self, call: &Call, flags: libc::c_int) -> Result<(), Errno> {
        if self.header == 0 {
            return Ok(());
        }
        call.write(self.header + CONTROL_LEN as u64, &0_u64.to_ne_bytes())?;
        call.write(self.header + FLAGS as u64, &flags.to_ne_bytes())
    }

    /// Writes control messages into the header, those that there is room for, after the flags.
    ///
    /// # Errors
    ///
    /// As [`write_payload`](Self::write_payload).
    pub(crate) fn write_controls(&self, call: &Call, controls: &[Control]) -> Result<(), Errno> {
        /// The length of a `cmsghdr`.
        const HEADER: usize = 16;
        let mut bytes = Vec::new();
        for (level, kind, data) in controls {
            let len = HEADER + data.len();
            if (bytes.len() + len) as u64 > self.control.len {
                break;
            }
            bytes.extend((len as u64).to_ne_bytes());
            bytes.extend([level.to_ne_bytes(), kind.to_ne_bytes()].concat());
            bytes.extend(data);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        if self.header == 0 || bytes.is_empty() {
            return Ok(());
        }
        bytes.truncate(usize::try_from(self.control.len).unwrap_or(usize::MAX));
        call.write(self.control.at, &bytes)?;
        call.write(self.header + CONTROL_LEN as u64, &(bytes.len() as u64).to_ne_bytes())
    }

    /// Writes the length of one of many messages.
    ///
    /// # Errors
    ///
    /// As [`write_payload`](Self::write_payload).
    pub(crate) fn write_len(&self, call: &Call, len: usize) -> Result<(), Errno> {
        call.write(self.header + MESSAGE_LEN, &(len as u32).to_ne_bytes())
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes[at..].first_chunk().expect("the structure has this field");
    u64::from_ne_bytes(*word)
}
