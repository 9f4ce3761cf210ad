//! What time brings: calls that are looked at again, closed by a deadline, or forgotten.
//!
//! Forgetting happens on every node by itself. A decision is an event: it comes out of [`Store::tick`], which only the
//! active instance calls, and takes effect when it comes back through the log.

use super::Store;
use super::entry::Entry;
use super::keys::Slot;
use super::looks::Look;
use super::outbox::{chunks, said};
use super::tick::Tick;
use crate::call::Marks;
use crate::event::chunk::MAX_EVENTS;
use crate::event::{EventSet, Field, Kind, Value};
use crate::watch::Limits;

/// So many events are decided at once, about as many as a producer puts: who puts beside it does not wait for long.
const DECIDED_EVENTS: usize = 512;

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
        if self.wants_mix() && limits.mix_retry_ms > 0 {
            return i64::MAX;
        }
        if marks.any(Marks::RECORDING) && !marks.any(Marks::LINKS) {
            return self.since_ms + limits.recording_wait_ms.max(limits.tombstone_ms);
        }
        self.since_ms + limits.tombstone_ms
    }
}

impl Store {
    /// When a call is to be forgotten, or closed because nothing more was said of it.
    fn last_deadline(&self, entry: &Entry) -> i64 {
        let sinks = self
            .settings
            .wants_records()
            .then_some(self.settings.sinks.len());
        entry.next_deadline(&self.settings.limits, sinks)
    }

    /// Notes when a call is to be looked at, unless it is looked at earlier anyway.
    pub(super) fn note_deadline(&mut self, entry: &mut Entry, slot: Slot) {
        let at = self
            .last_deadline(entry)
            .min(self.watch_deadline(entry, slot));
        self.note_at(entry, slot, at);
    }

    fn note_at(&mut self, entry: &mut Entry, slot: Slot, at: i64) {
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
        let forget_at = self.last_deadline(entry);
        if entry.is_complete() && forget_at <= self.now_ms {
            return self.forget(slot);
        }
        let at = match self.watches(entry) {
            true => self.now_ms,
            false => forget_at.min(self.watch_deadline(entry, slot)),
        };
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

    /// Lets time pass: what is to be decided now, what is to be done, and when to ask again. What was decided is decided
    /// again until it comes back through the log.
    pub fn tick(&mut self, now_ms: i64) -> Tick {
        self.be_active(now_ms);
        self.expire();
        let mut tick = Tick::default();
        let mut decided: Vec<Box<EventSet>> = Vec::new();
        let mut events = 0;
        let slots: Vec<Slot> = self.overdue.iter().take(MAX_EVENTS).copied().collect();
        for slot in slots {
            match self.look(slot, &mut tick) {
                Look::Decided(set) => {
                    events += set.len();
                    decided.push(set);
                }
                Look::At(at) => self.put_off(slot, at),
            }
            if events + 1 >= DECIDED_EVENTS {
                break;
            }
        }
        tick.alarms = self.watching.brakes.alarms(self.now_ms);
        self.watching.questions.let_go(self.now_ms);
        self.name_owners(&mut tick);
        tick.chunks = chunks(decided.iter().map(Box::as_ref));
        tick.next_ms = if self.overdue.len() > decided.len() || !self.watching.named.is_empty() {
            Some(self.now_ms)
        } else {
            self.calendar.next_ms()
        };
        tick
    }

    /// What is to be done about a call whose time has come.
    fn look(&mut self, slot: Slot, tick: &mut Tick) -> Look {
        let now_ms = self.now_ms;
        match self.entry(slot) {
            Some(entry) if entry.awaits_stop => match self.last_deadline(entry) {
                at if at <= now_ms => Look::Decided(Box::new(closed_by_deadline(entry, now_ms))),
                at => Look::At(at),
            },
            Some(entry) if entry.state.is_over() => self.look_back(slot, tick),
            Some(_) => self.look_after(slot, tick),
            None => Look::At(i64::MAX),
        }
    }

    /// A call that was overdue is looked at again later.
    fn put_off(&mut self, slot: Slot, at: i64) {
        self.overdue.remove(&slot);
        let Some(mut entry) = self.calls.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        let at = at.min(self.last_deadline(&entry));
        self.note_at(&mut entry, slot, at);
        if let Some(place) = self.calls.get_mut(slot as usize) {
            *place = Some(entry);
        }
    }

    /// Notes when a call is to be looked at, for what it may wait for now.
    pub(super) fn note_again(&mut self, slot: Slot) {
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
