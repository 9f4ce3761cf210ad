//! A fact that is text: a Call-ID, a number, a domain, a link.
//!
//! The event room packs canonical uuids and keeps numbers as numbers, so what the platform wrote as text arrives in
//! several shapes. Here they are one type that is compared, hashed and written as the text it stands for. Borrowed,
//! never allocated. The parts of a call keep their facts in it and [`crate::record`] writes them.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::uri::{Uri, is_ip};
use crate::event::{Event, Field, Value};

/// A textual fact, borrowed from its event.
// As of `Value`: copied in whole words.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Text<'a> {
    /// As it was written.
    Str(&'a str),
    /// A canonical uuid, packed.
    Uuid([u8; 16]),
    /// A number where the platform writes text as well.
    Int(i64),
}

impl<'a> Text<'a> {
    /// The text of a value; `None` for a fraction.
    pub fn of(value: Value<'a>) -> Option<Self> {
        match value {
            Value::Str(text) | Value::Json(text) => Some(Text::Str(text)),
            Value::Uuid(id) => Some(Text::Uuid(id)),
            Value::Int(number) => Some(Text::Int(number)),
            Value::Bool(truth) => Some(Text::Str(if truth { "true" } else { "false" })),
            Value::Float(_) => None,
        }
    }

    /// The text of a field.
    pub fn field(event: &Event<'a>, field: Field) -> Option<Self> {
        event.get(field).and_then(Text::of)
    }

    /// The text where it lies as such; `None` for packed uuids and numbers.
    pub fn as_str(self) -> Option<&'a str> {
        match self {
            Text::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The user part of the URI that this text is: the number of a subscriber.
    pub fn user(self) -> Option<Text<'a>> {
        match self {
            Text::Str(text) => Uri::parse(text).user.map(Text::Str),
            other => Some(other),
        }
    }

    /// The host part of the URI that this text is, where it names a domain and not the address of a device.
    pub fn domain(self) -> Option<Text<'a>> {
        let host = Uri::parse(self.as_str()?).host?;
        (!is_ip(host)).then_some(Text::Str(host))
    }

    /// Calls `f` with the text.
    pub fn with<R>(self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Text::Str(text) => f(text),
            Text::Uuid(id) => {
                let mut buffer = [0u8; 36];
                f(uuid::Uuid::from_bytes(id)
                    .hyphenated()
                    .encode_lower(&mut buffer))
            }
            Text::Int(number) => f(&number.to_string()),
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (*self, *other) {
            (Text::Str(a), Text::Str(b)) => a == b,
            (Text::Uuid(a), Text::Uuid(b)) => a == b,
            (Text::Int(a), Text::Int(b)) => a == b,
            (a, b) => a.with(|a| b.with(|b| a == b)),
        }
    }
}

impl Eq for Text<'_> {}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        *self == Text::Str(other)
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == Text::Str(other)
    }
}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.with(|text| text.hash(state));
    }
}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.with(|a| other.with(|b| a.cmp(b)))
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|text| f.write_str(text))
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::event::value::canonical_uuid;

    #[test]
    fn one_text_in_two_shapes_is_equal_and_hashes_alike() {
        let text = "9a250698-f04a-5f13-b444-b51a205fa0cf";
        let packed = Text::Uuid(canonical_uuid(text.as_bytes()).expect("canonical"));
        assert_eq!(packed, Text::Str(text));
        assert_eq!(Text::Int(562), Text::Str("562"));
        assert_ne!(Text::Int(562), packed);
        let set = std::collections::HashSet::from([packed, Text::Str("562")]);
        assert!(set.contains(&Text::Str(text)) && set.contains(&Text::Int(562)));
        assert_eq!(packed.to_string(), text);
    }

    #[test]
    fn the_address_of_a_device_is_no_domain() {
        assert_eq!(Text::Str("sip:1@10.0.0.7:5060").domain(), None);
        assert_eq!(Text::Str("sip:1@[2001:db8::1]").domain(), None);
        let domain = Text::Str("sip:1@alfa.era.test:5060;transport=tcp").domain();
        assert_eq!(domain, Some(Text::Str("alfa.era.test")));
        assert_eq!(Text::Int(1).domain(), None);
    }
}
