//! Bytes, rates and times as people write and read them. Decimal units: 1 MB is 10^6 bytes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const UNITS: [(&str, u64); 5] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000), ("B", 1)];

/// "3.2 GB".
pub(crate) fn bytes(n: u64) -> String {
    for (unit, size) in UNITS {
        if n >= size && size > 1 {
            let tenths = n / (size / 10);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{n} B")
}

/// "1,234".
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "3 s", "4 min 10 s", "2 h 5 min".
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A number of bytes a second, written like `60MB`, `500k`, `1.5 MiB` or plain `1000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate(pub(crate) u64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("'{text}' is not a rate; write for example 60MB or 500kB");
        let trimmed = text.trim().trim_end_matches("/s");
        let split =
            trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kb" => 1e3,
            "m" | "mb" => 1e6,
            "g" | "gb" => 1e9,
            "kib" => 1024.0,
            "mib" => 1_048_576.0,
            "gib" => 1_073_741_824.0,
            _ => return Err(refuse()),
        };
        let value = number.parse::<f64>().map_err(|_| refuse())? * factor;
        if (1.0..=1e15).contains(&value) { Ok(Self(value as u64)) } else { Err(refuse()) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(4_250), "4.2 kB");
        assert_eq!(bytes(2_147_483_648), "2.1 GB");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_234), "1,234");
        assert_eq!(count(12_345_678), "12,345,678");
    }

    #[test]
    fn rates_are_read_and_nonsense_refused() {
        assert_eq!("60MB".parse(), Ok(Rate(60_000_000)));
        assert_eq!("1.5 MiB/s".parse(), Ok(Rate(1_572_864)));
        assert_eq!("500k".parse(), Ok(Rate(500_000)));
        for bad in ["", "0", "fast", "-1MB", "1XB", "nan", "1e400"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
