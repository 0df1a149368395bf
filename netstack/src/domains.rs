//! Lists of domain names, as servers and routers send them.

/// Bytes of a name as it is written (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// Pointers that are followed for one name. Each leads backwards, so there is an end anyhow.
const POINTERS_MAX: usize = 16;
/// The two highest bits of a length mark a pointer (RFC 1035 section 4.1.4).
const POINTER: u8 = 0b1100_0000;

/// Reads up to `max` names of a list in the wire format of RFC 1035 section 3.1. With
/// `allows_pointers`, names may be compressed with pointers into the list itself (RFC 3397 section
/// 2).
///
/// An invalid name ends the list.
pub(crate) fn read(list: &[u8], allows_pointers: bool, max: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut start = 0;
    while start < list.len() && names.len() < max {
        let Some((name, end)) = name(list, start, allows_pointers) else { break };
        start = end;
        // An empty name is padding (RFC 8106 section 5.2).
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether something is a domain name that can be looked for: letters, digits, hyphens and
/// underscores, in labels of up to 63.
pub(crate) fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label)
}

/// One name, and where the next begins.
fn name(list: &[u8], start: usize, allows_pointers: bool) -> Option<(String, usize)> {
    let (mut name, mut at, mut end) = (String::new(), start, None);
    // Nothing from here on is pointed to.
    let mut limit = start;
    let mut pointers = 0;
    loop {
        let len = *list.get(at)?;
        if len & POINTER == POINTER {
            let target = usize::from(len & !POINTER) << 8 | usize::from(*list.get(at + 1)?);
            pointers += 1;
            if !allows_pointers || target >= limit || pointers > POINTERS_MAX {
                return None;
            }
            end.get_or_insert(at + 2);
            limit = target;
            at = target;
            continue;
        }
        if len == 0 {
            break;
        }
        let label = list.get(at + 1..at + 1 + usize::from(len))?;
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(label).ok()?);
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        at += 1 + usize::from(len);
    }
    (name.is_empty() || is_name(&name)).then_some((name, end.unwrap_or(at + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_with_and_without_pointers() {
        // The example of RFC 3397 section 2.
        let list = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";

        assert_eq!(read(list, true, 9), ["eng.apple.com", "marketing.apple.com"]);
        assert_eq!(read(list, true, 1), ["eng.apple.com"]);
        assert_eq!(read(list, false, 9), ["eng.apple.com"]);
        assert_eq!(read(b"\x03lan\x00\x00\x00\x00", false, 9), ["lan"], "padding");
    }

    #[test]
    fn invalid_names_are_left_out() {
        for list in [
            &b"\xc0\x00"[..],
            b"\x01a\xc0\x00",
            b"\x03la",
            b"\x03l n\x00",
            b"\x03l\xff\xffn\x00",
            b"\x40",
            b"\xc0",
        ] {
            assert!(read(list, true, 9).is_empty(), "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn no_list_panics(
            list in proptest::collection::vec(prop_oneof![0..4_u8, 0xc0..0xc1_u8, any::<u8>()], 0..300),
            allows_pointers: bool,
        ) {
            for name in read(&list, allows_pointers, 5) {
                prop_assert!(is_name(&name));
            }
        }
    }
}
