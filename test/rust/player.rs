//! Drives one store the way the application does: events as JSON through the encoder, chunks into the log, decisions
//! and issued records back through it, records to the sinks in order, time as it is told.
//!
//! Always holds after every call: everything due at the player's time is done, every record is delivered. Used by the
//! scenarios, the properties and the test against real calls.

use std::collections::{BTreeMap, HashMap};

use callstore::event::EventId;
use callstore::event::chunk::Chunk;
use callstore::event::encode::Encoder;
use callstore::event::input::{Common, Reject};
use callstore::event::{EventSet, Kind};
use callstore::record::JsonOut;
use callstore::store::{Lookup, MixState, Probe, Settings, Store, accepted, mixed, rescued};
use callstore::watch::{Answer as Probed, Evidence};
use serde_json::Value;

use crate::listening::Listener;

/// The name of the node and the term of activity under which records are issued.
pub const NODE: &str = "player@test";
pub const EPOCH: i64 = 7;
const AT_ONCE: usize = 500;

/// One revision as a sink got it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    pub revision: u32,
    pub record: Vec<u8>,
    pub projection: Option<Vec<u8>>,
}

/// What `put` answers.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub accepted: usize,
    pub duplicate: usize,
    pub late: usize,
    pub rejected: Vec<(usize, Reject)>,
}

/// A store, its log and what its sinks got.
pub struct Player {
    pub store: Store,
    pub now_ms: i64,
    aliases: HashMap<String, String>,
    sinks: Vec<String>,
    /// The rows of the log, in order.
    pub log: Vec<Vec<u8>>,
    next_ms: Option<i64>,
    /// Hears what every row says.
    pub listener: Listener,
    /// What probes answer, by dialog; `Unknown` for all others.
    pub probes: HashMap<String, Probed>,
    /// Who restores a conversation, by dialog; nobody for all others.
    pub rescues: HashMap<String, String>,
    /// Owners that are to be monitored, in the order in which they were named.
    pub named: Vec<String>,
    /// Who was asked, in order.
    pub probed: Vec<Probe>,
    /// How many `dlg_dead` a subscriber saw, by call: of a dialog it is told one.
    pub dead: BTreeMap<EventId, usize>,
    /// How many `dlg_dead` callstore said, by call.
    pub declared: BTreeMap<EventId, usize>,
    /// The jobs that the mixer took, JSON, by call.
    pub mixes: BTreeMap<EventId, Vec<String>>,
    /// Whether the mixer takes jobs.
    pub mixer_takes: bool,
    /// The mass deaths: of whom and since when, how many died, and how many of them the brakes held.
    pub alarms: BTreeMap<(String, i64), (usize, usize)>,
    /// By sink and call, every revision in the order of delivery.
    pub delivered: Vec<BTreeMap<EventId, Vec<Delivered>>>,
}

/// A store that is told what every one needs to be told.
pub fn settings() -> Settings {
    Settings {
        site: "msk".into(),
        master_domain: "era.test".into(),
        group: 11010,
        sinks: vec!["collection".into(), "file".into()],
        cdr_enabled: true,
        ..Settings::default()
    }
}

impl Player {
    pub fn new(settings: Settings, now_ms: i64) -> Player {
        Player {
            sinks: settings.sinks.clone(),
            delivered: vec![BTreeMap::new(); settings.sinks.len()],
            store: Store::new(settings),
            now_ms,
            aliases: HashMap::new(),
            log: Vec::new(),
            next_ms: None,
            listener: Listener::default(),
            probes: HashMap::new(),
            rescues: HashMap::new(),
            named: Vec::new(),
            probed: Vec::new(),
            dead: BTreeMap::new(),
            declared: BTreeMap::new(),
            mixes: BTreeMap::new(),
            mixer_takes: true,
            alarms: BTreeMap::new(),
        }
    }

    pub fn with_aliases(mut self, aliases: HashMap<String, String>) -> Player {
        self.aliases = aliases;
        self
    }

    /// One batch of events, JSON, one a line.
    pub fn put(&mut self, lines: &[u8]) -> Answer {
        self.put_of(lines, None)
    }

    /// One batch of events of calls that an owner serves.
    pub fn put_of(&mut self, lines: &[u8], owner: Option<&str>) -> Answer {
        let (chunks, mut answer) = self.encode_of(lines, owner);
        for chunk in chunks {
            let applied = self.append(&chunk);
            answer.accepted += applied.0;
            answer.duplicate += applied.1;
            answer.late += applied.2;
        }
        answer
    }

    /// The chunks that a batch becomes.
    fn encode_of(&self, lines: &[u8], owner: Option<&str>) -> (Vec<Vec<u8>>, Answer) {
        let common = Common {
            aliases: Some(&self.aliases),
            owner,
            ..Common::default()
        };
        let mut encoder = Encoder::new(common, |_: &callstore::event::input::Taken<'_>| 11010);
        encoder.push_json(lines);
        let (chunks, rejected) = encoder.finish();
        // What a batch holds twice does not reach the chunk, but it is counted as taken.
        let chunks: Vec<(Vec<u8>, usize)> = chunks
            .into_iter()
            .map(|encoded| (encoded.chunk, encoded.events))
            .collect();
        let events: usize = chunks.iter().map(|(_, events)| events).sum();
        let inside: usize = chunks.iter().map(|(chunk, _)| events_in(chunk)).sum();
        let answer = Answer {
            rejected,
            duplicate: events - inside,
            ..Answer::default()
        };
        (chunks.into_iter().map(|(chunk, _)| chunk).collect(), answer)
    }

    /// Puts a chunk into the log and folds it: (new, duplicate, late).
    pub fn append(&mut self, chunk: &[u8]) -> (usize, usize, usize) {
        let row = (self.log.len() as u64).to_be_bytes();
        self.log.push(chunk.to_vec());
        for cid in deaths(chunk) {
            let is_first = !self.store.has_died(cid);
            *self.dead.entry(cid).or_default() += usize::from(is_first);
        }
        self.store.begin_said();
        let applied = self
            .store
            .apply(&row, chunk, self.now_ms)
            .expect("a sound chunk");
        let (count, marks) = self.store.take_said().expect("sound sets");
        self.listener.hear(count, marks, &[chunk]);
        (applied.new, applied.duplicate, applied.late)
    }

    /// Does everything that is due now.
    pub fn settle(&mut self) {
        loop {
            self.store.settle().expect("sound sets");
            let tick = self.store.tick(self.now_ms);
            self.next_ms = tick.next_ms;
            let mut chunks = tick.chunks;
            self.named.extend(tick.owners);
            for probe in tick.probe {
                let known = self.probes.get(&probe.dialog).copied();
                let answer = known.unwrap_or(Probed::Unknown);
                let dialog = &probe.dialog;
                self.store
                    .evidence(&Evidence::Probe { dialog, answer }, self.now_ms);
                self.probed.push(probe);
                self.next_ms = Some(self.now_ms);
            }
            for asked in tick.rescue {
                if let Some(owner) = self.rescues.get(&asked.dialog) {
                    chunks.extend(rescued(asked.cid, owner, self.now_ms));
                }
            }
            for job in tick.mix {
                let (cid, attempt, now_ms) = (job.cid, job.attempt, self.now_ms);
                chunks.extend(mixed(cid, MixState::Asked, attempt, now_ms));
                let state = match self.mixer_takes {
                    true => MixState::Accepted,
                    false => MixState::Failed,
                };
                if self.mixer_takes {
                    self.mixes.entry(cid).or_default().push(job.job);
                }
                chunks.extend(mixed(cid, state, attempt, now_ms));
            }
            for alarm in tick.alarms {
                self.alarms
                    .insert((alarm.of, alarm.since_ms), (alarm.count, alarm.held));
            }
            for cid in chunks.iter().flat_map(|chunk| deaths(chunk)) {
                let state = self.call(cid).map(|call| call["state"].clone());
                let state = state.unwrap_or_default();
                let over = ["ended", "closed", "dead"];
                assert!(!over.iter().any(|&it| state == it), "dead after {state}");
                *self.declared.entry(cid).or_default() += 1;
            }
            for chunk in &chunks {
                self.append(chunk);
            }
            // A revision folds what is in the log when it is issued.
            let issued = self.store.issue(self.now_ms, EPOCH, NODE, AT_ONCE);
            for chunk in &issued {
                self.append(chunk);
            }
            let is_due = self.next_ms.is_some_and(|next| next <= self.now_ms);
            let is_still = chunks.is_empty() && issued.is_empty();
            if self.deliver() == 0 && is_still && !is_due {
                break;
            }
        }
    }

    /// Something was seen.
    pub fn see(&mut self, evidence: &Evidence<'_>) {
        self.store.evidence(evidence, self.now_ms);
        self.settle();
    }

    fn deliver(&mut self) -> usize {
        let mut count = 0;
        for (number, sink) in self.sinks.clone().iter().enumerate() {
            let pending = self.store.pending(sink, AT_ONCE);
            count += pending.len();
            let taken: Vec<(EventId, u32)> = pending
                .iter()
                .map(|record| (record.cid, record.revision))
                .collect();
            for record in pending {
                let Some(sink) = self.delivered.get_mut(number) else {
                    continue;
                };
                sink.entry(record.cid).or_default().push(Delivered {
                    revision: record.revision,
                    record: record.record,
                    projection: record.projection,
                });
            }
            for chunk in accepted(sink, &taken, self.now_ms) {
                self.append(&chunk);
            }
        }
        count
    }

    /// Lets time pass; deadlines in between fall due one by one.
    pub fn advance_to(&mut self, target_ms: i64) {
        self.settle();
        while let Some(next) = self.next_ms.filter(|&next| next <= target_ms) {
            self.now_ms = self.now_ms.max(next);
            self.settle();
            if self.next_ms == Some(next) && next <= self.now_ms {
                panic!("the deadline at {next} does not pass");
            }
        }
        self.now_ms = self.now_ms.max(target_ms);
        self.settle();
    }

    /// The revisions of a call that the first sink got, newest first.
    pub fn records(&self, cid: EventId) -> Vec<&Delivered> {
        let got = self.delivered.first().and_then(|sink| sink.get(&cid));
        got.into_iter().flatten().rev().collect()
    }

    /// What the query answers.
    pub fn call(&self, cid: EventId) -> Option<Value> {
        let mut out = JsonOut::default();
        self.store
            .write_call(cid, &mut out)
            .then(|| serde_json::from_slice(&out.into_bytes()).expect("JSON"))
    }

    /// Finds a call by `kind:key`.
    pub fn find(&self, key: &str) -> Option<EventId> {
        let (kind, key) = key.split_once(':').expect("kind:key");
        let cid = |text: &str| *uuid::Uuid::parse_str(text).expect("a uuid").as_bytes();
        self.store.find(match kind {
            "cid" => Lookup::Cid(cid(key)),
            "dialogid" => Lookup::Dialog(key),
            "callid" => Lookup::CallId(key),
            "connectionid" => Lookup::Cid(cid(key.split('.').next().unwrap_or_default())),
            other => panic!("no key {other}"),
        })
    }

    /// What must be true at any moment: nothing is counted twice or not at all, records have one identity and every
    /// revision one content, each sink got the same.
    pub fn check(&self) {
        self.listener.check(&self.store);
        let totals = self.store.totals();
        assert_eq!(
            totals.started,
            self.store.live() + totals.closed,
            "started = live + closed"
        );
        let first = self.delivered.first().cloned().unwrap_or_default();
        for sink in &self.delivered {
            assert_eq!(*sink, first, "the sinks differ");
        }
        let mut owners: HashMap<String, EventId> = HashMap::new();
        for (&cid, revisions) in &first {
            let numbers: Vec<u32> = revisions.iter().map(|record| record.revision).collect();
            let expected: Vec<u32> = (1..=revisions.len() as u32).collect();
            assert_eq!(numbers, expected, "revisions count from 1 without a gap");
            for delivered in revisions {
                let record: Value = serde_json::from_slice(&delivered.record).expect("JSON");
                let id = record["record_id"].as_str().expect("record_id").to_owned();
                assert_eq!(
                    *owners.entry(id).or_insert(cid),
                    cid,
                    "one record_id per call"
                );
                assert_eq!(record["revision"], delivered.revision);
                assert_no_negative_durations(&record);
            }
        }
        let mut ids: HashMap<EventId, usize> = HashMap::new();
        for &cid in owners.values() {
            *ids.entry(cid).or_default() += 1;
        }
        assert!(
            ids.values().all(|&count| count == 1),
            "a call has one record_id"
        );
    }
}

fn assert_no_negative_durations(record: &Value) {
    for (name, duration) in record["durations"].as_object().expect("durations") {
        assert!(
            duration.as_i64().is_none_or(|ms| ms >= 0),
            "{name} is {duration} in {record}"
        );
    }
}

/// The calls of which a chunk says `dlg_dead`.
fn deaths(chunk: &[u8]) -> Vec<EventId> {
    let chunk = Chunk::read(chunk).expect("a sound chunk");
    let groups = chunk.groups().map(|group| group.expect("a sound group"));
    let says = |kind: Kind| kind == Kind::DlgDead;
    let dead = groups.filter(|group| group.adds(&EventSet::default(), says));
    dead.map(|group| group.head.identity()).collect()
}

fn events_in(chunk: &[u8]) -> usize {
    let chunk = Chunk::read(chunk).expect("a sound chunk");
    chunk
        .groups()
        .map(|group| group.expect("a sound group").count)
        .sum()
}
