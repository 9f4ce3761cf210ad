//! What all events of one call share, written once in front of them.

use super::{Event, EventId, Field, Name, Value};

/// The identity of a call: `cid`, or `acallid` with `invitets`, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The call's uuid.
    pub cid: Option<EventId>,
    /// Call-ID of leg A.
    pub acallid: Option<&'a str>,
    /// Time of the INVITE, ms since 1970 UTC.
    pub invitets: Option<i64>,
    /// Hash of `acallid`, as the platform computed it.
    pub acallidhash: Option<i64>,
}

/// Names the uuids that stand in where the platform gave none, and those of records.
const NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0x5b0e_9d3a_71c4_5a52_9d0e_ca11_5702_e001);

/// The version of the uuids that stand in for a `cid`.
const STAND_IN: u8 = 8;

impl Head<'_> {
    /// The call's uuid; of a call without one, a uuid made of `acallid` and `invitets`: the same everywhere, and of
    /// version 8, so that it is told from those of the platform.
    pub fn identity(&self) -> EventId {
        self.cid.unwrap_or_else(|| {
            let name = format!(
                "call:{}:{}",
                self.acallid.unwrap_or_default(),
                self.invitets.unwrap_or_default()
            );
            let mut cid = *uuid::Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_bytes();
            cid[6] = STAND_IN << 4 | cid[6] & 0x0f;
            cid
        })
    }
}

impl<'a> Head<'a> {
    /// The leg of A, where both parts of it are known.
    pub fn leg(&self) -> Option<(&'a str, i64)> {
        self.acallid.zip(self.invitets)
    }

    /// Whether this names the call by its leg only. What stands in for a `cid` is no name.
    pub fn is_nameless(&self) -> bool {
        match self.cid {
            None => true,
            Some(cid) => self.leg().is_some() && self.is_stood_for_by(cid),
        }
    }

    /// Whether a uuid is the one that stands in for the `cid` of this leg.
    fn is_stood_for_by(&self, cid: EventId) -> bool {
        let nameless = Head { cid: None, ..*self };
        may_stand_in(&cid) && nameless.identity() == cid
    }

    /// Whether an event with this head needs nothing beside what is `known` of a call: both are one name, and no part of
    /// the one denies the other.
    pub fn agrees(&self, known: &Head<'_>) -> bool {
        fn denies<T: PartialEq>(own: Option<T>, known: Option<T>) -> bool {
            own.is_some() && known.is_some() && own != known
        }
        let is_same = match (self.cid, known.cid) {
            (Some(own), Some(known)) => own == known,
            (None, None) => self.leg() == known.leg(),
            (None, Some(cid)) => self.is_stood_for_by(cid),
            (Some(cid), None) => known.is_stood_for_by(cid),
        };
        is_same && !denies(self.acallid, known.acallid) && !denies(self.invitets, known.invitets)
    }

    /// Writes the whole head into an event that goes to a call which is called otherwise, unless it has one.
    pub fn tag(&self, known: &Head<'_>, event: &mut Event<'a>) {
        if self.agrees(known) || Head::tagged(event).is_some() {
            return;
        }
        let parts = [
            (Field::Cid, self.cid.map(Value::Uuid)),
            (Field::Acallid, self.acallid.map(Value::Str)),
            (Field::Invitets, self.invitets.map(Value::Int)),
        ];
        for (field, value) in parts {
            let value = value.map(|value| (Name::Known(field), value));
            event.fields.extend(value);
        }
    }

    /// The head with which an event was said, where it was written into the event.
    pub fn tagged(event: &Event<'a>) -> Option<Head<'a>> {
        let head = Head {
            cid: match event.get(Field::Cid) {
                Some(Value::Uuid(cid)) => Some(cid),
                _ => None,
            },
            acallid: event.str(Field::Acallid),
            invitets: event.int(Field::Invitets),
            acallidhash: None,
        };
        (head != Head::default()).then_some(head)
    }

    /// Takes out of an event the head that was written into it.
    pub fn untag(event: &mut Event<'a>) -> Option<Head<'a>> {
        let head = Head::tagged(event)?;
        let parts = [Field::Cid, Field::Acallid, Field::Invitets];
        let is_part = |name: &Name<'_>| parts.iter().any(|&part| *name == Name::Known(part));
        event.fields.retain(|(name, _)| !is_part(name));
        Some(head)
    }
}

/// Whether a uuid has the form of those that stand in where there is no `cid`.
pub(crate) fn may_stand_in(cid: &EventId) -> bool {
    cid[6] >> 4 == STAND_IN
}

/// The identity of the record of a call: uuid v5 of its `cid`, the same wherever and whenever it is computed.
pub fn record_id(cid: EventId) -> EventId {
    *uuid::Uuid::new_v5(&NAMESPACE, &cid).as_bytes()
}

/// The identity of an event that came without one.
pub(crate) fn derived_id(content: &[u8]) -> EventId {
    *uuid::Uuid::new_v5(&NAMESPACE, content).as_bytes()
}
