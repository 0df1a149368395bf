//! Netlink messages: requests out of datagrams, and answers in them.

use crate::netlink::failure::Failure;
use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_MULTIPART, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;

/// A message to the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// The port of its sender.
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
    /// Header and payload.
    whole: &'a [u8],
}

/// What an acknowledgement has, as the options of the socket say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AckOptions {
    /// `NETLINK_EXT_ACK`.
    pub(crate) with_text: bool,
    /// `NETLINK_CAP_ACK`.
    pub(crate) without_request: bool,
}

pub(crate) const HEADER: usize = 16;
/// The most of several messages in one datagram: a page, as in the kernel's first one of a dump.
/// Programs have room for that.
const DATAGRAM_BYTES: usize = 3712;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;

impl<'a> Request<'a> {
    /// The messages of a datagram from this port, up to the first that is cut.
    pub(crate) fn all(datagram: &'a [u8], port: u32) -> impl Iterator<Item = Self> {
        let mut rest = datagram;
        std::iter::from_fn(move || {
            let buffer = NetlinkBuffer::new_checked(rest).ok()?;
            let len = usize::try_from(buffer.length()).ok()?;
            let whole = rest.get(..len)?;
            let request = Self {
                kind: buffer.message_type(),
                flags: buffer.flags(),
                sequence: buffer.sequence_number(),
                port,
                payload: whole.get(HEADER..)?,
                whole,
            };
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            Some(request)
        })
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// A message to its sender.
    pub(crate) fn answer(&self, message: &RouteNetlinkMessage, flags: u16) -> Vec<u8> {
        let (kind, len) = (message.message_type(), Emitable::buffer_len(message));
        self.encode(kind, flags, len, |payload| message.serialize(payload))
    }

    /// As [`answer`](Self::answer), of bytes.
    pub(crate) fn answer_raw(&self, kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        self.encode(kind, flags, payload.len(), |place| place.copy_from_slice(payload))
    }

    fn encode(&self, kind: u16, flags: u16, len: usize, write: impl FnOnce(&mut [u8])) -> Vec<u8> {
        encode(kind, flags, self.sequence, self.port, len, write)
    }

    /// The end of a dump.
    pub(crate) fn done(&self) -> Vec<u8> {
        self.answer_raw(NLMSG_DONE, NLM_F_MULTIPART, &0_i32.to_ne_bytes())
    }

    /// The acknowledgement, or the failure.
    pub(crate) fn end(&self, failure: Option<&Failure>, options: AckOptions) -> Vec<u8> {
        let code = failure.map_or(0, |failure| -failure.errno.raw_os_error());
        let mut payload = code.to_ne_bytes().to_vec();
        let mut flags = 0;
        if failure.is_some() && !options.without_request {
            payload.extend(self.whole);
            payload.resize(payload.len().next_multiple_of(4), 0);
        } else {
            payload.extend(&self.whole[..HEADER]);
            flags |= NLM_F_CAPPED;
        }
        if options.with_text
            && let Some(text) = failure.and_then(|failure| failure.text.as_deref())
        {
            let text = DefaultNla::new(ERROR_TEXT, [text.as_bytes(), &[0]].concat());
            let start = payload.len();
            payload.resize(start + text.buffer_len(), 0);
            text.emit(&mut payload[start..]);
            flags |= NLM_F_ACK_TLVS;
        }
        self.answer_raw(NLMSG_ERROR, flags, &payload)
    }
}

/// A message to nobody in particular.
pub(crate) fn notification(message: &RouteNetlinkMessage) -> Vec<u8> {
    let (kind, len) = (message.message_type(), Emitable::buffer_len(message));
    encode(kind, 0, 0, 0, len, |payload| message.serialize(payload))
}

/// That notifications were lost.
pub(crate) fn overrun() -> Vec<u8> {
    encode(NLMSG_OVERRUN, 0, 0, 0, 0, |_| {})
}

/// Makes the end of something of its beginning: `RTM_DELADDR` of `RTM_NEWADDR` and so on.
pub(crate) fn make_end(message: &mut [u8]) {
    message[4] += 1;
}

fn encode(
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    len: usize,
    write: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut message = vec![0; HEADER + len];
    let mut header = NetlinkHeader::default();
    header.length = message.len() as u32;
    (header.message_type, header.flags) = (kind, flags);
    (header.sequence_number, header.port_number) = (sequence, port);
    header.emit(&mut message);
    write(&mut message[HEADER..]);
    message
}

/// Puts messages into as few datagrams as they need.
pub(crate) fn datagrams(messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for message in messages {
        match datagrams.last_mut() {
            Some(last) if last.len().next_multiple_of(4) + message.len() <= DATAGRAM_BYTES => {
                last.resize(last.len().next_multiple_of(4), 0);
                last.extend(message);
            }
            _ => datagrams.push(message),
        }
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn request(payload: &[u8]) -> Vec<u8> {
        encode(22, 5, 7, 0, payload.len(), |place| place.copy_from_slice(payload))
    }

    #[test]
    fn requests_of_a_datagram_are_found() {
        let datagram = [request(b"abcd"), request(b"ef"), vec![0, 0], request(b"")].concat();

        let all: Vec<_> = Request::all(&datagram, 9).collect();

        assert_eq!(all.len(), 3);
        assert_eq!((all[1].payload, all[1].sequence, all[1].port), (&b"ef"[..], 7, 9));
        assert_eq!(Request::all(&datagram[..18], 9).count(), 0, "it is cut");
        assert_eq!(Request::all(&[0; 64], 9).count(), 0, "its length is 0");
    }

    #[test]
    fn a_failure_has_its_text_where_the_program_wants_it() {
        let datagram = request(b"abcd");
        let request = Request::all(&datagram, 9).next().expect("a request");
        let failure = Failure::new(Errno::INVAL, "no");

        let plain = request.end(Some(&failure), AckOptions::default());
        let with_text =
            request.end(Some(&failure), AckOptions { with_text: true, without_request: true });
        let done = request.end(None, AckOptions { with_text: true, without_request: false });

        assert_eq!(plain.len(), HEADER + 4 + HEADER + 4);
        assert_eq!(plain[HEADER..HEADER + 4], (-22_i32).to_ne_bytes());
        assert_eq!(with_text[HEADER + 4 + HEADER..], *b"\x07\0\x01\0no\0\0");
        assert_eq!(done.len(), HEADER + 4 + HEADER);
    }

    #[test]
    fn datagrams_have_a_page_of_messages_at_most() {
        let all = datagrams(vec![vec![1; 1001]; 10]);
        let lens: Vec<_> = all.iter().map(Vec::len).collect();
        assert_eq!(lens, [3009, 3009, 3009, 1001]);
        assert_eq!(datagrams([vec![1; 5000]]).len(), 1);
    }
}
