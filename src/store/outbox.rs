//! Records on their way: which are to be issued, which each sink has not accepted yet.
//!
//! A revision is issued by an event in the log before anybody sees it. That event counts and sums the facts that the
//! revision folds, so a revision has one content only. Where a new fact comes before all sinks have accepted it, it is
//! kept as it was, and the next one is issued.

use std::collections::VecDeque;

use super::Store;
use super::entry::Entry;
use super::keys::Slot;
use super::pending::Pending;
use super::rendering::Outgoing;
use crate::call::Call;
use crate::event::chunk::MAX_EVENTS;
use crate::event::head::derived_id;
use crate::event::{Event, EventId, EventSet, Field, Fields, Head, Kind, Name, Value, encode};
use crate::record::Context;

/// Queues in order of closing.
#[derive(Debug, Default)]
pub struct Outbox {
    due: VecDeque<Slot>,
    sinks: Vec<VecDeque<Waiting>>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    slot: Slot,
    cid: EventId,
    revision: u32,
    since_ms: i64,
}

/// How many records wait for a sink, and for how long the oldest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// How many.
    pub depth: usize,
    /// For how long, ms.
    pub oldest_ms: i64,
}

impl Outbox {
    /// Empty queues for this number of sinks.
    pub fn new(sinks: usize) -> Self {
        Outbox {
            due: VecDeque::new(),
            sinks: vec![VecDeque::new(); sinks],
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let waiting: usize = self.sinks.iter().map(VecDeque::capacity).sum();
        self.due.capacity() * size_of::<Slot>() + waiting * size_of::<Waiting>()
    }
}

impl Store {
    /// Puts a call into the queues in which it belongs now.
    pub(super) fn queue_record(&mut self, entry: &mut Entry, slot: Slot) {
        if !self.settings.wants_records() {
            return;
        }
        if entry.life.is_due() && !entry.queued {
            entry.queued = true;
            self.outbox.due.push_back(slot);
        }
        let revision = entry.life.revision;
        if revision > entry.queued_revision && entry.life.is_issued() {
            entry.queued_revision = revision;
            for (number, queue) in self.outbox.sinks.iter_mut().enumerate() {
                if entry.accepted(number) < revision {
                    let since_ms = self.now_ms;
                    queue.push_back(Waiting {
                        slot,
                        cid: entry.cid,
                        revision,
                        since_ms,
                    });
                }
            }
        }
    }

    /// The events that issue the records which are due, as chunks; they take effect when they come back through the log.
    pub fn issue(&mut self, now_ms: i64, epoch: i64, node: &str, max: usize) -> Vec<Vec<u8>> {
        let mut sets = Vec::new();
        let mut waiting = VecDeque::new();
        while let Some(slot) = self.outbox.due.pop_front() {
            let Some(entry) = self.entry_mut(slot).filter(|entry| entry.queued) else {
                continue;
            };
            if !entry.life.is_due() {
                entry.queued = false;
                continue;
            }
            waiting.push_back(slot);
            if let Some(entry) = self.entry(slot) {
                sets.push(issued(entry, self.row_said(entry), now_ms, epoch, node));
            }
            if sets.len() >= max.min(MAX_EVENTS) {
                break;
            }
        }
        // They stay in the queue until the log has them.
        waiting.append(&mut self.outbox.due);
        self.outbox.due = waiting;
        chunks(&sets)
    }

    /// The records that a sink has not accepted, in order of closing.
    pub fn pending(&mut self, sink: &str, max: usize) -> Vec<Pending> {
        self.outgoing(sink, max).render()
    }

    /// The calls of which a sink has not accepted a record, as they are now, to be rendered apart from the store: that
    /// takes much longer than to copy them.
    pub fn outgoing(&mut self, sink: &str, max: usize) -> Outgoing {
        let sinks = &self.settings.sinks;
        let Some(number) = sinks.iter().position(|name| name == sink) else {
            return Outgoing::default();
        };
        self.prune(number);
        let queue = self.outbox.sinks.get(number).into_iter().flatten();
        let waiting = queue.filter_map(|it| Some((self.waiting_entry(it, number)?, it.revision)));
        let drafts = waiting
            .take(max)
            .map(|(entry, revision)| (entry.draft(), revision))
            .collect();
        Outgoing {
            settings: self.settings.clone(),
            sink: number,
            drafts,
        }
    }

    /// Lets go of what at the head of a queue waits no longer.
    fn prune(&mut self, number: usize) {
        while let Some(&first) = self.outbox.sinks.get(number).and_then(VecDeque::front) {
            if self.waiting_entry(&first, number).is_some() {
                return;
            }
            if let Some(queue) = self.outbox.sinks.get_mut(number) {
                queue.pop_front();
            }
        }
    }

    /// Lets go of what at the heads of all queues waits no longer. A passive store is asked neither what is to be issued nor
    /// what waits for a sink; without this its queues would grow with every call.
    pub(super) fn prune_queues(&mut self) {
        while let Some(&slot) = self.outbox.due.front() {
            match self.entry_mut(slot) {
                Some(entry) if entry.queued && entry.life.is_due() => break,
                Some(entry) => entry.queued = false,
                None => {}
            }
            self.outbox.due.pop_front();
        }
        for number in 0..self.outbox.sinks.len() {
            self.prune(number);
        }
    }

    fn waiting_entry(&self, waiting: &Waiting, number: usize) -> Option<&Entry> {
        self.entry(waiting.slot).filter(|entry| {
            entry.cid == waiting.cid
                && entry.accepted(number) < waiting.revision
                && entry.has_content(waiting.revision)
        })
    }

    /// How many records wait for each sink.
    pub fn depths(&mut self) -> Vec<(String, Depth)> {
        let names = self.settings.sinks.clone();
        let now_ms = self.now_ms;
        let depths = names.into_iter().enumerate().map(|(number, name)| {
            self.prune(number);
            let queue = self.outbox.sinks.get(number);
            let since = queue
                .and_then(VecDeque::front)
                .map_or(now_ms, |first| first.since_ms);
            let depth = queue.map_or(0, VecDeque::len);
            (
                name,
                Depth {
                    depth,
                    oldest_ms: now_ms - since,
                },
            )
        });
        depths.collect()
    }

    /// How many records are to be issued.
    pub fn due(&self) -> usize {
        self.outbox.due.len()
    }

    /// Whether [`Store::issue`] would issue anything. Lets go of what at the head of its queue has been issued.
    pub fn has_due(&mut self) -> bool {
        while let Some(&slot) = self.outbox.due.front() {
            match self.entry_mut(slot).filter(|entry| entry.queued) {
                Some(entry) if entry.life.is_due() => return true,
                Some(entry) => entry.queued = false,
                None => {}
            }
            self.outbox.due.pop_front();
        }
        false
    }

    /// Keeps what the newest revision says, if some sink has not accepted it and it is about to change.
    pub(super) fn keep_overtaken(&self, entry: &mut Entry, changes: impl Fn(&EventSet) -> bool) {
        let is_overtaken = self.settings.wants_records()
            && entry.life.is_issued()
            && !entry.is_delivered(self.settings.sinks.len())
            && changes(&entry.set);
        if let Some(pending) = is_overtaken.then(|| self.settings.render(entry)).flatten() {
            entry.overtaken.push(pending);
        }
    }

    /// What a record says of where it was made.
    pub(super) fn context<'s>(&'s self, node: &'s str, epoch: i64, revision: u32) -> Context<'s> {
        self.settings.context(node, epoch, revision)
    }
}

impl Entry {
    pub(super) fn overtaken(&self, revision: u32) -> Option<&Pending> {
        self.overtaken
            .iter()
            .find(|pending| pending.revision == revision)
    }

    /// Whether what a revision says is known: it is the newest and nothing has changed since, or it was kept.
    fn has_content(&self, revision: u32) -> bool {
        self.life.revision == revision && self.life.is_issued()
            || self.overtaken(revision).is_some()
    }

    /// Everything that is known of the call.
    pub(super) fn call(&self) -> Option<Call<'_>> {
        match &self.names {
            None => Call::fold_set(self.head(), &self.set).ok(),
            Some(_) => Some(Call::fold(self.head(), self.told().ok()?)),
        }
    }
}

fn issued(
    entry: &Entry,
    row: Option<Value<'static>>,
    now_ms: i64,
    epoch: i64,
    node: &str,
) -> EventSet {
    let life = &entry.life;
    let revision = life.revision + 1;
    let mut fields = vec![
        (Field::Revision, Value::Int(i64::from(revision))),
        (Field::Facts, Value::Int(i64::from(life.facts))),
        (Field::Sum, Value::Int(life.sum as i64)),
        (Field::Epoch, Value::Int(epoch)),
        (Field::Node, Value::Str(node)),
    ];
    fields.extend(row.map(|row| (Field::Row, row)));
    let name = format!(
        "record:{revision}:{}:{}:{epoch}:{node}",
        life.facts, life.sum
    );
    said(
        entry.cid,
        Kind::Record,
        now_ms.max(life.last_ts),
        &name,
        &fields,
    )
}

/// An event of class `callstore` for one call, as a set. Equal names make equal identities: to say a thing twice does
/// no harm.
pub(super) fn said(
    cid: EventId,
    kind: Kind,
    ts: i64,
    name: &str,
    fields: &[(Field, Value<'_>)],
) -> EventSet {
    let head = Head {
        cid: Some(cid),
        ..Head::default()
    };
    let mut content = cid.to_vec();
    content.extend_from_slice(name.as_bytes());
    let fields: Fields<'_> = fields
        .iter()
        .map(|&(field, value)| (Name::Known(field), value))
        .collect();
    let mut set = EventSet::new(head);
    set.push(&Event {
        kind,
        name: "",
        ts,
        id: derived_id(&content),
        fields,
    });
    set
}

/// What was said of calls, as chunks for the log.
pub(super) fn chunks<'s>(said: impl IntoIterator<Item = &'s EventSet>) -> Vec<Vec<u8>> {
    let chunks = encode::in_chunks(said).into_iter();
    chunks.map(|(chunk, _)| chunk).collect()
}

/// The fact that a sink accepted revisions, as chunks for the log.
pub fn accepted(sink: &str, records: &[(EventId, u32)], now_ms: i64) -> Vec<Vec<u8>> {
    let sets: Vec<EventSet> = records
        .iter()
        .map(|&(cid, revision)| {
            let name = format!("accepted:{sink}:{revision}");
            let fields = [
                (Field::Sink, Value::Str(sink)),
                (Field::Revision, Value::Int(i64::from(revision))),
            ];
            said(cid, Kind::Accepted, now_ms, &name, &fields)
        })
        .collect();
    chunks(&sets)
}
