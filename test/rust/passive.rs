//! A passive copy folds what the active has committed and is asked nothing: it keeps no more than the calls it has.

use callstore::event::encode::Encoder;
use callstore::event::input::{Common, Taken};
use callstore::store::{Store, accepted};
use serde_json::json;

use crate::player::settings;

const BASE: i64 = 1_795_341_600_000;
/// From one call to the next; the longest that a call and its name are kept is many of these.
const STEP_MS: i64 = 60_000;
const CALLS: u64 = 8_000;

/// An answered call from its first event to its last.
fn call(number: u64, ts: i64) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(Common::default(), |_: &Taken<'_>| 1);
    for (step, kind) in ["invite", "dlg_start", "dlg_stop"].into_iter().enumerate() {
        let event = json!({"class": "callevents", "type": kind, "eventts": ts + step as i64, "data": {
            "eventid": format!("e{step:07}-0000-4000-8000-{number:012}"), "eventts": ts + step as i64,
            "cid": format!("c0000000-0000-4000-8000-{number:012}"), "acallid": format!("a{number}"), "invitets": ts,
            "dialogid": format!("d{number}"), "stopreason": "bye", "stopside": "a",
        }});
        encoder.push_json(event.to_string().as_bytes());
    }
    let (chunks, rejected) = encoder.finish();
    assert!(rejected.is_empty());
    chunks.into_iter().map(|encoded| encoded.chunk).collect()
}

/// Both fold a row.
fn append(active: &mut Store, passive: &mut Store, chunk: &[u8], row: &mut u64, now_ms: i64) {
    for store in [active, passive] {
        store.apply(&row.to_be_bytes(), chunk, now_ms).unwrap();
    }
    *row += 1;
}

#[test]
fn a_copy_that_is_asked_nothing_does_not_grow_with_the_calls_that_are_over() {
    let (mut active, mut passive) = (Store::new(settings()), Store::new(settings()));
    let (mut row, mut half) = (0u64, 0);
    for number in 0..CALLS {
        let now_ms = BASE + number as i64 * STEP_MS;
        for chunk in call(number, now_ms) {
            append(&mut active, &mut passive, &chunk, &mut row, now_ms);
        }
        assert_eq!((active.due(), passive.due()), (1, 1));
        for chunk in active.issue(now_ms, 1, "a@h1", 10) {
            append(&mut active, &mut passive, &chunk, &mut row, now_ms);
        }
        for sink in ["collection", "file"] {
            let taken: Vec<_> = active
                .pending(sink, 10)
                .iter()
                .map(|it| (it.cid, it.revision))
                .collect();
            assert_eq!(taken.len(), 1);
            for chunk in accepted(sink, &taken, now_ms) {
                append(&mut active, &mut passive, &chunk, &mut row, now_ms);
            }
        }
        assert_eq!(passive.due(), 0);
        for store in [&mut active, &mut passive] {
            let rows = store.trim(0).delete;
            store.drop_rows(rows.iter().map(Vec::as_slice));
        }
        if number == CALLS / 2 {
            half = passive.memory_bytes();
        }
    }
    assert!(passive.kept() < 100);
    assert!(passive.memory_bytes() <= half + half / 20);
}
