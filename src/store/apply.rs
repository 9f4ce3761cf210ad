//! From a chunk of the log to what is known: events to their calls, calls to their state.

use super::entry::Entry;
use super::filing::Filed;
use super::join::News;
use super::keys::Slot;
use super::rows::RowNo;
use super::{Settings, Store};
use crate::call::life::is_fact;
use crate::call::{Marks, State};
use crate::event::chunk::Chunk;
use crate::event::group::Group;
use crate::event::set::Pushed;
use crate::event::{Corrupt, EventSet, Head, Kind};

/// What became of the events of a chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Were not known.
    pub new: usize,
    /// Were known.
    pub duplicate: usize,
    /// Belong to calls that are over and forgotten.
    pub late: usize,
}

impl Store {
    /// Folds a chunk of a row of the log. Rows may come in any order and any number of times.
    ///
    /// # Errors
    /// The bytes are no chunk, or not as they were written. What was folded of it before the fault was found stays; it
    /// does no harm.
    pub fn apply(&mut self, row: &[u8], chunk: &[u8], now_ms: i64) -> Result<Applied, Corrupt> {
        self.now_ms = self.now_ms.max(now_ms);
        let bytes = chunk.len();
        let chunk = Chunk::read(chunk)?;
        let row = self.rows.number(row, bytes);
        let mut applied = Applied::default();
        self.said.begin_chunk();
        for (number, group) in chunk.groups().enumerate() {
            self.said.begin_group(number);
            self.apply_group(&group?, row, &mut applied)?;
        }
        self.totals.events += applied.new as u64;
        self.totals.duplicates += applied.duplicate as u64;
        self.totals.late += applied.late as u64;
        self.expire();
        self.prune_queues();
        Ok(applied)
    }

    fn apply_group(
        &mut self,
        group: &Group<'_>,
        row: RowNo,
        applied: &mut Applied,
    ) -> Result<(), Corrupt> {
        let Some(slot) = self.place(&group.head) else {
            applied.late += group.count;
            return Ok(());
        };
        let Some(mut entry) = self.calls.get_mut(slot as usize).and_then(Option::take) else {
            return Ok(());
        };
        let was = (!entry.set.is_empty()).then_some(entry.state);
        self.keep_overtaken(&mut entry, |set| group.adds(set, is_fact));
        let read = self.push_all(&mut entry, group, slot, applied);
        self.hold_row(&mut entry, group, row);
        let settled = self.settle_entry(&mut entry, slot);
        self.weigh(&mut entry);
        self.said.group(&entry, was, group, &self.domains);
        if let Some(place) = self.calls.get_mut(slot as usize) {
            *place = Some(entry);
        }
        settled?;
        match read? {
            Some(news) => self.join(slot, &news),
            None => Ok(()),
        }
    }

    /// Adds the events of a group to their call. Returns what is said of it for the first time.
    fn push_all<'g>(
        &mut self,
        entry: &mut Entry,
        group: &Group<'g>,
        slot: Slot,
        applied: &mut Applied,
    ) -> Result<Option<News<'g>>, Corrupt> {
        let mut news = None;
        let known = entry.names.as_ref().and_then(|_| entry.head().acallid);
        let acallid = known.map(str::to_owned);
        let mut set = std::mem::take(&mut entry.set);
        let (was_empty, knew_leg) = (set.is_empty(), set.knows_leg());
        // Of a dialog one `dlg_dead` is told, whoever else says it.
        let mut has_died = entry.life.marks.any(Marks::DLG_DEAD);
        let mut filed = Filed::default();
        let pushed = group.push_into(&mut set, |set, event, pushed| {
            let is_death = event.kind == Kind::DlgDead;
            let is_told = pushed != Pushed::Duplicate && !(is_death && has_died);
            self.said.event(is_told, event.kind);
            has_died |= is_death;
            match pushed {
                Pushed::Duplicate => {
                    applied.duplicate += 1;
                    return;
                }
                Pushed::Last if set.out_of_order() == 0 => {
                    let acallid = set.head().acallid.or(acallid.as_deref());
                    entry.fold(event, acallid, &self.settings.sinks);
                }
                Pushed::Last | Pushed::Earlier => {}
            }
            applied.new += 1;
            let (dialog, name) =
                entry.file_event(event, &mut filed, &mut self.keys, &mut self.domains, slot);
            if dialog.is_some() || name.is_some() {
                let news: &mut News<'_> = news.get_or_insert_default();
                news.late |= name.is_some();
                news.dialogs.extend(dialog);
                news.names.extend(name);
            }
        });
        if set.knows_leg() && (was_empty || !knew_leg) {
            let news: &mut News<'_> = news.get_or_insert_default();
            news.late |= !was_empty;
            news.leg = Some(group.head);
            entry.file_head(group.head.acallid, &mut self.keys, slot);
        }
        entry.set = set;
        pushed?;
        Ok(news)
    }

    /// Notes that a row holds events of a call; a complete group makes all other rows dispensable.
    fn hold_row(&mut self, entry: &mut Entry, group: &Group<'_>, row: RowNo) {
        if group.complete && group.count == entry.set.len() {
            for row in entry.rows.drain(..) {
                self.rows.release(row);
            }
        }
        if !entry.rows.contains(&row) {
            entry.rows.push(row);
            self.rows.hold(row);
        }
    }

    /// Folds what waits to be folded, and counts the call where it stands now.
    fn settle_entry(&mut self, entry: &mut Entry, slot: Slot) -> Result<(), Corrupt> {
        if entry.may_wait() {
            if !self.stale.contains(&slot) {
                self.stale.push(slot);
            }
            return Ok(());
        }
        if entry.set.out_of_order() > 0 {
            entry.refold(&self.settings.sinks)?;
        }
        self.recount(entry, slot);
        Ok(())
    }

    /// Whether some calls wait to be folded: [`Store::settle`] comes before any question then.
    pub fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Folds what waits to be folded.
    ///
    /// # Errors
    /// A set is corrupt.
    pub fn settle(&mut self) -> Result<(), Corrupt> {
        for slot in std::mem::take(&mut self.stale) {
            let Some(mut entry) = self.calls.get_mut(slot as usize).and_then(Option::take) else {
                continue;
            };
            let folded = match entry.set.out_of_order() {
                0 => Ok(()),
                _ => entry.refold(&self.settings.sinks),
            };
            let was = entry.state;
            self.recount(&mut entry, slot);
            self.weigh(&mut entry);
            self.said.refolded(&entry, was, &self.domains);
            if let Some(place) = self.calls.get_mut(slot as usize) {
                *place = Some(entry);
            }
            folded?;
        }
        Ok(())
    }

    /// Counts the bytes of a call that has changed.
    pub(super) fn weigh(&mut self, entry: &mut Entry) {
        let bytes = u32::try_from(entry.bytes()).unwrap_or(u32::MAX);
        self.entry_bytes = self.entry_bytes + bytes as usize - entry.weighed_bytes as usize;
        entry.weighed_bytes = bytes;
    }

    /// Counts a call where its fold says that it stands, and notes what is to be done about it.
    pub(super) fn recount(&mut self, entry: &mut Entry, slot: Slot) {
        let state = entry.life.state();
        if state != entry.state {
            // Who serves a call that lives again is to be watched again.
            entry.owner_named |= entry.state.is_over() && !state.is_over();
            self.states.remove(entry.state, slot);
            self.states.insert(state, slot);
            self.domains.change(&entry.domains, entry.state, state);
            self.totals.closed += u64::from(state.is_over());
            self.totals.closed -= u64::from(entry.state.is_over());
            entry.state = state;
            entry.since_ms = self.now_ms;
        }
        // A late fact about a call that is over: others may follow, it is kept as if it were over since now.
        let is_news = state.is_over() && entry.life.facts != entry.facts;
        if is_news || entry.life.awaits_stop() != entry.awaits_stop {
            entry.awaits_stop = entry.life.awaits_stop();
            entry.since_ms = self.now_ms;
        }
        entry.facts = entry.life.facts;
        if std::mem::take(&mut entry.owner_named) && self.tracks() {
            self.watching.named.push(slot);
        }
        self.queue_record(entry, slot);
        self.note_deadline(entry, slot);
    }

    /// The call that a head means; it is begun where there is none. `None` for a call that is over and forgotten.
    fn place(&mut self, head: &Head<'_>) -> Option<Slot> {
        let identity = head.identity();
        if let Some(slot) = self.slot_of(identity) {
            return Some(slot);
        }
        let by_leg = match (head.cid, head.leg()) {
            (None, Some(leg)) => self.calls_of_leg(leg, false).next(),
            _ => None,
        };
        match by_leg {
            Some(slot) => Some(slot),
            None if self.tombs.contains(&identity) => None,
            None => Some(self.begin(head)),
        }
    }

    fn begin(&mut self, head: &Head<'_>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.calls.push(None);
            self.calls.len() as Slot - 1
        });
        let mut entry = Box::new(Entry::new(
            head.identity(),
            EventSet::new(*head),
            self.now_ms,
        ));
        entry.file_head(head.acallid, &mut self.keys, slot);
        self.states.insert(entry.state, slot);
        self.totals.started += 1;
        self.weigh(&mut entry);
        if let Some(place) = self.calls.get_mut(slot as usize) {
            *place = Some(entry);
        }
        slot
    }

    /// Takes a call out of everything. `merged` when it goes on in another, else it is over and forgotten.
    pub(super) fn remove(&mut self, slot: Slot, merged: bool) -> Option<Box<Entry>> {
        let entry = self.calls.get_mut(slot as usize).and_then(Option::take)?;
        for &key in &entry.keys {
            self.keys.remove(key, slot);
        }
        for &row in &entry.rows {
            self.rows.release(row);
        }
        self.states.remove(entry.state, slot);
        self.domains
            .leave(&entry.domains, slot, entry.state, merged);
        self.overdue.remove(&slot);
        self.watching.leave(slot, None);
        self.stale.retain(|&stale| stale != slot);
        self.entry_bytes -= entry.weighed_bytes as usize;
        if merged {
            self.totals.started -= 1;
            self.totals.closed -= u64::from(entry.state.is_over());
        }
        self.free.push(slot);
        Some(entry)
    }
}

impl Settings {
    /// Whether records are issued: somebody wants them.
    pub(super) fn wants_records(&self) -> bool {
        self.cdr_enabled && !self.sinks.is_empty()
    }
}

impl Entry {
    /// Whether the call has left the live set and waits for nothing more.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Closed | State::Dead) && !self.awaits_stop
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event::chunk::tests::call;
    use crate::event::chunk::{MADE_UP, VERSION, write_version};

    #[test]
    fn a_log_of_two_chunk_versions_is_the_same_calls_as_a_log_of_one() {
        let fold = |versions: [u8; 2]| {
            let mut store = Store::new(Settings::default());
            for number in 0..10u8 {
                let version = versions[usize::from(number % 2)];
                let chunk = write_version(version, [&call(number)], false);
                assert_eq!(chunk[4], version);
                let applied = store.apply(&[number], &chunk, 0);
                assert_eq!(applied.map(|it| it.new), Ok(3));
            }
            (store.live(), store.digest())
        };
        let before = fold([VERSION, VERSION]);
        assert_eq!(before.0, 10);
        assert_eq!(fold([VERSION, MADE_UP]), before);
        assert_eq!(fold([MADE_UP, MADE_UP]), before);
    }
}
