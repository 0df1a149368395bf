//! Arithmetic of sequence numbers, which wrap (RFC 9293 section 3.4).

/// The later of a sequence number, if there is one, and another.
pub(super) fn later(one: Option<u32>, other: u32) -> Option<u32> {
    Some(one.filter(|one| is_after(*one, other)).unwrap_or(other))
}

/// Whether sequence number `a` comes after `b` (RFC 9293 section 3.4).
pub(super) fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}
