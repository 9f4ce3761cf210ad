//! One key of a record with its value; null is what is not known.

use super::Out;
use crate::call::{Side, Text};

/// What counts from 1 is not known where it is 0.
pub(super) fn known(number: i64) -> Option<i64> {
    (number != 0).then_some(number)
}

/// A text, or null.
pub(super) fn text(out: &mut impl Out, key: &'static str, fact: Option<Text<'_>>) {
    out.key(key);
    match fact {
        Some(text) => out.text(text),
        None => out.null(),
    }
}

/// A number where the platform wrote a number.
pub(super) fn as_written(out: &mut impl Out, key: &'static str, fact: Option<Text<'_>>) {
    match fact {
        Some(Text::Int(number)) => int(out, key, Some(number)),
        fact => text(out, key, fact),
    }
}

/// A whole number, or null.
pub(super) fn int(out: &mut impl Out, key: &'static str, fact: Option<i64>) {
    out.key(key);
    match fact {
        Some(number) => out.int(number),
        None => out.null(),
    }
}

/// A truth, or null.
pub(super) fn flag(out: &mut impl Out, key: &'static str, fact: Option<bool>) {
    out.key(key);
    match fact {
        Some(truth) => out.bool(truth),
        None => out.null(),
    }
}

/// Which of the two, or null.
pub(super) fn side(out: &mut impl Out, key: &'static str, fact: Option<Side>) {
    text(out, key, fact.map(|side| Text::Str(side.name())));
}
