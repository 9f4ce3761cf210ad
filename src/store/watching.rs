//! What the active instance sees of the calls that are not over: evidence comes in, owners are told.
//!
//! Kept here and nowhere else, for calls of which there is any, and only between [`Store::take_over`] and
//! [`Store::stand_down`]: evidence is not in the log. Evidence decides nothing by itself; it has the calls that it is
//! about looked at by the next [`Store::tick`]. Evidence about an owner is about the calls that it serves when it comes.

use std::collections::{HashMap, HashSet};

use super::Store;
use super::deaths::Told;
use super::entry::Entry;
use super::keys::{Lookup, Slot};
use crate::call::{Marks, State};
use crate::event::EventId;
use crate::event::value::lenient_uuid;
use crate::watch::evidence::Stream;
use crate::watch::seen::{Loss, Lost};
use crate::watch::{Brakes, Case, Evidence, Judgement, Seen, Server, Verdict, owner, weigh};

/// What the active instance sees.
#[derive(Debug, Default)]
pub struct Watching {
    /// Whether this is the active instance.
    pub active: bool,
    /// Until when reports about RTP may still be on their way to a new active.
    pub media_awaited_ms: i64,
    /// What was seen, by call.
    pub seen: HashMap<Slot, Box<Seen>, foldhash::fast::FixedState>,
    /// What holds mass deaths.
    pub brakes: Brakes,
    /// What holds questions about those that were declared dead.
    pub questions: Brakes,
    /// Calls of which another owner was named than before, or that live again.
    pub named: Vec<Slot>,
}

impl Watching {
    /// Bytes on the heap, by estimate.
    pub fn heap_bytes(&self) -> usize {
        self.seen.capacity() * 17
            + self.seen.len() * Seen::BYTES
            + self.brakes.heap_bytes()
            + self.questions.heap_bytes()
            + self.named.capacity() * size_of::<Slot>()
    }

    /// A call is no more; what was seen of it goes on with the call that took it in.
    pub fn leave(&mut self, slot: Slot, into: Option<Slot>) {
        let seen = self.seen.remove(&slot);
        if let (Some(seen), Some(into)) = (seen, into) {
            self.seen.entry(into).or_insert(seen);
        }
    }
}

/// Who serves calls, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Owners and the numbers of their calls that are not over.
    pub owners: Vec<(String, usize)>,
    /// Where to go on; `None` at the end.
    pub next: Option<u32>,
}

impl Store {
    /// From now on this is the active instance. Nothing has been seen yet.
    pub fn take_over(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
        let grace_ms = match self.live() {
            0 => 0,
            _ => self.settings.limits.takeover_grace_ms,
        };
        self.watching = Watching {
            active: true,
            media_awaited_ms: self.now_ms + grace_ms,
            ..Watching::default()
        };
        for slot in 0..self.calls.len() as Slot {
            self.note_again(slot);
        }
    }

    /// From now on another instance is the active one.
    pub fn stand_down(&mut self) {
        self.watching = Watching::default();
    }

    /// Something was seen.
    pub fn evidence(&mut self, evidence: &Evidence<'_>, now_ms: i64) {
        self.be_active(now_ms);
        if !self.tracks() {
            return;
        }
        let (now_ms, limits) = (self.now_ms, self.settings.limits.clone());
        match *evidence {
            Evidence::OwnerDown { owner, reason } => {
                for slot in self.served_by(owner) {
                    self.lose(slot, owner, reason, None);
                }
            }
            Evidence::OwnerUp { owner } => {
                for slot in self.served_by(owner) {
                    self.see_again(slot, Seen::find_owner);
                }
            }
            Evidence::NodeDown { node } => {
                for (slot, owner) in self.on_node(node) {
                    self.lose(slot, &owner, "noconnection", Some(node));
                }
            }
            Evidence::NodeUp { node } => {
                let slots: Vec<Slot> = self.watching.seen.keys().copied().collect();
                for slot in slots {
                    self.see_again(slot, |seen| seen.find_node(node, now_ms));
                }
            }
            Evidence::Probe { dialog, answer } => {
                if let Some(slot) = self.slot_of_dialog(dialog) {
                    self.see(slot, |seen| seen.answer(answer, now_ms, &limits));
                }
            }
            // That an inventory could not be made says nothing.
            Evidence::Inventory { dialogs: None, .. } => {}
            Evidence::Inventory {
                owner,
                dialogs: Some(ref dialogs),
            } => {
                let there: HashSet<Slot> = dialogs
                    .iter()
                    .filter_map(|dialog| self.slot_of_dialog(dialog))
                    .collect();
                for &slot in &there {
                    self.see(slot, |seen| seen.prove(now_ms));
                }
                let mut missing = self.served_by(owner);
                missing.retain(|slot| {
                    let entry = self.entry(*slot);
                    entry.is_some_and(|entry| entry.life.marks.any(Marks::DIALOG))
                        && !there.contains(slot)
                });
                // An owner that serves several and has nobody may have failed to say whom.
                let is_doubtful = dialogs.is_empty() && missing.len() > 1;
                for slot in missing {
                    self.see(slot, |seen| match is_doubtful {
                        true => seen.miss_all(now_ms, &limits),
                        false => seen.miss(now_ms, &limits),
                    });
                }
            }
            Evidence::Rtp {
                stream,
                last_ms,
                active,
            } => {
                let lookup = match stream {
                    Stream::Dialog(dialog) => Lookup::Dialog(dialog),
                    Stream::Context(context) => Lookup::Media(context),
                };
                if let Some(slot) = self.slot_called(lookup) {
                    self.see(slot, |seen| seen.hear(last_ms, active, now_ms));
                }
            }
        }
    }

    /// Only an active instance is told what is seen, and only it lets time pass.
    pub(super) fn be_active(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
        if !self.watching.active {
            self.take_over(now_ms);
        }
    }

    /// Notes what was seen of a call, which is looked at by the next tick.
    fn see(&mut self, slot: Slot, note: impl FnOnce(&mut Seen)) {
        let matters = |entry: &Entry| !entry.state.is_over() || entry.is_looked_back_at();
        if self.entry(slot).is_some_and(matters) {
            let seen = self.watching.seen.entry(slot).or_default();
            note(seen);
            seen.next_ms = self.now_ms;
            self.overdue.insert(slot);
        }
    }

    /// As `see`, where something was seen before.
    fn see_again(&mut self, slot: Slot, note: impl FnOnce(&mut Seen)) {
        if self.watching.seen.contains_key(&slot) {
            self.see(slot, note);
        }
    }

    fn lose(&mut self, slot: Slot, owner: &str, reason: &str, node: Option<&str>) {
        let Some(entry) = self.entry(slot).filter(|entry| !entry.state.is_over()) else {
            return;
        };
        let lost = Lost {
            how: Loss::of_reason(reason),
            owner: owner.into(),
            reason: node.unwrap_or(reason).into(),
            by_node: node.is_some(),
            at_ms: self.now_ms,
            heard_ts: entry.life.last_ts,
        };
        self.see(slot, |seen| seen.lose(lost));
    }

    /// The calls that are not over and that an owner serves.
    fn served_by(&self, owner: &str) -> Vec<Slot> {
        let serves = |entry: &Entry| !entry.state.is_over() && entry.is_served_by(owner);
        self.keys
            .common(Lookup::Owner(owner).key(), 0)
            .filter(|&slot| self.entry(slot).is_some_and(serves))
            .collect()
    }

    /// The calls that are not over and whose owner is on a node.
    fn on_node(&self, node: &str) -> Vec<(Slot, String)> {
        self.served(0)
            .filter(|(_, owner)| owner::node_of(owner).as_deref() == Some(node))
            .collect()
    }

    fn served(&self, from: Slot) -> impl Iterator<Item = (Slot, String)> {
        let slots = from..self.calls.len() as Slot;
        slots.filter_map(|slot| {
            let entry = self.entry(slot).filter(|entry| !entry.state.is_over())?;
            Some((slot, entry.quick_owner()?))
        })
    }

    /// The owners of calls that are not over, from a place on; of at least one and about `limit` of them. An owner is on
    /// a page once and may be on several: their numbers add up.
    pub fn owners(&self, from: u32, limit: usize) -> Owners {
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut next = None;
        for (slot, owner) in self.served(from) {
            if numbers.len() >= limit.max(1) && !numbers.contains_key(&owner) {
                next = Some(slot);
                break;
            }
            *numbers.entry(owner).or_default() += 1;
        }
        Owners {
            owners: numbers.into_iter().collect(),
            next,
        }
    }

    /// The call of a dialog; by its `cid`, one that has no dialog yet.
    fn slot_of_dialog(&self, dialog: &str) -> Option<Slot> {
        self.slot_called(Lookup::Dialog(dialog)).or_else(|| {
            lenient_uuid(dialog.as_bytes()).and_then(|cid| self.slot_called(Lookup::Cid(cid)))
        })
    }

    fn slot_called(&self, lookup: Lookup<'_>) -> Option<Slot> {
        let found = self.keys.identity(lookup.key());
        let called = found.filter_map(|slot| Some((slot, self.entry(slot)?)));
        called
            .filter(|(_, entry)| entry.is_called(lookup))
            .min_by_key(|(_, entry)| (entry.state.is_over(), entry.cid))
            .map(|(slot, _)| slot)
    }

    /// How a call stands now, `ended` where it is over, and the evidence, a JSON list. `None` where there is no such call or
    /// this is not the active.
    pub fn verdict(&self, cid: EventId) -> Option<(Judgement, String)> {
        let slot = self.slot_of(cid).filter(|_| self.watching.active)?;
        let entry = self.entry(slot)?;
        let none = Seen::default();
        let seen = self.watching.seen.get(&slot).map_or(&none, Box::as_ref);
        let owner = entry.owner();
        Some((
            self.judge(entry, seen, owner.as_deref()),
            seen.to_json(None),
        ))
    }

    /// As [`Store::verdict`]; how it was judged where it is over, which every instance knows.
    pub fn judged(&self, cid: EventId) -> Option<(Judgement, String)> {
        let entry = self.entry(self.slot_of(cid)?)?;
        match entry.state.is_over() {
            true => Some(judged(entry)),
            false => self.verdict(cid),
        }
    }

    /// Whether `dlg_dead` was said of a call, by whomever: subscribers are told the first one only.
    pub fn has_died(&self, cid: EventId) -> bool {
        let entry = self.slot_of(cid).and_then(|slot| self.entry(slot));
        entry.is_some_and(|entry| Told::of(entry).has_dlg_dead)
    }

    pub(super) fn judge(&self, entry: &Entry, seen: &Seen, owner: Option<&str>) -> Judgement {
        weigh(&Case {
            life: &entry.life,
            seen,
            noted_ms: entry.since_ms,
            server: Server::of(owner),
            media_awaited_ms: self.watching.media_awaited_ms,
            now_ms: self.now_ms,
            limits: &self.settings.limits,
        })
    }
}

/// How a call that is over was judged.
fn judged(entry: &Entry) -> (Judgement, String) {
    let told = Told::of(entry);
    let is_dead = entry.state == State::Dead && !entry.life.marks.any(Marks::END);
    let (verdict, reason) = match is_dead {
        true => (Verdict::Dead, told.death.0.unwrap_or("dlg_dead")),
        false => (Verdict::Alive, told.closed_for.unwrap_or("ended")),
    };
    let evidence = told.death.1.filter(|_| is_dead);
    let evidence = evidence.map_or_else(|| "[]".into(), |it| it.text().into_owned());
    (Judgement::decided(verdict, reason), evidence)
}

impl Entry {
    /// Who serves the call. Where its texts leave no doubt, its events are not read.
    pub(super) fn quick_owner(&self) -> Option<String> {
        let mut named = self.set.texts().filter(|text| owner::is_owner(text));
        match (named.next(), named.next()) {
            (Some(text), None) if self.keys.contains(&Lookup::Owner(text).key()) => {
                Some(text.to_owned())
            }
            _ => self.owner(),
        }
    }

    fn is_served_by(&self, owner: &str) -> bool {
        self.quick_owner().as_deref() == Some(owner)
    }
}
