//! Repairing answers that hickory would ignore or could not parse, although they decide a lookup.

use hickory_resolver::proto::op::Message;

const HEADER: usize = 12;
/// Bits of a header: the flags QR and TC, and the response code.
const IS_ANSWER: u8 = 0x80;
const IS_CUT: u8 = 0x02;
const CODE: u8 = 0x0f;

/// Repairs an answer of `len` bytes to `question` in its buffer, and returns its new length:
///
/// * An error without a question section gets that of the question. Servers without EDNS may send
///   only a header, and so do some that do not know the type (RFC 1035 section 4.1.1 says only that
///   the format was wrong).
/// * A truncated answer that ends in the middle of a record keeps only its question (RFC 2181
///   section 9: its records must not be used).
pub(super) fn mend(question: &[u8], buffer: &mut [u8], len: usize) -> usize {
    let answer = &buffer[..len];
    let is_answer = len >= HEADER
        && answer.get(..2) == question.get(..2)
        && answer[2] & IS_ANSWER != 0
        && question.len() >= HEADER;
    if !is_answer {
        return len;
    }
    let is_bare_error = answer[3] & CODE != 0 && answer[4..6] == [0, 0];
    let is_cut = answer[2] & IS_CUT != 0 && Message::from_vec(answer).is_err();
    let asked = asked_in(question);
    if !(is_bare_error || is_cut) || asked.is_empty() || HEADER + asked.len() > buffer.len() {
        return len;
    }
    buffer[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    buffer[HEADER..][..asked.len()].copy_from_slice(asked);
    HEADER + asked.len()
}

/// The only question of a message, as it is on the wire; nothing if it cannot be found.
fn asked_in(message: &[u8]) -> &[u8] {
    let mut end = HEADER;
    loop {
        match message.get(end) {
            Some(0) => break,
            Some(label @ 1..64) => end += 1 + usize::from(*label),
            // Names in questions of our own are not compressed.
            _ => return &[],
        }
    }
    // The root, the type and the class.
    message.get(HEADER..end + 5).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &[u8] = b"\x03web\x04test\0\0\x01\0\x01";
    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

    fn message(flags: [u8; 2], counts: [u8; 4], rest: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, flags[0], flags[1]];
        message.extend(counts.iter().flat_map(|count| [0, *count]));
        message.extend(rest.concat());
        message
    }

    fn mended(answer: &[u8]) -> Vec<u8> {
        let question = message([1, 0], [1, 0, 0, 1], &[ASKED, OPT]);
        let mut buffer = answer.to_vec();
        buffer.resize(512, 0);
        let len = mend(&question, &mut buffer, answer.len());
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn an_error_without_a_question_gets_it() {
        let bare = message([0x81, 1], [0, 0, 0, 0], &[]);
        let whole = message([0x81, 1], [1, 0, 0, 0], &[ASKED]);

        assert_eq!(mended(&bare), whole);
        let read = Message::from_vec(&mended(&bare)).expect("an answer");
        assert_eq!(read.queries[0].name().to_string(), "web.test.");
    }

    #[test]
    fn answer_truncated_in_a_record_keeps_its_question() {
        let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x01";
        let cut = message([0x83, 0], [1, 2, 0, 0], &[ASKED, record]);

        assert_eq!(mended(&cut), message([0x83, 0], [1, 0, 0, 0], &[ASKED]));
    }

    #[test]
    fn all_others_stay_as_they_are() {
        let whole_record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x01\0\x01";
        for answer in [
            message([0x81, 0], [1, 0, 0, 0], &[ASKED]),
            message([0x81, 1], [1, 0, 0, 0], &[ASKED]),
            // No answer, no error, cut between records, and unreadable without being cut.
            message([0x01, 1], [0, 0, 0, 0], &[]),
            message([0x81, 0], [0, 0, 0, 0], &[]),
            message([0x83, 0], [1, 1, 0, 0], &[ASKED, whole_record]),
            message([0x81, 0], [1, 2, 0, 0], &[ASKED, whole_record]),
            vec![0xab, 0xcd],
            Vec::new(),
        ] {
            assert_eq!(mended(&answer), answer);
        }
        let mut others = message([0x81, 1], [0, 0, 0, 0], &[]);
        others[0] ^= 1;
        assert_eq!(mended(&others), others);
    }
}
