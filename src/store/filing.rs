//! Under what a call is filed: every identity, subscriber, label and domain that any of its events names.
//!
//! Filing only adds. A call stays filed under what it was called by at any time; whoever asks verifies.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::domains::Domains;
use super::entry::Entry;
use super::keys::{Key, Keys, Lookup, Slot};
use crate::event::{Event, Field, Head, Kind, Name, Value};

/// The Call-IDs of a call's legs.
pub(super) const CALL_IDS: [Field; 4] = [
    Field::Acallid,
    Field::Bcallid,
    Field::Forkcallid,
    Field::Outercallid,
];
/// The URIs that name who takes part.
pub(super) const PARTIES: [Field; 5] = [
    Field::Remoteuri,
    Field::Aremoteuri,
    Field::Bremoteuri,
    Field::Localuri,
    Field::Forkremoteuri,
];

/// What the events of one group have been filed under, by where the texts lie: they mostly repeat each other.
#[derive(Debug, Default)]
pub(super) struct Filed(SmallVec<[(Field, usize, usize); 16]>);

impl Filed {
    /// Whether this is the first time in the group that a field says this; for texts of the group only.
    fn is_first(&mut self, field: Field, text: &str) -> bool {
        let said = (field, text.as_ptr().addr(), text.len());
        let is_first = !self.0.contains(&said);
        if is_first && self.0.len() < self.0.inline_size() {
            self.0.push(said);
        }
        is_first
    }
}

impl Entry {
    /// Whether any of the events has a field and value of which this is true.
    pub(super) fn any(&self, wanted: impl Fn(Field, Value<'_>) -> bool) -> bool {
        let Ok(events) = self.set.iter() else {
            return false;
        };
        events.flatten().any(|event| {
            event.fields.iter().any(|&(name, value)| match name {
                Name::Known(field) => wanted(field, value),
                Name::Other(_) => false,
            })
        })
    }

    fn file(&mut self, key: Key, keys: &mut Keys, slot: Slot) -> bool {
        if self.keys.contains(&key) {
            return false;
        }
        self.keys.push(key);
        keys.insert(key, slot);
        true
    }

    /// Files the call under its own name.
    pub(super) fn file_head(&mut self, acallid: Option<&str>, keys: &mut Keys, slot: Slot) {
        self.file(Lookup::Cid(self.cid).key(), keys, slot);
        if let Some(acallid) = acallid {
            self.file(Lookup::CallId(acallid).key(), keys, slot);
        }
    }

    /// Files the call under what an event says. Returns the dialog and the name of the call that are said for the first
    /// time.
    pub(super) fn file_event<'e>(
        &mut self,
        event: &Event<'e>,
        filed: &mut Filed,
        keys: &mut Keys,
        domains: &mut Domains,
        slot: Slot,
    ) -> (Option<&'e str>, Option<Head<'e>>) {
        let (mut new_dialog, mut is_tagged) = (None, false);
        let (mut user, mut domain) = (None, None);
        for &(name, value) in &event.fields {
            let Name::Known(field) = name else { continue };
            match (field, value) {
                (Field::Dialogid | Field::Forkcallid | Field::Mgctxid, Value::Str(text))
                    if !filed.is_first(field, text) => {}
                (Field::Dialogid, Value::Str(text)) => {
                    let is_new = self.file(Lookup::Dialog(text).key(), keys, slot);
                    new_dialog = is_new.then_some(text).or(new_dialog);
                }
                (Field::Cid | Field::Acallid | Field::Invitets, _) => is_tagged = true,
                (Field::Bcallid | Field::Forkcallid | Field::Outercallid, Value::Str(text)) => {
                    self.file(Lookup::CallId(text).key(), keys, slot);
                }
                (Field::Fromusername, Value::Str(text)) => user = Some(text),
                (Field::Fromdomain, Value::Str(text)) => {
                    domain = Some(text);
                    self.join(text, domains, slot);
                }
                (Field::Adomain | Field::Bdomain, Value::Str(text)) => {
                    self.join(text, domains, slot)
                }
                (Field::Dlgbinding, Value::Str(text)) => {
                    self.file(Lookup::Binding(text).key(), keys, slot);
                }
                (Field::Mgctxid, Value::Str(text)) => {
                    self.file(Lookup::Media(text).key(), keys, slot);
                }
                (Field::Owner | Field::Newowner, Value::Str(text)) => {
                    let key = Lookup::Owner(text).key();
                    self.file(key, keys, slot);
                    // Named is who comes after another, also where it was named before: nobody may watch it any more.
                    self.owner_named |= self.last_named != Some(key);
                    self.last_named = Some(key);
                }
                (_, Value::Str(text)) if PARTIES.contains(&field) => {
                    let is_first = filed.is_first(field, text);
                    if let Some(party) = subscriber(text).filter(|_| is_first) {
                        self.file(Lookup::User(party).key(), keys, slot);
                        if field != Field::Forkremoteuri {
                            self.join(host_of(party), domains, slot);
                        }
                    }
                }
                _ => {}
            }
        }
        if let (Some(user), Some(domain), Kind::Invite) = (user, domain, event.kind) {
            self.file(Lookup::User(&format!("{user}@{domain}")).key(), keys, slot);
        }
        let name = if is_tagged {
            self.file_name(event, keys, slot)
        } else {
            None
        };
        (new_dialog, name)
    }

    /// Files the call under the name under which an event of it came.
    fn file_name<'e>(
        &mut self,
        event: &Event<'e>,
        keys: &mut Keys,
        slot: Slot,
    ) -> Option<Head<'e>> {
        let head = Head::tagged(event)?;
        if !self.note_name(&head, event.kind) {
            return None;
        }
        self.file(Lookup::Cid(head.identity()).key(), keys, slot);
        if let Some(acallid) = head.acallid {
            self.file(Lookup::CallId(acallid).key(), keys, slot);
        }
        Some(head)
    }

    fn join(&mut self, name: &str, domains: &mut Domains, slot: Slot) {
        let known = |number: &u32| domains.name(*number).eq_ignore_ascii_case(name);
        if self.domains.iter().any(known) || is_address(name) {
            return;
        }
        let number = domains.number(name);
        domains.join(&self.domains, number, slot, self.state);
        self.domains.push(number);
    }
}

/// `number@domain` of a SIP URI.
pub(super) fn subscriber(uri: &str) -> Option<&str> {
    let rest = match uri.strip_prefix("sip:") {
        Some(rest) => rest,
        None => {
            uri.split_once("sip:")
                .or_else(|| uri.split_once("sips:"))?
                .1
        }
    };
    let bytes = rest.as_bytes();
    let at = memchr::memchr(b'@', bytes)?;
    let ends = |byte: &u8| matches!(byte, b':' | b';' | b'>' | b'?' | b' ');
    let host = bytes.get(at..)?;
    let end = at + host.iter().position(ends).unwrap_or(host.len());
    rest.get(..end).filter(|_| at > 0 && end > at + 1)
}

fn host_of(subscriber: &str) -> &str {
    subscriber.rsplit_once('@').map_or("", |(_, host)| host)
}

/// An outer host is no domain of the tree.
fn is_address(name: &str) -> bool {
    name.is_empty()
        || name.starts_with('[')
        || name.len() > 253
        || name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_digit())
            && name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subscriber_is_cut_out_of_a_uri() {
        assert_eq!(subscriber("sip:562@ops.era.test"), Some("562@ops.era.test"));
        assert_eq!(
            subscriber("\"A\" <sip:562@ops.era.test:5060;x=y>"),
            Some("562@ops.era.test")
        );
        assert_eq!(subscriber("562"), None);
        assert_eq!(subscriber("sip:@"), None);
        assert!(is_address("10.0.0.1") && is_address("[::1]") && !is_address("1cc.test"));
    }
}
