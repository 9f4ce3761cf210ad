//! An event as a producer gives it, from terms or JSON alike, and what is made of it: checked, normalised, or rejected
//! with a reason.
//!
//! Whoever reads the producer's form (JSON here, Erlang maps in the NIF) tells [`Input`] key by key what it sees,
//! borrowed; nothing is looked up twice.

use std::borrow::Cow;
use std::collections::HashMap;

use super::draft::{Draft, Known, as_str, content_id, moment, packed, serving_domain};
use super::value::is_absent;
use super::{Event, Field, Head, Kind, Name, Value};

pub use super::reject::Reject;

/// The most fields of an event.
pub const MAX_FIELDS: usize = 256;
/// The most bytes of a text.
pub const MAX_TEXT_BYTES: usize = 64 << 10;
/// The most bytes of all texts of an event.
pub const MAX_EVENT_BYTES: usize = 256 << 10;
/// How deep lists and objects in a value may lie in one another.
pub const MAX_DEPTH: usize = 16;

/// A value as a producer gives it.
#[derive(Clone, Debug)]
pub enum Given<'a> {
    /// Absent.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction, or one too large for an integer.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// A list or an object, as compact JSON.
    Json(Cow<'a, str>),
}

/// The key of a field: one that is known, or any other as it came.
#[derive(Clone, Debug)]
enum Key<'a> {
    Known(Known),
    Other(Cow<'a, str>),
}

/// One event while it is being read.
#[derive(Debug, Default)]
pub struct Input<'a> {
    class: Option<Given<'a>>,
    kind: Option<Given<'a>>,
    eventts: Option<Given<'a>>,
    domain: Option<Given<'a>>,
    fields: Vec<(Key<'a>, Given<'a>)>,
    bytes: usize,
}

/// What all events of one `put` have in common.
#[derive(Clone, Debug, Default)]
pub struct Common<'a> {
    /// The producers' names for types.
    pub aliases: Option<&'a HashMap<String, String>>,
    /// Who serves the dialogs, as callstore packs it.
    pub owner: Option<&'a str>,
    /// Who put the events.
    pub producer: Option<&'a str>,
}

/// An event that was taken: what its call is called by, itself, and the domain that decides who serves it.
#[derive(Debug)]
pub struct Taken<'a> {
    /// The call's identity as far as this event knows it.
    pub head: Head<'a>,
    /// The event.
    pub event: Event<'a>,
    domain: Option<&'a str>,
}

impl<'a> Taken<'a> {
    /// The domain of the caller, or else of whoever the event names.
    pub fn domain(&self) -> Option<&'a str> {
        self.domain.or_else(|| serving_domain(&self.event.fields))
    }
}

impl<'a> Input<'a> {
    /// Forgets everything, keeps the room.
    pub fn clear(&mut self) {
        self.fields.clear();
        *self = Input {
            fields: std::mem::take(&mut self.fields),
            ..Input::default()
        };
    }

    /// A key of the envelope other than `data`. Keys that the envelope does not have are passed over.
    pub fn envelope(&mut self, key: &[u8], given: Given<'a>) {
        match key {
            b"class" => self.class = Some(given),
            b"type" => self.kind = Some(given),
            b"eventts" => self.eventts = Some(given),
            b"domain" => self.domain = Some(given),
            _ => {}
        }
    }

    /// A key of `data`, as the bytes of its text.
    ///
    /// # Errors
    /// More fields or bytes than an event may have, or a key that is no text.
    pub fn field(&mut self, key: Cow<'a, [u8]>, given: Given<'a>) -> Result<(), Reject> {
        let size = match &given {
            Given::Null => return Ok(()),
            Given::Text(text) if is_absent(text.as_bytes()) => return Ok(()),
            Given::Text(text) | Given::Json(text) => text.len(),
            _ => 8,
        };
        if self.fields.len() >= MAX_FIELDS {
            return Err(Reject::TooManyFields);
        }
        if size > MAX_TEXT_BYTES || key.len() > MAX_TEXT_BYTES {
            return Err(Reject::TooLarge(clip(&String::from_utf8_lossy(&key))));
        }
        self.bytes += size + key.len();
        if self.bytes > MAX_EVENT_BYTES {
            return Err(Reject::TooLarge("event".into()));
        }
        match Known::of(&key) {
            Some(Known::Derived) => {}
            Some(known) => self.fields.push((Key::Known(known), given)),
            None => self.fields.push((Key::Other(as_text(key)?), given)),
        }
        Ok(())
    }

    /// Makes the event of what was read and hands it on.
    ///
    /// # Errors
    /// What was read is no event; the reason says which field is at fault.
    pub fn take<'s, T>(
        &'s self,
        common: &Common<'s>,
        hand_on: impl FnOnce(&Taken<'s>) -> T,
    ) -> Result<T, Reject> {
        match self.class.as_ref() {
            None | Some(Given::Null) => {}
            Some(Given::Text(class)) if class == "callevents" => {}
            Some(_) => return Err(Reject::BadField("class".into())),
        }
        let (kind, name) = self.kind(common)?;
        let mut draft = Draft::default();
        let event = Event {
            kind,
            name,
            ..Event::empty()
        };
        let mut taken = Taken {
            head: Head::default(),
            event,
            domain: None,
        };
        let fields = &mut taken.event.fields;
        for (key, given) in &self.fields {
            match (key, given.value()) {
                (_, None) => {}
                (Key::Other(name), Some(value)) => fields.push((Name::Other(name), value)),
                (&Key::Known(Known::Field(field)), Some(value)) => {
                    if field == Field::Dialogid && as_str(value).is_none() {
                        return Err(Reject::BadField("dialogid".into()));
                    }
                    fields.push((Name::Known(field), packed(field, value)));
                }
                (&Key::Known(known), Some(value)) => draft.note(known, value, fields)?,
            }
        }
        let eventts = draft.eventts.or_else(|| self.eventts.as_ref()?.value());
        let ts = eventts.ok_or(Reject::Missing("eventts"))?;
        taken.event.ts = moment(ts).ok_or_else(|| Reject::BadField("eventts".into()))?;
        taken.head = draft.head()?;
        draft.keep_connectionid(&taken.head, fields);
        let own = self.domain.as_ref().and_then(Given::value);
        taken.domain = own.and_then(as_str);
        if let Some(owner) = common.owner {
            fields.push((Name::Known(Field::Owner), Value::Str(owner)));
        }
        taken.event.id = match draft.eventid {
            Some(id) => id,
            None => content_id(kind, name, taken.event.ts, &taken.head, fields),
        };
        if let Some(producer) = common.producer {
            fields.push((Name::Known(Field::Producer), Value::Str(producer)));
        }
        Ok(hand_on(&taken))
    }

    fn kind<'s>(&'s self, common: &Common<'s>) -> Result<(Kind, &'s str), Reject> {
        let name = match &self.kind {
            Some(Given::Text(name)) if !is_absent(name.as_bytes()) => name.as_ref(),
            None | Some(Given::Null | Given::Text(_)) => return Err(Reject::Missing("type")),
            Some(_) => return Err(Reject::BadField("type".into())),
        };
        let name = common
            .aliases
            .and_then(|aliases| aliases.get(name))
            .map_or(name, String::as_str);
        match Kind::of_platform(name) {
            Some(kind) => Ok((kind, "")),
            None if name.len() > 255 => Err(Reject::TooLarge("type".into())),
            None => Ok((Kind::Unknown, name)),
        }
    }
}

impl<'a> Given<'a> {
    /// The value, or nothing where the platform means "absent".
    fn value(&self) -> Option<Value<'_>> {
        match self {
            Given::Null => None,
            Given::Bool(truth) => Some(Value::Bool(*truth)),
            Given::Int(number) => Some(Value::Int(*number)),
            Given::Float(number) => Some(Value::Float(*number)),
            Given::Json(text) => Some(Value::Json(text)),
            Given::Text(text) if is_absent(text.as_bytes()) => None,
            Given::Text(text) => Some(Value::Str(text)),
        }
    }
}

fn as_text(key: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Reject> {
    let fault = |_| Reject::NotUtf8("key".into());
    match key {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(fault),
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| Reject::NotUtf8("key".into())),
    }
}

/// A name as far as it is worth repeating in a reason.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
