//! `sockaddr_nl`.

use rustix::io::Errno;

/// The address of a netlink socket: `sockaddr_nl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Address {
    /// The port, `nl_pid`; 0 is the kernel, here the stack.
    pub port: u32,
    /// The groups from 1 to 32, each a bit.
    pub groups: u32,
}

const LEN: usize = 12;

impl Address {
    /// Its bytes in memory.
    pub fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.port.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.groups.to_ne_bytes());
        bytes
    }

    /// Reads one that a program has given.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is too short, or of another family.
    pub fn decode(bytes: &[u8]) -> Result<Self, Errno> {
        let bytes: &[u8; LEN] = bytes.first_chunk().ok_or(Errno::INVAL)?;
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|it| bytes[at + it]));
        match u16::from_ne_bytes([bytes[0], bytes[1]]) {
            family if family == libc::AF_NETLINK as u16 => {
                Ok(Self { port: word(4), groups: word(8) })
            }
            _ => Err(Errno::INVAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_bytes() {
        let address = Address { port: 0x0102_0304, groups: 0x51 };

        assert_eq!(Address::decode(&address.encode()), Ok(address));
        assert_eq!(address.encode()[0], 16);
        assert_eq!(Address::decode(&[16; 11]), Err(Errno::INVAL));
        assert_eq!(Address::decode(&[2; 16]), Err(Errno::INVAL));
    }
}
