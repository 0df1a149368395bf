//! What a process tells of a program that is on its stack, to the one that has started the program: a
//! line of JSON each.

use crate::run::notices;
use serde::{Deserialize, Serialize};
use std::io::BufRead;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// Something for the user.
    Notice(String),
    /// Nothing of the program is left.
    Over(Left),
}

/// What was and what is left at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    /// The number of watched calls.
    pub(crate) calls: u64,
    /// The number of sockets that are not closed.
    pub(crate) sockets: usize,
}

/// The user is told when the stack is gone before the program.
const GONE: &str = "the process of the stack has ended, and with it the program's sockets";

/// Prints the notices, and returns the last line once there is one.
pub(crate) fn pass_on(lines: impl BufRead) -> Option<Left> {
    for line in lines.lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Told::Notice(notice)) => notices::print(&notice),
            Ok(Told::Over(left)) => return Some(left),
            // Of a later version.
            Err(_) => {}
        }
    }
    notices::print(GONE);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_end_and_unknown_ones_are_skipped() {
        let left = Left { calls: 7, sockets: 1 };
        let over = serde_json::to_string(&Told::Over(left)).expect("plain data");
        assert_eq!(over, r#"{"over":{"calls":7,"sockets":1}}"#);

        let lines = format!("{{\"later\":{{}}}}\n{over}\n");
        assert_eq!(pass_on(lines.as_bytes()), Some(left));
        assert_eq!(pass_on(&b"{\"later\":{}}\n"[..]), None);
    }
}
