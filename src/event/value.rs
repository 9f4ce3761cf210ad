//! The value of one field, borrowed from where it lies (a caller's term, JSON text, a chunk, a call's set).
//!
//! A field that is there has a value: what the platform writes for "absent" is dropped at input.

use std::borrow::Cow;

/// A value as it is kept.
// The representation puts what every variant holds at the same place, aligned: values are copied in whole words.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u64)]
pub enum Value<'a> {
    /// Text.
    Str(&'a str),
    /// An integer.
    Int(i64),
    /// A finite number with a fraction.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A uuid that was written in its canonical form (36 characters, lower case).
    Uuid([u8; 16]),
    /// A list or an object, as compact JSON text.
    Json(&'a str),
}

impl<'a> Value<'a> {
    /// The value as text; numbers and truth values as they are written.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Value::Str(text) | Value::Json(text) => Cow::Borrowed(text),
            Value::Int(number) => Cow::Owned(number.to_string()),
            Value::Float(number) => Cow::Owned(number.to_string()),
            Value::Bool(truth) => Cow::Borrowed(if truth { "true" } else { "false" }),
            Value::Uuid(id) => Cow::Owned(uuid::Uuid::from_bytes(id).hyphenated().to_string()),
        }
    }

    /// The value as an integer, also when it was written as text.
    pub fn int(self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(number),
            Value::Str(text) => text.trim().parse().ok(),
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Some(number as i64)
            }
            _ => None,
        }
    }

    /// The value as a truth value; the platform writes `true`/`false` also as text and 1/0 as numbers.
    pub fn flag(self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(truth),
            Value::Str("true" | "1" | "yes") | Value::Int(1) => Some(true),
            Value::Str("false" | "0" | "no") | Value::Int(0) => Some(false),
            _ => None,
        }
    }
}

/// Whether the platform means "absent" by this text.
#[inline]
pub fn is_absent(text: &[u8]) -> bool {
    const LONGEST: usize = b"undefined".len();
    let looks_so = match text.first() {
        None => return true,
        Some(first) => matches!(first, b'e' | b'u' | b'_' | b'n'),
    };
    looks_so
        && text.len() <= LONGEST
        && matches!(text, b"empty" | b"undefined" | b"__empty" | b"null")
}

/// The value of every byte as a digit of lower-case hexadecimal, 0xff where it is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// The bytes of a uuid in canonical form; `None` for anything else, upper case included, so that the text comes back
/// as it was.
pub fn canonical_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if text[8] != b'-' || text[13] != b'-' || text[18] != b'-' || text[23] != b'-' {
        return None;
    }
    const AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut id = [0u8; 16];
    let mut bad = 0u8;
    for (byte, at) in id.iter_mut().zip(AT) {
        let (high, low) = (DIGITS[text[at] as usize], DIGITS[text[at + 1] as usize]);
        bad |= (high | low) & 0xf0;
        *byte = high << 4 | (low & 0x0f);
    }
    (bad == 0).then_some(id)
}

/// The bytes of a uuid as people write it: any case, hyphens wanted.
pub fn lenient_uuid(text: &[u8]) -> Option<[u8; 16]> {
    canonical_uuid(text).or_else(|| canonical_uuid(&text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_packed() {
        let text = "9a250698-f04a-5f13-b444-b51a205fa0cf";
        let id = canonical_uuid(text.as_bytes());
        assert_eq!(
            id.map(|id| Value::Uuid(id).text().into_owned()),
            Some(text.to_owned())
        );
        assert_eq!(canonical_uuid(text.to_uppercase().as_bytes()), None);
        assert_eq!(
            canonical_uuid(b"9a250698-f04a-5f13-b444-b51a205fa0cg"),
            None
        );
        assert!(lenient_uuid(text.to_uppercase().as_bytes()).is_some());
    }
}
