//! Options of DHCP messages: RFC 2132, 3396, 3397 and 3442.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub(super) const PAD: u8 = 0;
pub(super) const SUBNET_MASK: u8 = 1;
pub(super) const ROUTER: u8 = 3;
pub(super) const NAME_SERVERS: u8 = 6;
pub(super) const HOST_NAME: u8 = 12;
pub(super) const DOMAIN_NAME: u8 = 15;
pub(super) const MTU: u8 = 26;
pub(super) const BROADCAST: u8 = 28;
pub(super) const REQUESTED_ADDRESS: u8 = 50;
pub(super) const LEASE_TIME: u8 = 51;
pub(super) const OVERLOAD: u8 = 52;
pub(super) const MESSAGE_TYPE: u8 = 53;
pub(super) const SERVER: u8 = 54;
pub(super) const PARAMETERS: u8 = 55;
pub(super) const MESSAGE_BYTES_MAX: u8 = 57;
pub(super) const RENEWAL_TIME: u8 = 58;
pub(super) const REBINDING_TIME: u8 = 59;
pub(super) const CLIENT_ID: u8 = 61;
/// RFC 3397.
pub(super) const DOMAIN_SEARCH: u8 = 119;
/// RFC 3442.
pub(super) const CLASSLESS_ROUTES: u8 = 121;
pub(super) const END: u8 = 255;

pub(super) const MAGIC: u32 = 0x6382_5363;
/// The header, and the fields that may carry options (option 52, RFC 2131 section 2).
pub(super) const HEADER_BYTES: usize = 240;
const SERVER_NAME: std::ops::Range<usize> = 44..108;
const BOOT_FILE: std::ops::Range<usize> = 108..236;
/// The length of an option has one byte.
pub(super) const OPTION_BYTES_MAX: usize = 255;

/// All options, in the order of RFC 3396 section 5; split options are concatenated.
pub(super) fn options(message: &[u8]) -> BTreeMap<u8, Vec<u8>> {
    let mut options = BTreeMap::new();
    collect(message.get(HEADER_BYTES..).unwrap_or_default(), &mut options);
    let overload = match options.get(&OVERLOAD).map(Vec::as_slice) {
        Some([overload]) => *overload,
        _ => 0,
    };
    for (bit, field) in [(1, BOOT_FILE), (2, SERVER_NAME)] {
        if overload & bit != 0 {
            collect(message.get(field).unwrap_or_default(), &mut options);
        }
    }
    options
}

/// The options of one field, up to its end or to one that exceeds it.
fn collect(mut field: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) {
    while let Some((kind, rest)) = field.split_first() {
        match *kind {
            PAD => field = rest,
            END => return,
            kind => {
                let Some((len, rest)) = rest.split_first() else { return };
                let Some((data, rest)) = rest.split_at_checked(usize::from(*len)) else { return };
                options.entry(kind).or_default().extend_from_slice(data);
                field = rest;
            }
        }
    }
}

pub(super) fn number(options: &BTreeMap<u8, Vec<u8>>, kind: u8) -> Option<u32> {
    let data = <[u8; 4]>::try_from(&options.get(&kind)?[..]).ok()?;
    Some(u32::from_be_bytes(data))
}

pub(super) fn address(options: &BTreeMap<u8, Vec<u8>>, kind: u8) -> Option<Ipv4Addr> {
    number(options, kind).map(Ipv4Addr::from_bits)
}

pub(super) fn addresses(
    options: &BTreeMap<u8, Vec<u8>>,
    kind: u8,
) -> impl Iterator<Item = Ipv4Addr> {
    let data = options.get(&kind).map(Vec::as_slice).unwrap_or_default();
    data.as_chunks::<4>().0.iter().map(|octets| Ipv4Addr::from(*octets))
}
