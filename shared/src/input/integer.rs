//! Whole numbers of any size, as the service before this one read them.

use std::fmt;

/// A whole number in its shortest decimal form, however large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Integer(String);

/// An id as a client gave it. It may be beyond what the column holds: then no row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id {
    value: i64,
    text: String,
}

impl Integer {
    /// Reads what Pydantic 2 takes for an integer in a text: white space around it, a sign, leading zeros,
    /// single underscores between digits, and zeros after a decimal point.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        let whole = match digits.split_once('.') {
            Some((whole, fraction))
                if !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0') =>
            {
                whole
            }
            Some(_) => return None,
            None => digits,
        };
        let is_number =
            |group: &str| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
        if !whole.split('_').all(is_number) {
            return None;
        }
        let digits = whole.replace('_', "");
        Some(match digits.trim_start_matches('0') {
            "" => Self("0".to_owned()),
            digits => Self(format!("{sign}{digits}")),
        })
    }

    /// The number, or the end of the range that it lies beyond.
    pub(super) fn clamped(&self) -> i64 {
        self.0.parse().unwrap_or(if self.0.starts_with('-') {
            i64::MIN
        } else {
            i64::MAX
        })
    }
}

impl From<Integer> for Id {
    fn from(Integer(text): Integer) -> Self {
        Self {
            value: text.parse().unwrap_or(0),
            text,
        }
    }
}

impl Id {
    /// The id for a statement; 0, which no row has, for one beyond the column's range.
    pub fn get(&self) -> i64 {
        self.value
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
