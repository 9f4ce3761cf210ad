//! Looks at calls that are not over, and whose time has come: what was seen is weighed, owners are asked, the dead
//! are told.
//!
//! Only [`Store::tick`] looks, which only the active instance calls. Always holds: a call that is not over is looked at
//! again at some time; a death on one kind of evidence keeps the appointment that the brakes gave it; what is found is
//! an event for the log, and takes effect when it comes back.

use super::Store;
use super::deaths::{Decision, Told};
use super::entry::Entry;
use super::keys::Slot;
use super::outbox::{chunks, said};
use super::tick::{Probe, Rescue, Tick};
use crate::call::State;
use crate::event::chunk::MAX_EVENTS;
use crate::event::{EventId, EventSet, Field, Kind, Value};
use crate::watch::{Judgement, Seen, Server, Verdict, owner};

/// What came of a look.
pub enum Look {
    /// This is to be said.
    Decided(Box<EventSet>),
    /// It is to be looked at again then.
    At(i64),
}

/// Calls whose owner is not asked are looked at so often all the same.
const LONG_LOOK_MS: i64 = 60_000;

impl Store {
    /// Whether owners are watched here: by the active instance, where records are wanted at all.
    pub(super) fn tracks(&self) -> bool {
        self.watching.active && self.settings.cdr_enabled
    }

    /// Whether a call is one that the active instance looks after.
    pub(super) fn watches(&self, entry: &Entry) -> bool {
        self.tracks() && !entry.state.is_over() && !entry.awaits_stop
    }

    /// When a call is to be looked at for what was seen of it, or for how long it lasts.
    pub(super) fn watch_deadline(&self, entry: &Entry, slot: Slot) -> i64 {
        if !self.tracks() || entry.awaits_stop {
            return i64::MAX;
        }
        let seen = self.watching.seen.get(&slot);
        match seen {
            Some(seen) => seen.next_ms,
            None if entry.state.is_over() => self.back_deadline(entry),
            None => self.next_round(entry),
        }
    }

    /// The times at which calls of which nothing was seen are looked at: every so often since they began.
    fn next_round(&self, entry: &Entry) -> i64 {
        let every_ms = match self.settings.limits.probe_ms {
            0 => LONG_LOOK_MS,
            probe_ms => probe_ms,
        };
        let lasts_ms = (self.now_ms - entry.life.first_ts).max(0);
        self.now_ms + every_ms - lasts_ms % every_ms
    }

    /// Looks at a call that is not over.
    pub(super) fn look_after(&mut self, slot: Slot, tick: &mut Tick) -> Look {
        let known = self.watching.seen.remove(&slot);
        let is_known = known.is_some();
        let mut seen = known.unwrap_or_default();
        let Some(entry) = self.calls.get(slot as usize).and_then(Option::as_deref) else {
            return Look::At(i64::MAX);
        };
        let told = Told::of(entry);
        seen.settle_owner(told.owner);
        let judged = self.judge(entry, &seen, told.owner);
        let look = match judged.verdict {
            Verdict::Dead => {
                let brakes = &mut self.watching.brakes;
                let (is_sure, per_s) = (judged.kinds > 1, self.settings.limits.ends_per_s);
                if seen.appointment_ms == 0 {
                    let key = owner::brake_key(told.owner);
                    seen.appointment_ms = brakes.appoint(&key, self.now_ms, per_s, is_sure);
                } else if is_sure {
                    seen.appointment_ms = seen.appointment_ms.min(self.now_ms);
                }
                match self.wait_for_rescue(entry, &mut seen, &told, &judged, tick) {
                    Some(until_ms) => Look::At(until_ms),
                    None => {
                        let said = self.found_dead(entry, &seen, &told, &judged);
                        Look::Decided(Box::new(said))
                    }
                }
            }
            verdict => {
                (seen.appointment_ms, seen.rescue_ms) = (0, 0);
                let round_ms = self.ask(entry, &mut seen, &told, verdict, is_known, tick);
                Look::At(round_ms.min(judged.again_ms))
            }
        };
        self.keep(slot, seen, &look);
        look
    }

    pub(super) fn keep(&mut self, slot: Slot, mut seen: Box<Seen>, look: &Look) {
        seen.next_ms = match look {
            Look::Decided(_) => self.now_ms,
            Look::At(at) => *at,
        };
        if !seen.is_empty() {
            self.watching.seen.insert(slot, seen);
        }
    }

    /// Until when a call that is found dead is left alone: until its appointment, and then for a rescue.
    fn wait_for_rescue(
        &self,
        entry: &Entry,
        seen: &mut Seen,
        told: &Told<'_>,
        judged: &Judgement,
        tick: &mut Tick,
    ) -> Option<i64> {
        let (now_ms, limits) = (self.now_ms, &self.settings.limits);
        if seen.appointment_ms > now_ms {
            return Some(seen.appointment_ms);
        }
        let may_be_rescued = limits.rescue_ms > 0
            && judged.server_lost
            && matches!(entry.state, State::Confirmed | State::Held);
        let dialog = told.dialog.filter(|_| may_be_rescued)?;
        if seen.rescue_ms == 0 {
            seen.rescue_ms = now_ms;
            tick.rescue.push(Rescue {
                cid: entry.cid,
                dialog: dialog.to_owned(),
                owner: told.owner.map(str::to_owned),
                until_ms: now_ms + limits.rescue_ms,
            });
        }
        let until_ms = seen.rescue_ms + limits.rescue_ms;
        (until_ms > now_ms).then_some(until_ms)
    }

    /// Asks who must know, if it is time for that. Returns when it is time again.
    fn ask(
        &self,
        entry: &Entry,
        seen: &mut Seen,
        told: &Told<'_>,
        verdict: Verdict,
        is_known: bool,
        tick: &mut Tick,
    ) -> i64 {
        let (now_ms, probe_ms) = (self.now_ms, self.settings.limits.probe_ms);
        // A process that serves this dialog only is monitored: it is asked when there is doubt.
        let stands = Server::of(told.owner) == Server::Process && seen.lost.is_none();
        let by_round = told.dialog.is_some() && !stands;
        if probe_ms == 0 || verdict != Verdict::Suspect && !by_round {
            return self.next_round(entry).max(now_ms + LONG_LOOK_MS);
        }
        if is_known && seen.asked_ms == 0 && verdict != Verdict::Suspect {
            // Its rounds begin now: what was seen of it was seen just now.
            seen.asked_ms = now_ms;
        }
        let due_ms = match seen.asked_ms {
            0 => now_ms,
            asked_ms => asked_ms + probe_ms,
        };
        if due_ms > now_ms {
            return due_ms;
        }
        if is_known {
            seen.asked_ms = now_ms;
        }
        let cid = || Value::Uuid(entry.cid).text().into_owned();
        tick.probe.push(Probe {
            dialog: told.dialog.map_or_else(cid, str::to_owned),
            owner: told.owner.map(str::to_owned),
        });
        self.next_round(entry).min(now_ms + probe_ms)
    }

    /// What is said of a call that is found dead.
    fn found_dead(
        &self,
        entry: &Entry,
        seen: &Seen,
        told: &Told<'_>,
        judged: &Judgement,
    ) -> EventSet {
        let lastproof = seen.last_proof(&entry.life, Server::of(told.owner));
        let is_aged = judged.reason == "age";
        let decision = Decision {
            reason: judged.reason,
            evidence: &seen.to_json(is_aged.then_some(self.now_ms - lastproof)),
            lastproof,
            now_ms: self.now_ms,
        };
        match told.dialog {
            None if is_aged => decision.aged(entry),
            _ => decision.died(entry, told),
        }
    }

    /// The owners that were named since the last tick.
    pub(super) fn name_owners(&mut self, tick: &mut Tick) {
        let named = &mut self.watching.named;
        let rest = named.split_off(named.len().min(MAX_EVENTS));
        let slots = std::mem::replace(&mut self.watching.named, rest);
        let live = slots.into_iter().filter_map(|slot| self.entry(slot));
        let owners = live
            .filter(|entry| !entry.state.is_over())
            .filter_map(Entry::quick_owner);
        tick.owners = owners.collect();
        tick.owners.sort_unstable();
        tick.owners.dedup();
    }
}

/// The fact that a conversation was restored under another owner, as chunks for the log.
pub fn rescued(cid: EventId, owner: &str, now_ms: i64) -> Vec<Vec<u8>> {
    let fields = [(Field::Newowner, Value::Str(owner))];
    let name = format!("rescued:{owner}:{now_ms}");
    chunks(&[said(cid, Kind::Rescued, now_ms, &name, &fields)])
}
