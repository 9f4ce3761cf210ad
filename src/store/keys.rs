//! From what a call is called by to where it is: one hash table for identities, ordered postings for what many calls
//! have in common.
//!
//! Only hashes of 32 bits are kept, so whoever looks up verifies what it finds. Every call remembers the hashes under
//! which it was filed; that is how it is taken out again.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::ops::Bound;

use hashbrown::HashTable;

use crate::event::EventId;

/// Where a call is.
pub type Slot = u32;

/// A hashed key; equal texts of different use have different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u32);

/// What a call can be found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// Its `cid`.
    Cid(EventId),
    /// Its dialog.
    Dialog(&'a str),
    /// The Call-ID of any of its legs.
    CallId(&'a str),
    /// A subscriber, `number@domain`.
    User(&'a str),
    /// A label.
    Binding(&'a str),
    /// Who serves it, as callstore packs it.
    Owner(&'a str),
    /// Its media context.
    Media(&'a str),
}

impl Lookup<'_> {
    /// The key.
    pub fn key(self) -> Key {
        let (salt, bytes): (u8, &[u8]) = match &self {
            Lookup::Cid(cid) => (1, cid),
            Lookup::Dialog(text) => (2, text.as_bytes()),
            Lookup::CallId(text) => (3, text.as_bytes()),
            Lookup::User(text) => (4, text.as_bytes()),
            Lookup::Binding(text) => (5, text.as_bytes()),
            Lookup::Owner(text) => (6, text.as_bytes()),
            Lookup::Media(text) => (7, text.as_bytes()),
        };
        let mut hasher = foldhash::fast::FixedState::with_seed(u64::from(salt)).build_hasher();
        hasher.write(bytes);
        let hash = hasher.finish();
        // The lowest bit says in which of the two structures the key is.
        let common = u32::from(matches!(
            self,
            Lookup::User(_) | Lookup::Binding(_) | Lookup::Owner(_)
        ));
        Key((hash ^ hash >> 32) as u32 & !1 | common)
    }
}

/// Both structures.
#[derive(Debug, Default)]
pub struct Keys {
    identities: HashTable<(u32, Slot)>,
    common: Postings,
}

impl Keys {
    /// Files a call under a key that it was not filed under.
    pub fn insert(&mut self, key: Key, slot: Slot) {
        if key.is_common() {
            self.common.insert(key.0, slot);
        } else {
            self.identities
                .insert_unique(spread(key.0), (key.0, slot), |&(key, _)| spread(key));
        }
    }

    /// Takes a call out.
    pub fn remove(&mut self, key: Key, slot: Slot) {
        if key.is_common() {
            self.common.remove(key.0, slot);
        } else if let Ok(found) = self
            .identities
            .find_entry(spread(key.0), |&entry| entry == (key.0, slot))
        {
            found.remove();
        }
    }

    /// Calls filed under an identity, to be verified.
    pub fn identity(&self, key: Key) -> impl Iterator<Item = Slot> {
        self.identities
            .iter_hash(spread(key.0))
            .filter(move |&&(found, _)| found == key.0)
            .map(|&(_, slot)| slot)
    }

    /// Calls filed under a common key from a slot on, in order of slots, to be verified.
    pub fn common(&self, key: Key, from: Slot) -> impl Iterator<Item = Slot> {
        self.common.from(key.0, from)
    }

    /// Bytes on the heap, by estimate.
    pub fn heap_bytes(&self) -> usize {
        self.identities.capacity() * 9 + self.common.heap_bytes()
    }
}

impl Key {
    /// Whether many calls have it.
    pub fn is_common(self) -> bool {
        self.0 & 1 == 1
    }
}

fn spread(key: u32) -> u64 {
    u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Pairs of a number and a slot in order.
#[derive(Debug, Default)]
pub struct Postings(BTreeSet<u64>);

impl Postings {
    /// Adds a pair.
    pub fn insert(&mut self, number: u32, slot: Slot) {
        self.0.insert(pair(number, slot));
    }

    /// Removes a pair.
    pub fn remove(&mut self, number: u32, slot: Slot) {
        self.0.remove(&pair(number, slot));
    }

    /// The slots of a number from one on.
    pub fn from(&self, number: u32, from: Slot) -> impl Iterator<Item = Slot> {
        let bounds = (
            Bound::Included(pair(number, from)),
            Bound::Included(pair(number, Slot::MAX)),
        );
        self.0.range(bounds).map(|&pair| pair as Slot)
    }

    /// Bytes on the heap, by estimate: nodes of 11 pairs, three quarters full.
    pub fn heap_bytes(&self) -> usize {
        self.0.len() * 14
    }
}

fn pair(number: u32, slot: Slot) -> u64 {
    u64::from(number) << 32 | u64::from(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filed_is_found_until_it_is_taken_out() {
        let mut keys = Keys::default();
        for slot in 0..1000 {
            keys.insert(Lookup::Dialog(&format!("d{slot}")).key(), slot);
            keys.insert(Lookup::User("562@alfa").key(), slot);
        }
        assert!(
            keys.identity(Lookup::Dialog("d77").key())
                .any(|slot| slot == 77)
        );
        assert_eq!(keys.common(Lookup::User("562@alfa").key(), 990).count(), 10);
        keys.remove(Lookup::Dialog("d77").key(), 77);
        keys.remove(Lookup::User("562@alfa").key(), 995);
        assert!(
            !keys
                .identity(Lookup::Dialog("d77").key())
                .any(|slot| slot == 77)
        );
        assert_eq!(keys.common(Lookup::User("562@alfa").key(), 990).count(), 9);
        assert_ne!(Lookup::Dialog("x").key(), Lookup::CallId("x").key());
    }
}
