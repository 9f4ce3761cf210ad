//! One event as the fold sees it: borrowed from where it lies, decoded once, never changed.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Field, Kind, Value};

/// The identity of an event: its uuid, or one derived from its content where the producer gave none.
pub type EventId = [u8; 16];

/// The name of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A field of the vocabulary.
    Known(Field),
    /// Any other; kept as it came.
    Other(&'a str),
}

impl<'a> Name<'a> {
    /// The name as it is written in the event.
    pub fn text(self) -> &'a str {
        match self {
            Name::Known(field) => field.name(),
            Name::Other(name) => name,
        }
    }
}

/// The fields of an event, in the order in which they came.
pub type Fields<'a> = SmallVec<[(Name<'a>, Value<'a>); 24]>;

/// A decoded event. What all events of a call share (`cid`, `acallid`, `invitets`) is with the call, not here.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// What it says.
    pub kind: Kind,
    /// The type's name where `kind` is `Unknown`, else empty.
    pub name: &'a str,
    /// When it happened by its producer's clock, ms since 1970 UTC.
    pub ts: i64,
    /// Its identity.
    pub id: EventId,
    /// Its fields; absent ones are not here.
    pub fields: Fields<'a>,
}

impl<'a> Event<'a> {
    /// An event that says nothing yet.
    pub(super) fn empty() -> Self {
        Event {
            kind: Kind::Unknown,
            name: "",
            ts: 0,
            id: EventId::default(),
            fields: Fields::new(),
        }
    }

    /// The key by which the events of one call are ordered.
    pub fn key(&self) -> (i64, u8, EventId) {
        (self.ts, self.kind.rank(), self.id)
    }

    /// The type's name, known or not.
    pub fn type_name(&self) -> &'a str {
        match self.kind {
            Kind::Unknown => self.name,
            kind => kind.name(),
        }
    }

    /// The value of a field of the vocabulary.
    pub fn get(&self, field: Field) -> Option<Value<'a>> {
        self.fields
            .iter()
            .find(|(name, _)| *name == Name::Known(field))
            .map(|&(_, value)| value)
    }

    /// A field as text; numbers as they are written.
    pub fn text(&self, field: Field) -> Option<Cow<'a, str>> {
        self.get(field).map(Value::text)
    }

    /// A field as text where it was written as text.
    pub fn str(&self, field: Field) -> Option<&'a str> {
        match self.get(field) {
            Some(Value::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// A field as an integer.
    pub fn int(&self, field: Field) -> Option<i64> {
        self.get(field).and_then(Value::int)
    }

    /// A field as a truth value.
    pub fn flag(&self, field: Field) -> Option<bool> {
        self.get(field).and_then(Value::flag)
    }
}
