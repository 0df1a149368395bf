//! The filters of `ss`: the bytecode of linux/inet_diag.h.

use netlink_packet_sock_diag::{AF_INET, AF_INET6, AF_UNSPEC};
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bytecode(Vec<u8>);

/// An operation: its code, and how far the next one is if it holds, and if it does not.
#[derive(Debug, Clone, Copy)]
struct Operation {
    code: u8,
    yes: usize,
    no: usize,
}

/// The length of an operation, and of the condition of an address before that.
const LEN: usize = 4;
const CONDITION: usize = 8;

const NOP: u8 = 0;
const JMP: u8 = 1;
const SOURCE_GE: u8 = 2;
const SOURCE_LE: u8 = 3;
const DESTINATION_GE: u8 = 4;
const DESTINATION_LE: u8 = 5;
const AUTO: u8 = 6;
const SOURCE: u8 = 7;
const DESTINATION: u8 = 8;
const DEVICE: u8 = 9;
const MARK: u8 = 10;
const SOURCE_EQ: u8 = 11;
const DESTINATION_EQ: u8 = 12;
const CGROUP: u8 = 13;

impl Bytecode {
    /// Checks a filter: each operation is known and whole, and no jump leads back.
    ///
    /// # Errors
    ///
    /// `EINVAL` otherwise.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let operation = Operation::read(rest).ok_or(Errno::INVAL)?;
            let Operation { yes, no, .. } = operation;
            let len = operation.len(rest).ok_or(Errno::INVAL)?;
            // Beyond the end by one operation is "not this socket".
            let is_forward = (len..=rest.len()).contains(&yes)
                && (LEN..=rest.len() + LEN).contains(&no)
                && yes % 4 == 0
                && no % 4 == 0;
            if !is_forward {
                return Err(Errno::INVAL);
            }
            rest = &rest[yes..];
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Whether a socket passes: the end is reached, and not missed.
    pub(crate) fn accepts(&self, local: SocketAddr, peer: Option<SocketAddr>) -> bool {
        let mut rest = Some(&self.0[..]);
        while let Some(bytes) = rest.filter(|rest| !rest.is_empty()) {
            // A jump into the middle of an operation finds what is none.
            let Some(operation) = Operation::read(bytes) else { return false };
            let holds = operation.holds(&bytes[LEN..], local, peer);
            let step = if holds { operation.yes } else { operation.no };
            rest = if step < LEN { None } else { bytes.get(step..) };
        }
        rest.is_some()
    }
}

impl Operation {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [code, yes, a, b] = *bytes.first_chunk()?;
        Some(Self { code, yes: yes.into(), no: u16::from_ne_bytes([a, b]).into() })
    }

    /// The length with its operands; `None` if it is cut, or unknown.
    fn len(self, bytes: &[u8]) -> Option<usize> {
        let len = match self.code {
            NOP | JMP | AUTO => LEN,
            SOURCE_GE | SOURCE_LE | SOURCE_EQ | DESTINATION_GE | DESTINATION_LE
            | DESTINATION_EQ | DEVICE => 2 * LEN,
            SOURCE | DESTINATION => {
                let (family, prefix, _) = condition(bytes.get(LEN..)?)?;
                let address = match family {
                    AF_UNSPEC => 0,
                    AF_INET => 4,
                    AF_INET6 => 16,
                    _ => return None,
                };
                if usize::from(prefix) > 8 * address {
                    return None;
                }
                LEN + CONDITION + address
            }
            MARK | CGROUP => LEN + 8,
            _ => return None,
        };
        (len <= bytes.len()).then_some(len)
    }

    fn holds(self, operand: &[u8], local: SocketAddr, peer: Option<SocketAddr>) -> bool {
        let is_source = matches!(self.code, SOURCE | SOURCE_GE | SOURCE_LE | SOURCE_EQ);
        let end = if is_source { Some(local) } else { peer };
        let port = end.map_or(0, |end| end.port());
        // The port is where an operation has its second jump.
        let wanted = Self::read(operand).map_or(0, |operand| operand.no);
        match self.code {
            NOP => true,
            SOURCE_GE | DESTINATION_GE => usize::from(port) >= wanted,
            SOURCE_LE | DESTINATION_LE => usize::from(port) <= wanted,
            SOURCE_EQ | DESTINATION_EQ => usize::from(port) == wanted,
            SOURCE | DESTINATION => {
                let peer_of_none = match local {
                    SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
                    SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
                };
                is_host(operand, end.unwrap_or(peer_of_none))
            }
            // No socket is bound to an interface, and none has a mark.
            DEVICE => operand.starts_with(&[0; 4]),
            MARK => operand.starts_with(&[0; 4]),
            // JMP. Which ports were chosen by the stack is not known, and there are no cgroups.
            _ => false,
        }
    }
}

/// `struct inet_diag_hostcond`: family, length of the prefix, and port, which is negative for any.
fn condition(bytes: &[u8]) -> Option<(u8, u8, i32)> {
    let [family, prefix, _, _, port @ ..] = bytes.first_chunk::<CONDITION>()?;
    Some((*family, *prefix, i32::from_ne_bytes(*port)))
}

/// Whether a condition holds for an end of a socket.
fn is_host(bytes: &[u8], end: SocketAddr) -> bool {
    let Some((family, prefix, port)) = condition(bytes) else { return false };
    if port != -1 && port != i32::from(end.port()) {
        return false;
    }
    let wanted = &bytes[CONDITION..];
    match (family, end.ip()) {
        (AF_UNSPEC, _) => true,
        (AF_INET, IpAddr::V4(ip)) => begins_with(&ip.octets(), wanted, prefix),
        (AF_INET6, IpAddr::V6(ip)) => begins_with(&ip.octets(), wanted, prefix),
        (AF_INET, IpAddr::V6(ip)) => {
            ip.to_ipv4_mapped().is_some_and(|ip| begins_with(&ip.octets(), wanted, prefix))
        }
        _ => false,
    }
}

/// Whether the first bits are the same.
fn begins_with(octets: &[u8], wanted: &[u8], bits: u8) -> bool {
    let (whole, rest) = (usize::from(bits / 8), bits % 8);
    let mask = !(0xff_u8.checked_shr(rest.into()).unwrap_or(0));
    let same = |at: usize, mask: u8| match (octets.get(at), wanted.get(at)) {
        (Some(own), Some(wanted)) => own & mask == wanted & mask,
        _ => false,
    };
    (0..whole).all(|at| same(at, 0xff)) && (rest == 0 || same(whole, mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(code: u8, yes: u8, no: u16) -> Vec<u8> {
        let [a, b] = no.to_ne_bytes();
        vec![code, yes, a, b]
    }

    /// As ss compiles one port.
    fn port(code: u8, port: u16) -> Vec<u8> {
        [operation(code, 8, 12), operation(NOP, 0, port)].concat()
    }

    fn host(code: u8, family: u8, prefix: u8, address: &[u8]) -> Vec<u8> {
        let len = (LEN + CONDITION + address.len()) as u8;
        let condition = [&[family, prefix, 0, 0][..], &(-1_i32).to_ne_bytes(), address].concat();
        [operation(code, len, u16::from(len) + 4), condition].concat()
    }

    #[test]
    fn a_filter_accepts_what_it_describes() {
        let local: SocketAddr = "10.9.0.2:80".parse().expect("an address");
        let peer = "[fd00::7]:4000".parse().ok();
        for (bytes, expected) in [
            (vec![], true),
            (port(SOURCE_EQ, 80), true),
            (port(SOURCE_EQ, 81), false),
            (port(SOURCE_GE, 80), true),
            (port(SOURCE_LE, 79), false),
            (port(DESTINATION_GE, 4001), false),
            (host(SOURCE, AF_INET, 8, &[10, 1, 1, 1]), true),
            (host(SOURCE, AF_INET, 23, &[10, 9, 1, 9]), true),
            (host(SOURCE, AF_INET, 24, &[10, 9, 1, 9]), false),
            (host(SOURCE, AF_INET6, 0, &[0; 16]), false),
            (host(DESTINATION, AF_UNSPEC, 0, &[]), true),
            (host(DESTINATION, AF_INET6, 8, &[0xfd; 16]), true),
            // "or": a jump over the second.
            ([port(SOURCE_EQ, 80), operation(JMP, 4, 12), port(SOURCE_EQ, 9)].concat(), true),
        ] {
            let filter = Bytecode::parse(&bytes).expect("it is well formed");
            assert_eq!(filter.accepts(local, peer), expected, "{bytes:?}");
        }
    }

    #[test]
    fn malformed_filters_are_refused_and_harm_nothing() {
        for bytes in [
            vec![0; 4],
            vec![NOP, 4, 0],
            operation(NOP, 8, 4),
            operation(NOP, 4, 12),
            operation(NOP, 4, 5),
            operation(77, 4, 4),
            operation(SOURCE_EQ, 4, 4),
            host(SOURCE, AF_INET, 33, &[0; 4]),
            host(SOURCE, 9, 0, &[]),
        ] {
            assert_eq!(Bytecode::parse(&bytes), Err(Errno::INVAL), "{bytes:?}");
        }
        // Into the middle of an operation.
        let bytes = [operation(JMP, 4, 8), port(SOURCE_EQ, 0)].concat();
        let filter = Bytecode::parse(&bytes).expect("each operation is whole");
        assert!(!filter.accepts("10.0.0.1:1".parse().expect("an address"), None));
    }
}
