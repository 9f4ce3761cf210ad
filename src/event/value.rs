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

/// The bytes of a uuid in canonical form; `None` for anything else, upper case included, so that the text comes back
/// as it was.
pub fn canonical_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if [text[8], text[13], text[18], text[23]] != [b'-'; 4] {
        return None;
    }
    let four = |at: usize| {
        let four = [text[at], text[at + 1], text[at + 2], text[at + 3]];
        u64::from(u32::from_be_bytes(four))
    };
    let eights = [(0, 4), (9, 14), (19, 24), (28, 32)];
    let mut id = [0; 16];
    let mut bad = 0;
    for (bytes, (high, low)) in id.chunks_exact_mut(4).zip(eights) {
        let (value, fault) = of_digits(four(high) << 32 | four(low));
        bytes.copy_from_slice(&value.to_be_bytes());
        bad |= fault;
    }
    (bad == 0).then_some(id)
}

/// What eight digits of lower-case hexadecimal say, all at once, and anything but 0 where one is none.
fn of_digits(text: u64) -> (u32, u64) {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // Of the characters that can be digits only letters have this bit, and their low nibbles are 1 to 6.
    let letters = text >> 6 & ONES;
    let low = text & (ONES * 0x0f);
    let values = low + letters * 9;
    let as_text = values + ONES * 0x30 + letters * 0x27;
    let too_high = (low + ONES * 0x76 + letters * 3) & HIGH;
    let too_low = letters << 7 & !(low + ONES * 0x7f);
    let bytes = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    (
        (pairs | pairs >> 16) as u32,
        (as_text ^ text) | too_high | too_low,
    )
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

    #[test]
    fn every_byte_at_every_place_is_a_digit_or_none() {
        let text = *b"9a250698-f04a-5f13-b444-b51a205fa0cf";
        for at in 0..36 {
            for byte in 0..=255 {
                let mut text = text;
                text[at] = byte;
                let is_hyphen = [8, 13, 18, 23].contains(&at);
                let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let wanted = if is_hyphen { byte == b'-' } else { is_digit };
                let id = canonical_uuid(&text);
                assert_eq!(id.is_some(), wanted, "{byte} at {at}");
                if let Some(id) = id {
                    assert_eq!(Value::Uuid(id).text().as_bytes(), text);
                }
            }
        }
    }
}
