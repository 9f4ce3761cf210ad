//! Building of events and calls in tests. Only what a test says of an event is in it.

use super::{Call, Head};
use crate::event::{Event, Field, Kind, Name, Value};

/// The Call-ID of leg A of every call here.
pub(crate) const ACALLID: &str = "a-leg@test";
/// When the INVITE came.
pub(crate) const T0: i64 = 1_795_378_165_279;

/// A value of a test's event.
impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Str(text)
    }
}
impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}
impl From<bool> for Value<'_> {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

/// An event `after` ms from `T0`; its identity follows from what it says.
pub(crate) fn ev<'a>(after: i64, kind: Kind) -> Event<'a> {
    Event {
        kind,
        name: "",
        ts: T0 + after,
        id: [0; 16],
        fields: Default::default(),
    }
}

/// Adds a field.
pub(crate) trait With<'a>: Sized {
    /// The event with this field too.
    fn with(self, field: Field, value: impl Into<Value<'a>>) -> Self;
    /// The event with a fork's Call-ID and URI `sip:<callid>@b.test`.
    fn fork(self, callid: &'a str) -> Self {
        self.with(Field::Forkcallid, callid)
    }
}

impl<'a> With<'a> for Event<'a> {
    fn with(mut self, field: Field, value: impl Into<Value<'a>>) -> Self {
        self.fields.push((Name::Known(field), value.into()));
        self
    }
}

/// An `invite` at `T0` from 562 in alfa.test to 5975.
pub(crate) fn invite<'a>() -> Event<'a> {
    ev(0, Kind::Invite)
        .with(Field::Fromusername, "562")
        .with(Field::Fromdomain, "alfa.test")
        .with(Field::Callednum, "5975")
        .with(Field::Fromouter, false)
}

/// The answer, by the leg of this Call-ID.
pub(crate) fn dlg_start(after: i64, bcallid: &str) -> Event<'_> {
    ev(after, Kind::DlgStart)
        .with(Field::Dialogid, "d1")
        .with(Field::Bcallid, bcallid)
}

/// The end, as `stopreason` and `stopside` say.
pub(crate) fn dlg_end<'a>(after: i64, reason: &'a str, side: &'a str) -> Event<'a> {
    ev(after, Kind::DlgEnd)
        .with(Field::Dialogid, "d1")
        .with(Field::Stopreason, reason)
        .with(Field::Stopside, side)
}

/// The word three seconds after the end.
pub(crate) fn dlg_stop<'a>(after: i64, reason: &'a str, side: &'a str) -> Event<'a> {
    Event {
        kind: Kind::DlgStop,
        ..dlg_end(after, reason, side)
    }
}

/// The verdict that a dialog is dead, and the event that says so.
pub(crate) fn death<'a>(after: i64, lastproof: i64) -> [Event<'a>; 2] {
    [
        ev(after, Kind::Verdict)
            .with(Field::State, "dead")
            .with(Field::Reason, "owner_gone")
            .with(Field::Lastproof, T0 + lastproof)
            .with(Field::Detected, T0 + after)
            .with(Field::Evidence, Value::Json(r#"[{"kind":"monitor"}]"#)),
        ev(after, Kind::DlgDead).with(Field::Dialogid, "d1"),
    ]
}

/// The call of these events, given in any order.
pub(crate) fn call<'a>(events: impl IntoIterator<Item = Event<'a>>) -> Call<'a> {
    call_of(
        Head {
            cid: Some([7; 16]),
            acallid: Some(ACALLID),
            invitets: Some(T0),
            acallidhash: None,
        },
        events,
    )
}

/// The call with this head of these events, given in any order.
pub(crate) fn call_of<'a>(head: Head<'a>, events: impl IntoIterator<Item = Event<'a>>) -> Call<'a> {
    let mut events: Vec<Event<'a>> = events.into_iter().collect();
    for (number, event) in events.iter_mut().enumerate() {
        event.id[15] = number as u8;
        event.id[14] = (number >> 8) as u8;
    }
    events.sort_by_key(Event::key);
    Call::fold(head, events.into_iter())
}
