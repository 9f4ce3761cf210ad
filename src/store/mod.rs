//! All calls of one group: what comes in from the log, what is known, what is due.
//!
//! The store is the fold of the log: [`Store::apply`] takes rows in any order and any number of times and comes to the
//! same state. It decides nothing by itself; what is to be decided comes out of [`Store::tick`] and [`Store::issue`] as
//! a chunk that goes through the log first. Time is an argument everywhere.

mod apply;
mod calendar;
mod deaths;
mod decide;
mod domains;
mod entry;
mod explain;
mod filing;
mod join;
mod keys;
mod looking_back;
mod looks;
mod mix_job;
mod mixing;
mod names;
mod naming;
mod outbox;
mod pending;
mod projection;
mod query;
mod rendering;
mod rows;
mod said;
mod states;
mod tell;
mod tick;
mod tombs;
mod trim;
mod watching;

use crate::event::EventId;
use crate::watch::Limits;

pub use apply::Applied;
pub use domains::Counts;
pub use keys::Lookup;
pub use looks::rescued;
pub use mixing::{MixState, mixed};
pub use outbox::{Depth, accepted};
pub use pending::Pending;
pub use query::{Cursor, Filter, Page};
pub use rendering::Outgoing;
pub use tell::{Told, Wanted, Whom, tell};
pub use tick::{MixJob, Probe, Rescue, Tick};
pub use trim::Trim;
pub use watching::Owners;

use entry::Entry;
use keys::Slot;

/// What a store is told about its place.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The site.
    pub site: String,
    /// The master domain.
    pub master_domain: String,
    /// The number of the group.
    pub group: u32,
    /// The names of the sinks.
    pub sinks: Vec<String>,
    /// Whether records are built at all.
    pub cdr_enabled: bool,
    /// Whether the projection for COPM3 is made.
    pub sorm3_enabled: bool,
    /// The times by which calls are watched.
    pub limits: Limits,
}

/// Sums over the life of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that began.
    pub started: u64,
    /// Calls that are over, kept or not.
    pub closed: u64,
    /// Events folded.
    pub events: u64,
    /// Events that were there already.
    pub duplicates: u64,
    /// Events of calls that are over and forgotten.
    pub late: u64,
    /// Calls that turned out to be one with another.
    pub merged: u64,
}

/// All calls of one group.
#[derive(Debug, Default)]
pub struct Store {
    settings: Settings,
    calls: Vec<Option<Box<Entry>>>,
    free: Vec<Slot>,
    keys: keys::Keys,
    states: states::States,
    domains: domains::Domains,
    calendar: calendar::Calendar,
    overdue: std::collections::BTreeSet<Slot>,
    stale: Vec<Slot>,
    outbox: outbox::Outbox,
    rows: rows::Rows,
    tombs: tombs::Tombs,
    said: said::Said,
    watching: watching::Watching,
    totals: Totals,
    entry_bytes: usize,
    now_ms: i64,
}

impl Store {
    /// An empty store.
    pub fn new(settings: Settings) -> Self {
        let outbox = outbox::Outbox::new(settings.sinks.len());
        Store {
            settings,
            outbox,
            ..Store::default()
        }
    }

    /// What the store was told about its place.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sums over the life of the store.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Calls that are not over.
    pub fn live(&self) -> u64 {
        self.totals.started - self.totals.closed
    }

    /// Calls that are kept, over or not.
    pub fn kept(&self) -> usize {
        self.calls.len() - self.free.len()
    }

    /// Bytes in RAM, by count of what was allocated.
    pub fn memory_bytes(&self) -> usize {
        self.entry_bytes
            + self.calls.capacity() * size_of::<Option<Box<Entry>>>()
            + self.free.capacity() * size_of::<Slot>()
            + self.keys.heap_bytes()
            + self.states.heap_bytes()
            + self.domains.heap_bytes()
            + self.calendar.heap_bytes()
            + self.outbox.heap_bytes()
            + self.rows.heap_bytes()
            + self.tombs.heap_bytes()
            + self.watching.heap_bytes()
    }

    /// Rows and bytes of the log.
    pub fn log_size(&self) -> (usize, u64) {
        (self.rows.len(), self.rows.bytes())
    }

    /// What is counted of every domain.
    pub fn domain_counts(&self) -> impl Iterator<Item = (&str, &Counts)> {
        self.domains.iter()
    }

    /// A value that is equal for equal live sets: same calls, same events, same state.
    pub fn digest(&self) -> [u8; 24] {
        let (mut count, mut sum, mut mix) = (0u64, 0u64, 0u64);
        for entry in self.entries().filter(|entry| !entry.state.is_over()) {
            count += 1;
            let cid = u128::from_be_bytes(entry.cid);
            let cid = (cid >> 64) as u64 ^ cid as u64;
            let facts = entry.life.sum.wrapping_add(u64::from(entry.life.facts));
            let state = entry.life.state() as u64 + 1;
            sum = sum.wrapping_add(cid.wrapping_mul(facts | 1));
            mix = mix.wrapping_add((cid ^ facts.rotate_left(17)).wrapping_mul(state));
        }
        let mut digest = [0; 24];
        digest[..8].copy_from_slice(&count.to_be_bytes());
        digest[8..16].copy_from_slice(&sum.to_be_bytes());
        digest[16..].copy_from_slice(&mix.to_be_bytes());
        digest
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.calls.iter().filter_map(Option::as_deref)
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.calls.get(slot as usize)?.as_deref()
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.calls.get_mut(slot as usize)?.as_deref_mut()
    }

    /// Where the call with this identity is.
    fn slot_of(&self, cid: EventId) -> Option<Slot> {
        let key = Lookup::Cid(cid).key();
        self.keys
            .identity(key)
            .find(|&slot| self.entry(slot).is_some_and(|entry| entry.answers_to(cid)))
    }
}
