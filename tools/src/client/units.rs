//! Numbers with their units, in few digits.

use std::time::Duration;

/// Such as `1.24 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    let number = count as f64;
    match number {
        ..1024.0 => format!("{count} bytes"),
        ..1_048_576.0 => format!("{} KiB", digits(number / 1024.0)),
        ..1_073_741_824.0 => format!("{} MiB", digits(number / 1_048_576.0)),
        _ => format!("{} GiB", digits(number / 1_073_741_824.0)),
    }
}

/// Bits a second, of bytes a second, such as `12.4 Mbit/s`.
pub(crate) fn rate(bytes: u64) -> String {
    let bits = bytes.saturating_mul(8);
    let number = bits as f64;
    match number {
        ..1e3 => format!("{bits} bit/s"),
        ..1e6 => format!("{} kbit/s", digits(number / 1e3)),
        ..1e9 => format!("{} Mbit/s", digits(number / 1e6)),
        _ => format!("{} Gbit/s", digits(number / 1e9)),
    }
}

/// Such as `1.24 s`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..1e-3 => format!("{} µs", time.as_micros()),
        ..1.0 => format!("{} ms", digits(seconds * 1e3)),
        ..120.0 => format!("{} s", digits(seconds)),
        ..7200.0 => format!("{} min", digits(seconds / 60.0)),
        _ => format!("{} h", digits(seconds / 3600.0)),
    }
}

/// Three of them.
fn digits(number: f64) -> String {
    match number {
        ..9.995 => format!("{number:.2}"),
        ..99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!([bytes(0), bytes(1023), bytes(1536)], ["0 bytes", "1023 bytes", "1.50 KiB"]);
        assert_eq!(bytes(300 << 20), "300 MiB");
        assert_eq!(bytes(5 << 40), "5120 GiB");
        assert_eq!([rate(10), rate(1_550_000)], ["80 bit/s", "12.4 Mbit/s"]);
        let times = [7, 7_000, 999_999, 10_000_000, 600_000_000, 86_400_000_000];
        let times = times.map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(times, ["7 µs", "7.00 ms", "1000 ms", "10.0 s", "10.0 min", "24.0 h"]);
    }
}
