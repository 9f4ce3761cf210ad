//! An event as a producer gives it, from terms or JSON alike, and what is made of it: checked, normalised, or rejected
//! with a reason.
//!
//! Whoever reads the producer's form (JSON here, Erlang maps in the NIF) tells [`Input`] key by key what it sees,
//! borrowed; nothing is looked up twice.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::field::FIELDS;
use super::value::{canonical_uuid, is_absent, lenient_uuid};
use super::{Event, EventId, Field, Fields, Head, Kind, Name, Value};

/// The most fields of an event.
pub const MAX_FIELDS: usize = 256;
/// The most bytes of a text.
pub const MAX_TEXT_BYTES: usize = 64 << 10;
/// The most bytes of all texts of an event.
pub const MAX_EVENT_BYTES: usize = 256 << 10;
/// How deep lists and objects in a value may lie in one another.
pub const MAX_DEPTH: usize = 16;

/// Why an event was rejected. The others of its batch are taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// Not an object, or not a map.
    #[error("not an object")]
    NotAnObject,
    /// Not JSON, from this byte on.
    #[error("not JSON at byte {0}")]
    Json(usize),
    /// `data` is missing or no object.
    #[error("no data")]
    NoData,
    /// A field that every event needs is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Neither `cid` nor `acallid` with `invitets`.
    #[error("no identity: neither cid nor acallid with invitets")]
    NoIdentity,
    /// A field's value is of the wrong form.
    #[error("{0} has a value of the wrong form")]
    BadField(String),
    /// A text, or the event, is larger than allowed.
    #[error("{0} is too large")]
    TooLarge(String),
    /// More fields than allowed.
    #[error("too many fields")]
    TooManyFields,
    /// A value lies too deep.
    #[error("{0} is nested too deep")]
    TooDeep(String),
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
}

impl Reject {
    /// The reason as one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Reject::NotAnObject => "not_an_object",
            Reject::Json(_) => "bad_json",
            Reject::NoData => "no_data",
            Reject::Missing(_) => "missing",
            Reject::NoIdentity => "no_identity",
            Reject::BadField(_) => "bad_field",
            Reject::TooLarge(_) => "too_large",
            Reject::TooManyFields => "too_many_fields",
            Reject::TooDeep(_) => "too_deep",
            Reject::NotUtf8(_) => "not_utf8",
        }
    }

    /// The field that the reason is about.
    pub fn field(&self) -> Option<&str> {
        match self {
            Reject::Missing(field) => Some(field),
            Reject::BadField(field)
            | Reject::TooLarge(field)
            | Reject::TooDeep(field)
            | Reject::NotUtf8(field) => Some(field),
            _ => None,
        }
    }
}

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

/// A known key: a part of the head, or a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    EventId,
    EventTs,
    Cid,
    Acallid,
    AcallidHash,
    Invitets,
    Connectionid,
    /// Written out of others by whoever wants it.
    Derived,
    Field(Field),
}

impl Known {
    fn of(name: &[u8]) -> Option<Known> {
        type Names = HashMap<&'static [u8], Known, foldhash::fast::FixedState>;
        static NAMES: LazyLock<Names> = LazyLock::new(|| {
            // What callstore says of an owner or a producer, it says itself.
            let own = |field: Field| matches!(field, Field::Owner | Field::Producer);
            let fields = FIELDS.iter().filter(|&&(field, _)| !own(field));
            let head: [(&[u8], Known); 8] = [
                (b"eventid", Known::EventId),
                (b"eventts", Known::EventTs),
                (b"cid", Known::Cid),
                (b"acallid", Known::Acallid),
                (b"acallidhash", Known::AcallidHash),
                (b"invitets", Known::Invitets),
                (b"connectionid", Known::Connectionid),
                (b"invitedt", Known::Derived),
            ];
            let fields = fields.map(|&(field, name)| (name.as_bytes(), Known::Field(field)));
            fields.chain(head).collect()
        });
        NAMES.get(name).copied()
    }
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

/// The fields of the head while an event is being sorted.
#[derive(Default)]
struct Draft<'s> {
    eventid: Option<EventId>,
    eventts: Option<Value<'s>>,
    cid: Option<EventId>,
    acallid: Option<&'s str>,
    acallidhash: Option<i64>,
    invitets: Option<i64>,
    connectionid: Option<&'s str>,
}

impl<'s> Draft<'s> {
    fn note(
        &mut self,
        known: Known,
        value: Value<'s>,
        fields: &mut Fields<'s>,
    ) -> Result<(), Reject> {
        let bad = |name: &str| Reject::BadField(name.to_owned());
        match known {
            Known::EventId => self.eventid = Some(as_uuid(value).ok_or_else(|| bad("eventid"))?),
            Known::Cid => self.cid = Some(as_uuid(value).ok_or_else(|| bad("cid"))?),
            Known::EventTs => self.eventts = Some(value),
            Known::Acallid => self.acallid = Some(as_str(value).ok_or_else(|| bad("acallid"))?),
            Known::Invitets => {
                self.invitets = Some(moment(value).ok_or_else(|| bad("invitets"))?);
            }
            Known::Connectionid => {
                self.connectionid = Some(as_str(value).ok_or_else(|| bad("connectionid"))?);
            }
            Known::AcallidHash => match value {
                Value::Int(hash) => self.acallidhash = Some(hash),
                _ => fields.push((Name::Other("acallidhash"), value)),
            },
            Known::Derived | Known::Field(_) => {}
        }
        Ok(())
    }

    fn head(&self) -> Result<Head<'s>, Reject> {
        if self.cid.is_none() && (self.acallid.is_none() || self.invitets.is_none()) {
            return Err(Reject::NoIdentity);
        }
        Ok(Head {
            cid: self.cid,
            acallid: self.acallid,
            invitets: self.invitets,
            acallidhash: self.acallidhash,
        })
    }

    /// `connectionid` is `cid.invitets`; only another one is kept.
    fn keep_connectionid(&self, head: &Head<'_>, fields: &mut Fields<'s>) {
        let Some(text) = self.connectionid else {
            return;
        };
        let derived = text.split_once('.').is_some_and(|(cid, invitets)| {
            lenient_uuid(cid.as_bytes()) == head.cid && invitets.parse().ok() == head.invitets
        });
        if !derived {
            fields.push((Name::Known(Field::Connectionid), Value::Str(text)));
        }
    }
}

/// Identities of rules and calls are mostly uuids, which take less room as such.
fn packed(field: Field, value: Value<'_>) -> Value<'_> {
    use Field::*;
    match (field, value) {
        (
            Ruleid | Recruleid | Arulerec | Brulerec | Featurecodeid | ReferredCid | ReplacesCid
            | ReferringCid,
            Value::Str(text),
        ) => canonical_uuid(text.as_bytes()).map_or(value, Value::Uuid),
        _ => value,
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

fn as_str(value: Value<'_>) -> Option<&str> {
    match value {
        Value::Str(text) => Some(text),
        _ => None,
    }
}

fn as_uuid(value: Value<'_>) -> Option<EventId> {
    match value {
        Value::Str(text) => lenient_uuid(text.as_bytes()),
        _ => None,
    }
}

/// A time in ms; a small value is one in seconds. Only times between 1973 and 2286 are.
fn moment(value: Value<'_>) -> Option<i64> {
    let ms = match value.int()? {
        seconds @ 1..100_000_000_000 => seconds * 1000,
        ms => ms,
    };
    (100_000_000_000..10_000_000_000_000)
        .contains(&ms)
        .then_some(ms)
}

/// The identity of an event that came without one: of equal content, equal identity.
fn content_id(kind: Kind, name: &str, ts: i64, head: &Head<'_>, fields: &Fields<'_>) -> EventId {
    let mut lines: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={value:?}", name.text()))
        .collect();
    lines.sort_unstable();
    let own = if kind == Kind::Unknown {
        name
    } else {
        kind.name()
    };
    let content = format!("{own}\n{ts}\n{head:?}\n{}", lines.join("\n"));
    super::head::derived_id(content.as_bytes())
}

/// The domain that decides who serves the call: the caller's.
fn serving_domain<'s>(fields: &Fields<'s>) -> Option<&'s str> {
    const DOMAINS: [Field; 3] = [Field::Fromdomain, Field::Adomain, Field::Routedomain];
    const URIS: [Field; 3] = [Field::Aremoteuri, Field::Remoteuri, Field::Urifrom];
    let get = |wanted: Field| {
        let found = fields.iter().find(|(name, _)| *name == Name::Known(wanted));
        found.and_then(|&(_, value)| as_str(value))
    };
    DOMAINS
        .into_iter()
        .find_map(get)
        .or_else(|| URIS.into_iter().find_map(|field| get(field).and_then(host)))
}

/// The host of a SIP URI, where it has one: a tenant's domain.
pub(crate) fn host(uri: &str) -> Option<&str> {
    let (_, rest) = uri.rsplit_once('@')?;
    let end = rest.find([':', ';', '>', '?', ' ']).unwrap_or(rest.len());
    rest.get(..end).filter(|host| !host.is_empty())
}

/// A name as far as it is worth repeating in a reason.
fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
