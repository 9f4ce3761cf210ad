//! The head of an event while its fields are being read, and how values are normalised: times, identities, domains.
//!
//! Called by [`super::input`] only. What comes out is the same for equal content, whatever form it came in.

use super::key::Known;
use super::reject::Reject;
use super::value::{canonical_uuid, lenient_uuid};
use super::{EventId, Field, Fields, Head, Kind, Name, Value};

/// The fields of the head while an event is being read.
#[derive(Debug, Default)]
pub(super) struct Draft<'s> {
    pub(super) eventid: Option<EventId>,
    pub(super) eventts: Option<Value<'s>>,
    cid: Option<EventId>,
    /// `cid` as it was written.
    cid_text: &'s str,
    acallid: Option<&'s str>,
    acallidhash: Option<i64>,
    invitets: Option<i64>,
    connectionid: Option<&'s str>,
}

impl<'s> Draft<'s> {
    pub(super) fn note(
        &mut self,
        known: Known,
        value: Value<'s>,
        fields: &mut Fields<'s>,
    ) -> Result<(), Reject> {
        let bad = |name: &str| Reject::BadField(name.to_owned());
        match known {
            Known::EventId => self.eventid = Some(as_uuid(value).ok_or_else(|| bad("eventid"))?),
            Known::Cid => {
                self.cid = Some(as_uuid(value).ok_or_else(|| bad("cid"))?);
                self.cid_text = as_str(value).unwrap_or_default();
            }
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

    pub(super) fn head(&self) -> Result<Head<'s>, Reject> {
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
    pub(super) fn keep_connectionid(&self, head: &Head<'_>, fields: &mut Fields<'s>) {
        let Some(text) = self.connectionid else {
            return;
        };
        let derived = text.split_once('.').is_some_and(|(cid, invitets)| {
            let is_cid = cid == self.cid_text || lenient_uuid(cid.as_bytes()) == head.cid;
            is_cid && invitets.parse().ok() == head.invitets
        });
        if !derived {
            fields.push((Name::Known(Field::Connectionid), Value::Str(text)));
        }
    }
}

/// Whether a field is an identity of a rule or a call; these are mostly uuids.
#[inline]
pub(super) fn is_mostly_uuid(field: Field) -> bool {
    use Field::*;
    matches!(
        field,
        Ruleid
            | Recruleid
            | Arulerec
            | Brulerec
            | Featurecodeid
            | ReferredCid
            | ReplacesCid
            | ReferringCid
    )
}

/// A uuid as such, which takes less room, where the text is one.
pub(super) fn packed(text: &str) -> Value<'_> {
    canonical_uuid(text.as_bytes()).map_or(Value::Str(text), Value::Uuid)
}

pub(super) fn as_str(value: Value<'_>) -> Option<&str> {
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
pub(super) fn moment(value: Value<'_>) -> Option<i64> {
    let ms = match value.int()? {
        seconds @ 1..100_000_000_000 => seconds * 1000,
        ms => ms,
    };
    (100_000_000_000..10_000_000_000_000)
        .contains(&ms)
        .then_some(ms)
}

/// The identity of an event that came without one: of equal content, equal identity.
pub(super) fn content_id(
    kind: Kind,
    name: &str,
    ts: i64,
    head: &Head<'_>,
    fields: &Fields<'_>,
) -> EventId {
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
pub(super) fn serving_domain<'s>(fields: &Fields<'s>) -> Option<&'s str> {
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
