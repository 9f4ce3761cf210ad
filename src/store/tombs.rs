//! The identities of calls that are over and forgotten: what comes late for them begins no new call.

use std::collections::{HashMap, VecDeque};

use crate::event::EventId;

/// Identities, each until its time is over.
#[derive(Debug, Default)]
pub struct Tombs {
    until: HashMap<EventId, i64, foldhash::fast::FixedState>,
    order: VecDeque<(i64, EventId)>,
}

impl Tombs {
    /// Keeps an identity until a moment.
    pub fn insert(&mut self, cid: EventId, until_ms: i64) {
        self.until.insert(cid, until_ms);
        self.order.push_back((until_ms, cid));
    }

    /// Whether a call is over and forgotten.
    pub fn contains(&self, cid: &EventId) -> bool {
        self.until.contains_key(cid)
    }

    /// Lets go of the identities whose time is over.
    pub fn expire(&mut self, now_ms: i64) {
        while let Some(&(until, cid)) = self.order.front().filter(|(until, _)| *until <= now_ms) {
            self.order.pop_front();
            if self.until.get(&cid) == Some(&until) {
                self.until.remove(&cid);
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.until.capacity() * 26 + self.order.capacity() * 24
    }
}
