//! Calls that turn out to be one: two that name one dialog, or of which one is known by a leg that the other names, too.
//!
//! Joined is what is connected: by a `cid`, by a dialog, by a leg that any event says alone. So it does not matter in
//! which order events come. Two calls of one leg whose events all say a `cid` are two. Only what is said of a call for
//! the first time is looked at.

use smallvec::SmallVec;

use super::Store;
use super::entry::Entry;
use super::filing::Filed;
use super::keys::{Lookup, Slot};
use crate::event::{Corrupt, Field, Head, Value};

/// Some calls, mostly one.
type Found = SmallVec<[Slot; 4]>;

/// What was said of a call for the first time.
#[derive(Debug, Default)]
pub struct News<'e> {
    /// Dialogs.
    pub dialogs: SmallVec<[&'e str; 1]>,
    /// The leg of the call's own name.
    pub leg: Option<Head<'e>>,
    /// Other names.
    pub names: SmallVec<[Head<'e>; 1]>,
    /// What was folded before was folded without the names.
    pub late: bool,
}

impl Store {
    /// Joins a call with all those that by what is new of it are one with it.
    pub(super) fn join(&mut self, slot: Slot, news: &News<'_>) -> Result<(), Corrupt> {
        let mut slot = slot;
        for dialog in &news.dialogs {
            slot = self.merge_all(slot, self.calls_of_dialog(dialog))?;
        }
        for name in &news.names {
            slot = self.merge_all(slot, self.calls_of_name(name))?;
        }
        if let Some(name) = news.leg {
            slot = self.merge_all(slot, self.calls_tied_by_leg(&name).collect())?;
        }
        if news.late {
            self.rename(slot)?;
        }
        Ok(())
    }

    fn calls_of_dialog(&self, dialog: &str) -> Found {
        let names_it = |entry: &Entry| {
            entry.any(|field, value| field == Field::Dialogid && value == Value::Str(dialog))
        };
        self.keys
            .identity(Lookup::Dialog(dialog).key())
            .filter(|&slot| self.entry(slot).is_some_and(names_it))
            .collect()
    }

    fn calls_of_name(&self, name: &Head<'_>) -> Found {
        let cid = name.identity();
        let mut found: Found = self
            .keys
            .identity(Lookup::Cid(cid).key())
            .filter(|&slot| self.entry(slot).is_some_and(|entry| entry.answers_to(cid)))
            .collect();
        found.extend(self.calls_tied_by_leg(name));
        found
    }

    /// The calls that are one with a name by its leg: said alone, it ties all that have it.
    fn calls_tied_by_leg(&self, name: &Head<'_>) -> impl Iterator<Item = Slot> {
        let alone = !name.is_nameless();
        let leg = name.leg().into_iter();
        leg.flat_map(move |leg| self.calls_of_leg(leg, alone))
    }

    /// The calls of a leg; `alone`: those of which it was said alone.
    pub(super) fn calls_of_leg(&self, leg: (&str, i64), alone: bool) -> impl Iterator<Item = Slot> {
        self.keys
            .identity(Lookup::CallId(leg.0).key())
            .filter(move |&slot| {
                self.entry(slot)
                    .is_some_and(|entry| entry.has_leg(leg, alone))
            })
    }

    fn merge_all(&mut self, slot: Slot, others: Found) -> Result<Slot, Corrupt> {
        let mut slot = slot;
        for other in others {
            if other != slot && self.entry(other).is_some() {
                slot = self.merge(slot, other)?;
            }
        }
        Ok(slot)
    }

    /// Makes one call of two. The better name stays, whichever came first, and the other leads to it.
    fn merge(&mut self, one: Slot, other: Slot) -> Result<Slot, Corrupt> {
        self.fold_now(one)?;
        self.fold_now(other)?;
        let rank = |slot: Slot| self.entry(slot).map(Entry::rank);
        let (kept, absorbed) = if rank(one) <= rank(other) {
            (one, other)
        } else {
            (other, one)
        };
        self.watching.leave(absorbed, Some(kept));
        let Some(source) = self.remove(absorbed, true) else {
            return Ok(kept);
        };
        let Some(mut entry) = self.calls.get_mut(kept as usize).and_then(Option::take) else {
            return Ok(kept);
        };
        self.said.absorbed(&source, entry.cid, &self.domains);
        self.keep_overtaken(&mut entry, |_| source.life.facts > 0);
        let taken = self.take_in(&mut entry, &source, kept);
        for &row in &source.rows {
            if !entry.rows.contains(&row) {
                entry.rows.push(row);
                self.rows.hold(row);
            }
        }
        self.weigh(&mut entry);
        if let Some(place) = self.calls.get_mut(kept as usize) {
            *place = Some(entry);
        }
        self.totals.merged += 1;
        taken?;
        self.rename(kept)?;
        Ok(kept)
    }

    /// Adds the events of one call to another, each with the name under which it came.
    fn take_in(&mut self, entry: &mut Entry, source: &Entry, slot: Slot) -> Result<(), Corrupt> {
        let own = source.set.head();
        let events = source.set.iter()?;
        let mut set = std::mem::take(&mut entry.set);
        let (mut taken, mut filed) = (Ok(()), Filed::default());
        for event in events {
            match event {
                Ok(mut event) => {
                    let said = Head::untag(&mut event).unwrap_or(own);
                    said.tag(&set.head(), &mut event);
                    set.adopt(said);
                    set.push(&event);
                    entry.file_event(&event, &mut filed, &mut self.keys, &mut self.domains, slot);
                }
                Err(corrupt) => taken = Err(corrupt),
            }
        }
        entry.set = set;
        let acallid = source.set.head().acallid;
        entry.file_head(acallid, &mut self.keys, slot);
        taken
    }

    fn fold_now(&mut self, slot: Slot) -> Result<(), Corrupt> {
        let sinks = &self.settings.sinks;
        let entry = self.calls.get_mut(slot as usize);
        match entry.and_then(Option::as_deref_mut) {
            Some(entry) if entry.set.out_of_order() > 0 => entry.refold(sinks),
            _ => Ok(()),
        }
    }

    /// Lets a call have that of its names which is to be its own, and folds it anew.
    fn rename(&mut self, slot: Slot) -> Result<(), Corrupt> {
        self.fold_now(slot)?;
        let Some(mut entry) = self.calls.get_mut(slot as usize).and_then(Option::take) else {
            return Ok(());
        };
        let (was, called) = (entry.state, entry.cid);
        let renamed = entry.choose_name();
        if let Ok(true) = renamed {
            entry.queued_revision = 0;
            let cid = entry.cid;
            entry.overtaken.retain(|pending| pending.cid == cid);
        }
        let folded = entry.refold(&self.settings.sinks);
        self.recount(&mut entry, slot);
        self.weigh(&mut entry);
        if called == entry.cid {
            self.said.refolded(&entry, was, &self.domains);
        } else {
            self.said.renamed(&entry, (called, was), &self.domains);
        }
        if let Some(place) = self.calls.get_mut(slot as usize) {
            *place = Some(entry);
        }
        renamed.and(folded)
    }
}
