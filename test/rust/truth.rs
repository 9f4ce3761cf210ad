//! Real calls against what somebody else wrote down of them: the proxy's own CDRs.
//!
//! Plays `../shared/data/sip-calls.ndjson.gz` where it is, else the sample inside the repository, on the events' own
//! time; then shuffled inside a window of ten seconds with one event in twenty doubled.

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use callstore::call::life::STATES;
use callstore::store::Filter;
use serde_json::Value;

use crate::player::{Player, settings};

const BATCH: usize = 256;
const WINDOW_MS: i64 = 10_000;
/// The proxy counts from the ACK, the events from the 200.
const TOLERANCE_MS: i64 = 60;

struct Line {
    ts: i64,
    cid: String,
    text: Vec<u8>,
}

/// What the proxy says of an answered call.
struct Cdr {
    acallid: String,
    duration_ms: i64,
}

fn folder() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared/data");
    if shared.is_dir() {
        shared
    } else {
        root.join("test/sample")
    }
}

fn lines() -> Vec<Line> {
    let path = folder().join("sip-calls.ndjson.gz");
    let file =
        std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("a whole gzip of text");
    text.lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).expect("JSON");
            Line {
                ts: event["eventts"].as_i64().expect("eventts"),
                cid: event["data"]["cid"].as_str().expect("cid").to_owned(),
                text: line.as_bytes().to_vec(),
            }
        })
        .collect()
}

/// The proxy's CDRs; of the sample those that speak of its calls.
fn cdrs() -> Vec<Cdr> {
    let path = folder().join("sip-calls.proxy-cdr.csv");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .skip(1)
        .map(|row| {
            let mut columns = row.split(',');
            let acallid = columns.next().expect("acallid").to_owned();
            let seconds: f64 = columns.nth(2).expect("duration").parse().expect("seconds");
            Cdr {
                acallid,
                duration_ms: (seconds * 1_000.0).round() as i64,
            }
        })
        .collect()
}

/// Plays the lines in their order; after each batch every call that was named is either live or closed with a record.
fn play(lines: &[Line]) -> Player {
    let first = lines.iter().map(|line| line.ts).min().expect("events");
    let mut player = Player::new(settings(), first);
    let mut begun = HashSet::new();
    for batch in lines.chunks(BATCH) {
        let latest = batch.iter().map(|line| line.ts).max().expect("events");
        player.advance_to(latest);
        begun.extend(batch.iter().map(|line| line.cid.as_str()));
        let text: Vec<&[u8]> = batch.iter().map(|line| line.text.as_slice()).collect();
        let answer = player.put(&text.join(&b'\n'));
        assert_eq!(answer.rejected, []);
        assert_eq!(
            answer.accepted + answer.duplicate + answer.late,
            batch.len()
        );
        player.settle();
        let live: u64 = STATES
            .into_iter()
            .filter(|state| !state.is_over())
            .map(|state| {
                player.store.count(&Filter {
                    state: Some(state),
                    ..Filter::default()
                })
            })
            .sum();
        let closed = player.delivered[0].len() as u64;
        assert_eq!(
            player.store.totals().started,
            begun.len() as u64,
            "every call is begun once"
        );
        assert_eq!(begun.len() as u64, live + closed, "started = live + closed");
    }
    player.advance_to(player.now_ms + 3_600_000);
    player
}

/// Holds the newest record of every call against the proxy's.
fn hold_against_proxy(player: &Player, lines: &[Line]) {
    player.check();
    let calls: HashSet<&str> = lines.iter().map(|line| line.cid.as_str()).collect();
    assert_eq!(player.store.live(), 0, "no call is left");
    assert_eq!(
        player.delivered[0].len(),
        calls.len(),
        "every call has a record"
    );
    let mut ids = HashSet::new();
    let mut talks: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (cid, revisions) in &player.delivered[0] {
        let newest = revisions.last().expect("a revision");
        let record: Value = serde_json::from_slice(&newest.record).expect("JSON");
        let cid = uuid::Uuid::from_bytes(*cid).to_string();
        assert_eq!(record["cid"], cid.as_str());
        assert!(calls.contains(cid.as_str()), "{cid} is no call of the file");
        assert!(
            ids.insert(record["record_id"].to_string()),
            "one record_id per call"
        );
        if let Some(talk) = record["durations"]["talk_ms"].as_i64() {
            let acallid = record["acallid"].as_str().expect("acallid").to_owned();
            talks.entry(acallid).or_default().push(talk);
        }
    }
    let mut answered = 0;
    for cdr in cdrs() {
        let talk = talks.remove(&cdr.acallid).unwrap_or_default();
        assert_eq!(
            talk.len(),
            1,
            "{} is one answered call, is {talk:?}",
            cdr.acallid
        );
        let apart = (talk[0] - cdr.duration_ms).abs();
        assert!(
            apart <= TOLERANCE_MS,
            "{}: {} ms, proxy {}",
            cdr.acallid,
            talk[0],
            cdr.duration_ms
        );
        answered += 1;
    }
    assert!(answered > 0, "the proxy wrote of no call");
    assert!(
        talks.is_empty(),
        "answered calls that the proxy knows nothing of: {talks:?}"
    );
}

/// Pseudo-random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn every_real_call_is_one_record_as_the_proxy_saw_it() {
    let lines = lines();
    let player = play(&lines);
    assert!(
        player.delivered[0]
            .values()
            .all(|revisions| revisions.len() <= 2),
        "links come once"
    );
    hold_against_proxy(&player, &lines);
}

#[test]
fn out_of_order_and_doubled_they_are_the_same_records() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut disorder = Vec::new();
    for line in lines() {
        let copies = if dice.below(20) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            let moved = line.ts + dice.below(WINDOW_MS as u64) as i64;
            let line = Line {
                ts: line.ts,
                cid: line.cid.clone(),
                text: line.text.clone(),
            };
            disorder.push((moved, line));
        }
    }
    disorder.sort_by_key(|(moved, _)| *moved);
    let shuffled: Vec<Line> = disorder.into_iter().map(|(_, line)| line).collect();
    let player = play(&shuffled);
    hold_against_proxy(&player, &shuffled);
    assert!(player.store.totals().duplicates > 0, "some were doubled");

    let in_order = play(&lines());
    for (cid, revisions) in &in_order.delivered[0] {
        let newest = |player: &Player| {
            let delivered = player.delivered[0]
                .get(cid)
                .and_then(|revisions| revisions.last());
            let mut record: Value =
                serde_json::from_slice(&delivered.expect("a record").record).expect("JSON");
            record["revision"] = Value::Null;
            record
        };
        assert_eq!(
            newest(&player),
            newest(&in_order),
            "{} revisions",
            revisions.len()
        );
    }
}
