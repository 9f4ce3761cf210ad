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

impl Head<'_> {
    /// The call's uuid; of a call without one, the uuid v5 of `acallid` and `invitets`: the same everywhere.
    pub fn identity(&self) -> EventId {
        self.cid.unwrap_or_else(|| {
            let name = format!(
                "call:{}:{}",
                self.acallid.unwrap_or_default(),
                self.invitets.unwrap_or_default()
            );
            *uuid::Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_bytes()
        })
    }
}

impl<'a> Head<'a> {
    /// Whether these are two names of a call, so that one says nothing about the other.
    pub fn is_other_name(&self, known: &Head<'_>) -> bool {
        self.cid.is_some() && known.cid.is_some() && self.cid != known.cid
    }

    /// Writes into an event those parts of its own head that are not `known` of the call it goes to.
    pub fn tag(&self, known: &Head<'_>, event: &mut Event<'a>) {
        let own = [
            (Field::Cid, self.cid.map(Value::Uuid), known.cid != self.cid),
            (
                Field::Acallid,
                self.acallid.map(Value::Str),
                known.acallid != self.acallid,
            ),
            (
                Field::Invitets,
                self.invitets.map(Value::Int),
                known.invitets != self.invitets,
            ),
        ];
        for (field, value, differs) in own {
            if let (Some(value), true, None) = (value, differs, event.get(field)) {
                event.fields.push((Name::Known(field), value));
            }
        }
    }
}

/// The identity of the record of a call: uuid v5 of its `cid`, the same wherever and whenever it is computed.
pub fn record_id(cid: EventId) -> EventId {
    *uuid::Uuid::new_v5(&NAMESPACE, &cid).as_bytes()
}

/// The identity of an event that came without one.
pub(crate) fn derived_id(content: &[u8]) -> EventId {
    *uuid::Uuid::new_v5(&NAMESPACE, content).as_bytes()
}
