//! The properties of a connection, in combinations.

use super::Fault;
use super::rules::Rules;
use crate::namespace::Outcome;
use netstack::CongestionControl;
use std::fmt;

/// A connection between the stack and the kernel, and what it carries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Whether the stack sends most of the bytes.
    pub(super) is_upload: bool,
    pub(super) is_v6: bool,
    /// Whether the kernel connects to the stack.
    pub(super) is_opened_by_kernel: bool,
    /// What the kernel's end has: `net.ipv4.tcp_sack`.
    pub(super) has_sack: bool,
    /// `net.ipv4.tcp_timestamps`.
    pub(super) has_timestamps: bool,
    /// What most of the bytes are sent with.
    pub(super) control: CongestionControl,
    /// The kernel's, by name.
    pub(super) kernel_control: &'static str,
    /// The receiver's buffers are so small that the window is often full, and it pauses.
    pub(super) is_cramped: bool,
}

const PROPERTIES: usize = 8;
const CASES: usize = 6;
/// A column for each property. In a case of its own all are off; in five others each is on in three,
/// and no two in the same three: so any two properties are on and off in all four combinations.
const COLUMNS: [u8; PROPERTIES] =
    [0b00111, 0b01011, 0b10011, 0b01101, 0b10101, 0b11001, 0b01110, 0b10110];
/// What is inverted for each fault, so that more than pairs are tried.
const INVERTED: [u8; Fault::EACH.len()] =
    [0b0000_0000, 0b1001_0110, 0b0101_1001, 0b1110_0101, 0b0011_1010, 0b1100_0011];

/// The cases for a fault: each value of a property together with each of another.
pub(super) fn all(fault: Fault) -> impl Iterator<Item = Case> {
    rows(fault).into_iter().map(|on| Case {
        is_upload: on[0],
        is_v6: on[1],
        is_opened_by_kernel: on[2],
        has_sack: !on[3],
        has_timestamps: !on[4],
        control: if on[5] { CongestionControl::Bbr } else { CongestionControl::Cubic },
        kernel_control: if on[6] { "bbr" } else { "cubic" },
        is_cramped: on[7],
    })
}

fn rows(fault: Fault) -> [[bool; PROPERTIES]; CASES] {
    let inverted = INVERTED[Fault::EACH.iter().position(|it| *it == fault).expect("one of them")];
    std::array::from_fn(|row| {
        std::array::from_fn(|property| {
            let is_on = row > 0 && COLUMNS[property] >> (row - 1) & 1 == 1;
            is_on ^ (inverted >> property & 1 == 1)
        })
    })
}

pub(crate) fn covers_pairs() -> Outcome {
    for fault in Fault::EACH {
        let rows = rows(fault);
        for (one, other) in (0..PROPERTIES).flat_map(|one| (0..one).map(move |it| (one, it))) {
            for values in [(false, false), (false, true), (true, false), (true, true)] {
                let is_tried = rows.iter().any(|row| (row[one], row[other]) == values);
                assert!(is_tried, "{fault:?}: properties {one} and {other} as {values:?}");
            }
        }
    }
    Ok(())
}

impl Case {
    /// Where the capture shows another case than this one.
    pub(super) fn contradiction(&self, rules: &Rules) -> Option<String> {
        let found = (rules.peer_has_sack, rules.stamps.are_offered_by_peer());
        let expected = (self.has_sack, self.has_timestamps);
        (found != expected).then(|| format!("{self}: SACK and timestamps are {found:?}"))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.is_v6 { "v6" } else { "v4" };
        let way = if self.is_upload { "to the kernel" } else { "from the kernel" };
        let opener = if self.is_opened_by_kernel { "the kernel" } else { "the stack" };
        let (control, kernels) = (self.control.name(), self.kernel_control);
        write!(f, "{family}, {way}, opened by {opener}, {control} and the kernel's {kernels}")?;
        for (is_it, text) in [
            (!self.has_sack, ", no SACK"),
            (!self.has_timestamps, ", no timestamps"),
            (self.is_cramped, ", small buffers"),
        ] {
            f.write_str(if is_it { text } else { "" })?;
        }
        Ok(())
    }
}
