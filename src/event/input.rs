//! An event as a producer gives it, from terms or JSON alike, and what is made of it: checked, normalised, or rejected
//! with a reason.
//!
//! Whoever reads the producer's form (JSON here, Erlang maps in the NIF) tells [`Input`] key by key what it sees,
//! borrowed; nothing is looked up twice and nothing is copied. Text that does not lie anywhere as it is wanted (an atom,
//! JSON with escapes) goes to an arena that lives as long as the batch.

use std::collections::HashMap;

use super::draft::{Draft, as_str, content_id, is_mostly_uuid, moment, packed, serving_domain};
use super::key::Known;
use super::value::is_absent;
use super::{Event, Field, Head, Kind, Name, Value};

pub use super::reject::Reject;
pub use bumpalo::Bump as Arena;

/// The most fields of an event.
pub const MAX_FIELDS: usize = 256;
/// The most bytes of a text.
pub const MAX_TEXT_BYTES: usize = 64 << 10;
/// The most bytes of all texts of an event.
pub const MAX_EVENT_BYTES: usize = 256 << 10;
/// How deep lists and objects in a value may lie in one another.
pub const MAX_DEPTH: usize = 16;

/// A value as a producer gives it; `None` is one that says that there is none.
pub type Given<'a> = Option<Value<'a>>;

/// One event while it is being read.
#[derive(Debug)]
pub struct Input<'a> {
    class: Given<'a>,
    kind: Given<'a>,
    eventts: Given<'a>,
    draft: Draft<'a>,
    taken: Taken<'a>,
    /// The first field that is at fault.
    fault: Option<Reject>,
    count: usize,
    bytes: usize,
}

impl Default for Input<'_> {
    fn default() -> Self {
        Input {
            class: None,
            kind: None,
            eventts: None,
            draft: Draft::default(),
            taken: Taken {
                head: Head::default(),
                event: Event::empty(),
                domain: None,
            },
            fault: None,
            count: 0,
            bytes: 0,
        }
    }
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
        (self.class, self.kind, self.eventts) = (None, None, None);
        self.draft = Draft::default();
        self.taken.event.fields.clear();
        self.taken.domain = None;
        self.fault = None;
        (self.count, self.bytes) = (0, 0);
    }

    /// A key of the envelope other than `data`. Keys that the envelope does not have are passed over.
    pub fn envelope(&mut self, key: &[u8], given: Given<'a>) {
        match key {
            b"class" => self.class = given,
            b"type" => self.kind = given,
            b"eventts" => self.eventts = given.filter(|value| !is_said_absent(value)),
            b"domain" => {
                let said = given.filter(|value| !is_said_absent(value));
                self.taken.domain = said.and_then(as_str);
            }
            _ => {}
        }
    }

    /// A key of `data`, as the bytes of its text.
    ///
    /// # Errors
    /// More fields or bytes than an event may have, or a key that is no text.
    pub fn field(&mut self, key: &'a [u8], given: Given<'a>) -> Result<(), Reject> {
        match given {
            None => Ok(()),
            Some(Value::Str(text)) => self.text(key, text),
            Some(value @ Value::Json(json)) => self.value(key, value, json.len()),
            Some(value) => self.value(key, value, 8),
        }
    }

    /// A key of `data` with a text, as most are.
    ///
    /// # Errors
    /// As [`Input::field`].
    #[inline]
    pub fn text(&mut self, key: &'a [u8], text: &'a str) -> Result<(), Reject> {
        if is_absent(text.as_bytes()) {
            return Ok(());
        }
        self.value(key, Value::Str(text), text.len())
    }

    /// A key of `data` with an integer.
    ///
    /// # Errors
    /// As [`Input::field`].
    #[inline]
    pub fn int(&mut self, key: &'a [u8], number: i64) -> Result<(), Reject> {
        self.value(key, Value::Int(number), 8)
    }

    // Inlined where the value is made: it never lies in memory before it lies in its place.
    #[inline(always)]
    fn value(&mut self, key: &'a [u8], value: Value<'a>, size: usize) -> Result<(), Reject> {
        self.bytes += size + key.len();
        if self.count >= MAX_FIELDS || self.bytes > MAX_TEXT_BYTES {
            self.check_bounds(key, size)?;
        }
        self.count += 1;
        let fields = &mut self.taken.event.fields;
        match Known::of(key) {
            Some(Known::Field(field)) => {
                if field == Field::Dialogid && as_str(value).is_none() {
                    let fault = || Reject::BadField("dialogid".into());
                    self.fault.get_or_insert_with(fault);
                }
                match value {
                    Value::Str(text) if is_mostly_uuid(field) => {
                        fields.push((Name::Known(field), packed(text)));
                    }
                    _ => fields.push((Name::Known(field), value)),
                }
            }
            Some(Known::Derived) => self.count -= 1,
            Some(known) => {
                if let Err(fault) = self.draft.note(known, value, fields) {
                    self.fault.get_or_insert(fault);
                }
            }
            None => fields.push((Name::Other(as_text(key)?), value)),
        }
        Ok(())
    }

    /// One field more, of which the text has this size.
    #[cold]
    fn check_bounds(&self, key: &[u8], size: usize) -> Result<(), Reject> {
        if self.count >= MAX_FIELDS {
            return Err(Reject::TooManyFields);
        }
        if size > MAX_TEXT_BYTES || key.len() > MAX_TEXT_BYTES {
            return Err(Reject::TooLarge(clip(&String::from_utf8_lossy(key))));
        }
        if self.bytes > MAX_EVENT_BYTES {
            return Err(Reject::TooLarge("event".into()));
        }
        Ok(())
    }

    /// Makes the event of what was read and hands it on. What was read is used up.
    ///
    /// # Errors
    /// What was read is no event; the reason says which field is at fault.
    pub fn take<T>(
        &mut self,
        common: &Common<'a>,
        hand_on: impl FnOnce(&Taken<'a>) -> T,
    ) -> Result<T, Reject> {
        match self.class {
            None | Some(Value::Str("callevents")) => {}
            Some(_) => return Err(Reject::BadField("class".into())),
        }
        let (kind, name) = self.kind(common)?;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let ts = self.draft.eventts.or(self.eventts);
        let ts = ts.ok_or(Reject::Missing("eventts"))?;
        let ts = moment(ts).ok_or_else(|| Reject::BadField("eventts".into()))?;
        let head = self.draft.head()?;
        self.taken.head = head;
        let event = &mut self.taken.event;
        (event.kind, event.name, event.ts) = (kind, name, ts);
        self.draft.keep_connectionid(&head, &mut event.fields);
        if let Some(owner) = common.owner {
            let owner = (Name::Known(Field::Owner), Value::Str(owner));
            event.fields.push(owner);
        }
        event.id = match self.draft.eventid {
            Some(id) => id,
            None => content_id(kind, name, ts, &head, &event.fields),
        };
        if let Some(producer) = common.producer {
            let producer = (Name::Known(Field::Producer), Value::Str(producer));
            event.fields.push(producer);
        }
        Ok(hand_on(&self.taken))
    }

    fn kind(&self, common: &Common<'a>) -> Result<(Kind, &'a str), Reject> {
        let name = match self.kind {
            Some(Value::Str(name)) if !is_absent(name.as_bytes()) => name,
            None | Some(Value::Str(_)) => return Err(Reject::Missing("type")),
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

/// Whether a value is the platform's text for "absent".
fn is_said_absent(value: &Value<'_>) -> bool {
    matches!(value, Value::Str(text) if is_absent(text.as_bytes()))
}

fn as_text(key: &[u8]) -> Result<&str, Reject> {
    std::str::from_utf8(key).map_err(|_| Reject::NotUtf8("key".into()))
}

/// A name as far as it is worth repeating in a reason.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
