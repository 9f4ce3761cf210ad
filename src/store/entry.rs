//! One call as the store keeps it: its events, what is folded from them at once, and where it is filed.

use smallvec::SmallVec;

use super::domains::DomainNo;
use super::keys::Key;
use super::names::Names;
use super::pending::Pending;
use super::rows::RowNo;
use crate::call::{Life, State};
use crate::event::{Corrupt, Event, EventId, EventSet, Field, Kind};

/// A set larger than this is not folded anew for every event that comes late, but once for some of them.
const REFOLD_AT_ONCE: usize = 512;

/// A call that is kept.
#[derive(Debug)]
pub struct Entry {
    /// `cid`, or what stands in for it.
    pub cid: EventId,
    /// All its events.
    pub set: EventSet,
    /// The fold of its events.
    pub life: Life,
    /// `life.state()` as it was counted.
    pub state: State,
    /// The keys it is filed under.
    pub keys: SmallVec<[Key; 8]>,
    /// The domains it belongs to.
    pub domains: SmallVec<[DomainNo; 2]>,
    /// The rows of the log that hold events of it.
    pub rows: SmallVec<[RowNo; 4]>,
    /// By number of sink: the newest revision that it accepted.
    pub accepted: SmallVec<[u32; 4]>,
    /// When the state last changed, by the store's clock.
    pub since_ms: i64,
    /// `life.facts` when it was counted last.
    pub facts: u32,
    /// Its bytes as they were counted last.
    pub weighed_bytes: u32,
    /// When it is looked at next, as noted in the calendar.
    pub deadline_ms: i64,
    /// The other names under which events of it came.
    pub names: Option<Box<Names>>,
    /// `life.awaits_stop()` as it was noted.
    pub awaits_stop: bool,
    /// The owner that was named last of all that were, in the order in which they came.
    pub last_named: Option<Key>,
    /// Another owner was named than before.
    pub owner_named: bool,
    /// Waits in the queue of records to be issued.
    pub queued: bool,
    /// The newest revision that was put into the queues of the sinks.
    pub queued_revision: u32,
    /// Revisions that were issued, and overtaken by a new fact before all sinks had accepted them.
    pub overtaken: Vec<Pending>,
}

impl Entry {
    /// A call of which nothing is known yet.
    pub fn new(cid: EventId, set: EventSet, now_ms: i64) -> Self {
        Entry {
            cid,
            set,
            life: Life::default(),
            state: State::Initiated,
            keys: SmallVec::new(),
            domains: SmallVec::new(),
            rows: SmallVec::new(),
            accepted: SmallVec::new(),
            since_ms: now_ms,
            facts: 0,
            weighed_bytes: 0,
            deadline_ms: i64::MAX,
            names: None,
            awaits_stop: false,
            last_named: None,
            owner_named: false,
            queued: false,
            queued_revision: 0,
            overtaken: Vec::new(),
        }
    }

    /// Folds one event that sorts last.
    pub fn fold(&mut self, event: &Event<'_>, acallid: Option<&str>, sinks: &[String]) {
        if self.is_of_other_record(event) {
            return;
        }
        if event.kind == Kind::Accepted {
            self.accept(event, sinks);
        }
        self.life.apply(event, acallid);
    }

    fn accept(&mut self, event: &Event<'_>, sinks: &[String]) {
        let sink = event.str(Field::Sink);
        let number = sinks.iter().position(|name| Some(name.as_str()) == sink);
        let revision = event
            .int(Field::Revision)
            .and_then(|number| u32::try_from(number).ok());
        if let (Some(number), Some(revision)) = (number, revision) {
            if self.accepted.len() <= number {
                self.accepted.resize(number + 1, 0);
            }
            if let Some(newest) = self.accepted.get_mut(number) {
                *newest = revision.max(*newest);
            }
            self.drop_overtaken(sinks.len());
        }
    }

    /// Lets go of the overtaken revisions that all sinks have.
    fn drop_overtaken(&mut self, sinks: usize) {
        let least = (0..sinks)
            .map(|sink| self.accepted(sink))
            .min()
            .unwrap_or(0);
        self.overtaken.retain(|it| it.revision > least);
    }

    /// Whether the fold may wait: it is a large set, and few of its events came out of order.
    pub fn may_wait(&self) -> bool {
        let late = self.set.out_of_order();
        late > 0 && self.set.len() > REFOLD_AT_ONCE && late < self.set.len() / 8
    }

    /// Folds all events anew.
    ///
    /// # Errors
    /// The set is corrupt.
    pub fn refold(&mut self, sinks: &[String]) -> Result<(), Corrupt> {
        self.set.sort()?;
        let acallid = self.head().acallid.map(str::to_owned);
        let set = std::mem::take(&mut self.set);
        let (mut life, mut accepted) = (Life::default(), SmallVec::new());
        std::mem::swap(&mut self.accepted, &mut accepted);
        set.visit(|event| {
            if self.is_of_other_record(event) {
                return;
            }
            if event.kind == Kind::Accepted {
                self.accept(event, sinks);
            }
            life.apply(event, acallid.as_deref());
        })?;
        self.life = life;
        self.set = set;
        Ok(())
    }

    /// Whether all sinks have accepted the newest revision, or the log was trimmed, which is not done before.
    pub fn is_delivered(&self, sinks: usize) -> bool {
        if self.life.is_trimmed() {
            return true;
        }
        self.life.is_issued() && (0..sinks).all(|sink| self.accepted(sink) >= self.life.revision)
    }

    /// The newest revision that a sink accepted.
    pub fn accepted(&self, sink: usize) -> u32 {
        self.accepted.get(sink).copied().unwrap_or(0)
    }

    /// Bytes that the call takes, without its places in the indexes.
    pub fn bytes(&self) -> usize {
        let spilled = |spilled: bool, bytes: usize| if spilled { bytes + 16 } else { 0 };
        size_of::<Entry>()
            + 16
            + self.set.heap_bytes()
            + self.names_bytes()
            + self
                .overtaken
                .iter()
                .map(Pending::heap_bytes)
                .sum::<usize>()
            + 32
            + spilled(self.keys.spilled(), self.keys.capacity() * 4)
            + spilled(self.rows.spilled(), self.rows.capacity() * 4)
            + spilled(self.domains.spilled(), self.domains.capacity() * 4)
            + spilled(self.accepted.spilled(), self.accepted.capacity() * 4)
    }
}
