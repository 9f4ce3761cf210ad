//! What is no event and no chunk: read to its end, never a panic, and nothing of it in the way of what is sound.
//!
//! Texts and events are made up, or are sound ones that were changed; chunks are sound ones that were changed and have the
//! checksum of what they became, so that the change reaches the decoder. Seeds are fixed: every run plays the same cases.

use callstore::event::chunk::Chunk;
use callstore::event::encode::Encoder;
use callstore::event::input::{Common, Taken};
use callstore::record::JsonOut;
use callstore::store::{Filter, Lookup, Settings, Store};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::player::settings;

const BASE: i64 = 1_795_341_600_000;
const CID: &str = "c0000000-0000-4000-8000-000000000001";
const CASES: u32 = 3_000;
/// What changes a byte string.
type Change = (u8, u32, u8);

/// The same cases at every run.
fn runner() -> TestRunner {
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new_with_rng(
        config,
        TestRng::from_seed(RngAlgorithm::ChaCha, &[0x35; 32]),
    )
}

fn run<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    if let Err(failure) = runner().run(&strategy, test) {
        panic!("{failure}");
    }
}

/// The chunks of a text, and how many pieces of it were taken or rejected.
fn encoded(text: &[u8]) -> (Vec<Vec<u8>>, usize, usize) {
    let mut encoder = Encoder::new(Common::default(), |_: &Taken<'_>| 1);
    encoder.push_json(text);
    let (chunks, rejected) = encoder.finish();
    let taken = chunks.iter().map(|it| it.events).sum();
    let chunks = chunks.into_iter().map(|it| it.chunk).collect();
    (chunks, taken, rejected.len())
}

fn event(kind: &str, at: i64, more: Value) -> String {
    let mut data =
        json!({"cid": CID, "acallid": "a1@10.0.0.1", "invitets": BASE, "dialogid": "rB1-1"});
    let fields = data.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    json!({"class": "callevents", "type": kind, "eventts": BASE + at, "data": data}).to_string()
}

/// A call with something of everything that is packed in its own way: uuids, texts, numbers, fractions, lists.
fn sound() -> String {
    let leg = json!({"bcallid": "b1", "aremoteuri": "sip:1@alfa.era.test", "mgctxid": "ctx", "mgused": true});
    [
        event(
            "invite",
            0,
            json!({"fromdomain": "alfa.era.test", "relates": [1, {"a": null}]}),
        ),
        event("route", 1, json!({"ruleid": CID, "priority": 0.5})),
        event(
            "fork_start",
            2,
            json!({"forkcallid": "b1", "forkdir": "in"}),
        ),
        event("dlg_start", 2_000, leg.clone()),
        event("hold", 3_000, json!({"xcallid": "b1"})),
        event("quality", 4_000, json!({"mos": -1, "text": "é\u{1F600}\n"})),
        event(
            "dlg_end",
            9_000,
            json!({"stopreason": "bye", "stopside": "b"}),
        ),
        event("dlg_stop", 12_000, leg),
    ]
    .join("\n")
}

/// Overwrites, inserts, takes out, cuts off, doubles.
fn changed(mut bytes: Vec<u8>, from: usize, changes: &[Change]) -> Vec<u8> {
    for &(how, place, byte) in changes {
        let room = bytes.len().saturating_sub(from);
        if room == 0 {
            break;
        }
        let at = from + place as usize % room;
        match how % 6 {
            0 | 1 => bytes[at] = byte,
            2 => bytes[at] ^= 1 << (byte % 8),
            3 => bytes.insert(at, byte),
            4 => drop(bytes.remove(at)),
            _ if byte < 64 => bytes.truncate(at),
            _ => {
                let end = (at + usize::from(byte)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(any::<Change>(), 1..6)
}

/// All that is asked of a store.
fn exercise(store: &mut Store) {
    let _ = store.settle();
    store.tick(BASE + 100_000);
    for chunk in store.issue(BASE + 100_000, 1, "n@h", 10) {
        let _ = store.apply(b"issued", &chunk, BASE + 100_000);
    }
    store.pending("file", 10);
    store.digest();
    let filter = Filter {
        subtree: true,
        ..Filter::default()
    };
    for cid in store.calls(&filter, 100, Default::default()).cids {
        store.write_call(cid, &mut JsonOut::default());
        store.explain(cid);
    }
    for key in [Lookup::CallId("b1"), Lookup::Dialog("rB1-1")] {
        store.find(key);
    }
    let totals = store.totals();
    assert_eq!(
        totals.started,
        store.live() + totals.closed,
        "started = live + closed"
    );
}

fn store() -> Store {
    Store::new(Settings {
        sorm3_enabled: true,
        ..settings()
    })
}

/// A value nested at random, with the words that mean something to the reader of events.
fn values() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "cid",
        "data",
        "empty",
        "",
        CID,
        "invite",
        "dlg_start",
        "acallid",
        "callevents",
        "sip:a@b",
        "\u{0}",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-z]{1,8}", inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

const KEYS: [&str; 12] = [
    "cid",
    "acallid",
    "invitets",
    "eventid",
    "eventts",
    "dialogid",
    "connectionid",
    "sipcode",
    "relates",
    "stopside",
    "acallidhash",
    "isrec",
];

#[test]
fn any_bytes_are_taken_or_rejected_as_json() {
    run(prop::collection::vec(any::<u8>(), 0..400), |bytes| {
        encoded(&bytes);
        Ok(())
    });
}

#[test]
fn any_json_is_one_event_taken_or_rejected() {
    run(values(), |value| {
        let (_, taken, rejected) = encoded(value.to_string().as_bytes());
        let pieces = value.as_array().map_or(1, Vec::len);
        prop_assert_eq!(taken + rejected, pieces);
        Ok(())
    });
}

#[test]
fn fields_of_any_value_make_an_event_that_can_be_folded_or_none() {
    let fields = prop::collection::vec((prop::sample::select(KEYS.to_vec()), values()), 0..8);
    run(
        (
            fields,
            prop::sample::select(vec!["invite", "dlg_start", "dlg_end", "hold", "new"]),
        ),
        |(fields, kind)| {
            let mut given: Value = serde_json::from_str(&event(kind, 0, json!({}))).expect("JSON");
            for (key, value) in fields {
                given["data"][key] = value;
            }
            let (chunks, taken, rejected) = encoded(given.to_string().as_bytes());
            prop_assert_eq!(taken + rejected, 1);
            let mut store = store();
            for chunk in &chunks {
                prop_assert!(store.apply(b"1", chunk, BASE).is_ok());
            }
            exercise(&mut store);
            Ok(())
        },
    );
}

#[test]
fn a_changed_text_harms_no_more_than_the_lines_that_were_changed() {
    let first = event("invite", 0, json!({"eventid": CID}));
    run(changes(), |changes| {
        let mut text = first.clone().into_bytes();
        text.push(b'\n');
        let from = text.len();
        text.extend_from_slice(sound().as_bytes());
        let (chunks, taken, _) = encoded(&changed(text, from, &changes));
        prop_assert!(taken >= 1, "the line before the change is taken");
        let mut store = store();
        for chunk in &chunks {
            prop_assert!(store.apply(b"1", chunk, BASE).is_ok());
        }
        exercise(&mut store);
        Ok(())
    });
}

#[test]
fn a_changed_chunk_is_refused_by_its_checksum() {
    let (chunks, ..) = encoded(sound().as_bytes());
    run(changes(), |changes| {
        let bytes = changed(chunks[0].clone(), 0, &changes);
        if bytes != chunks[0] {
            prop_assert!(Chunk::read(&bytes).is_err());
            prop_assert!(store().apply(b"1", &bytes, BASE).is_err());
        }
        Ok(())
    });
}

/// Where the part that the checksum covers begins; see `event::chunk`.
const COVERED: usize = 9;

#[test]
fn a_changed_chunk_with_a_right_checksum_never_panics_and_leaves_a_sound_store_usable() {
    let (chunks, ..) = encoded(sound().as_bytes());
    let other = event(
        "invite",
        0,
        json!({"cid": "c0000000-0000-4000-8000-000000000002", "acallid": "a2"}),
    );
    let (others, ..) = encoded(other.as_bytes());
    run(changes(), |changes| {
        let mut bytes = changed(chunks[0].clone(), COVERED, &changes);
        let checksum = crc32c::crc32c(&bytes[COVERED..]);
        bytes[5..COVERED].copy_from_slice(&checksum.to_le_bytes());
        let mut store = store();
        let _ = store.apply(b"1", &bytes, BASE);
        exercise(&mut store);
        prop_assert!(store.apply(b"2", &others[0], BASE).is_ok());
        prop_assert!(store.find(Lookup::CallId("a2")).is_some());
        exercise(&mut store);
        Ok(())
    });
}
