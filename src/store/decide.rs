//! What time brings: calls that are looked at again, closed by a deadline, or forgotten.
//!
//! Forgetting happens on every node by itself. A decision is an event: it comes out of [`Store::tick`], which only the
//! active instance calls, and takes effect when it comes back through the log.

use super::Store;
use super::entry::Entry;
use super::keys::Slot;
use super::outbox::said;
use crate::call::Marks;
use crate::event::chunk::MAX_EVENTS;
use crate::event::{EventSet, Field, Kind, Value, encode};
use crate::watch::Limits;

/// What a moment brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Decisions, for the log.
    pub chunks: Vec<Vec<u8>>,
    /// When to ask next, ms; `None` when nothing waits.
    pub next_ms: Option<i64>,
}

impl Entry {
    /// When the call is to be looked at next; `i64::MAX` when nothing is awaited of it.
    fn next_deadline(&self, limits: &Limits, sinks: Option<usize>) -> i64 {
        if self.awaits_stop {
            return self.since_ms + limits.stop_wait_ms;
        }
        if !self.is_complete() || sinks.is_some_and(|sinks| !self.is_delivered(sinks)) {
            return i64::MAX;
        }
        let marks = self.life.marks;
        if marks.any(Marks::RECORDING) && !marks.any(Marks::LINKS) {
            return self.since_ms + limits.recording_wait_ms.max(limits.tombstone_ms);
        }
        self.since_ms + limits.tombstone_ms
    }
}

impl Store {
    fn deadline(&self, entry: &Entry) -> i64 {
        let sinks = self
            .settings
            .wants_records()
            .then_some(self.settings.sinks.len());
        entry.next_deadline(&self.settings.limits, sinks)
    }

    /// Notes when a call is to be looked at, unless it is looked at earlier anyway.
    pub(super) fn note_deadline(&mut self, entry: &mut Entry, slot: Slot) {
        let at = self.deadline(entry);
        if at < entry.deadline_ms {
            entry.deadline_ms = at;
            self.calendar.note(at, slot);
        }
    }

    /// Looks at the calls whose time has come: forgets those that are over for long, keeps the others for `tick`.
    pub(super) fn expire(&mut self) {
        self.tombs.expire(self.now_ms);
        while let Some(slots) = self.calendar.pop(self.now_ms) {
            for slot in slots {
                self.look_at(slot);
            }
        }
    }

    fn look_at(&mut self, slot: Slot) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.deadline_ms > self.now_ms {
            return;
        }
        let at = self.deadline(entry);
        let complete = entry.is_complete();
        if at <= self.now_ms && complete {
            return self.forget(slot);
        }
        if at <= self.now_ms {
            self.overdue.insert(slot);
        }
        let now_ms = self.now_ms;
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        entry.deadline_ms = if at > now_ms { at } else { i64::MAX };
        if at > now_ms && at < i64::MAX {
            self.calendar.note(at, slot);
        }
    }

    fn forget(&mut self, slot: Slot) {
        let until_ms = self.now_ms + self.settings.limits.tombstone_id_ms;
        if let Some(entry) = self.remove(slot, false) {
            self.tombs.insert(entry.cid, until_ms);
            for cid in entry.other_cids() {
                self.tombs.insert(cid, until_ms);
            }
        }
    }

    /// Lets time pass: what is to be decided now, and when to ask again.
    pub fn tick(&mut self, now_ms: i64) -> Tick {
        self.now_ms = self.now_ms.max(now_ms);
        self.expire();
        let now_ms = self.now_ms;
        let (mut decided, mut settled) = (Vec::new(), Vec::new());
        for &slot in &self.overdue {
            match self.entry(slot) {
                Some(entry) if self.deadline(entry) <= now_ms => {
                    decided.push(closed_by_deadline(entry, now_ms));
                }
                _ => settled.push(slot),
            }
            if decided.len() >= MAX_EVENTS {
                break;
            }
        }
        for slot in settled {
            self.overdue.remove(&slot);
            self.note_again(slot);
        }
        let chunks = encode::in_chunks(&decided)
            .into_iter()
            .map(|(chunk, _)| chunk)
            .collect();
        let next_ms = if self.overdue.len() > decided.len() {
            Some(now_ms)
        } else {
            self.calendar.next_ms()
        };
        Tick { chunks, next_ms }
    }

    /// A call that was overdue and is not any more may wait for something else.
    fn note_again(&mut self, slot: Slot) {
        let Some(mut entry) = self.calls.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.note_deadline(&mut entry, slot);
        if let Some(place) = self.calls.get_mut(slot as usize) {
            *place = Some(entry);
        }
    }
}

/// The end is known, the last word about it never came.
fn closed_by_deadline(entry: &Entry, now_ms: i64) -> EventSet {
    let name = format!(
        "call_closed:stop_lost:{}:{}",
        entry.life.facts, entry.life.sum
    );
    let fields = [(Field::Reason, Value::Str("stop_lost"))];
    said(
        entry.cid,
        Kind::CallClosed,
        now_ms.max(entry.life.last_ts),
        &name,
        &fields,
    )
}
