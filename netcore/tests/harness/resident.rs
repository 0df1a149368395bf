//! The memory of this process.

/// The resident bytes of this process; 0 if the system does not report them.
pub fn resident_bytes() -> usize {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else {
        return 0;
    };
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    // The unit is the page, which is no smaller anywhere.
    pages.expect("the second field of statm is a number") * 4096
}
