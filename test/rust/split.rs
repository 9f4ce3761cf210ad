//! Two copies of one group that went on apart and were united: the core's part of a healed net split.

use callstore::event::encode::Encoder;
use callstore::event::input::{Common, Taken};
use callstore::store::{Store, accepted};
use serde_json::json;

use crate::player::settings;

const BASE: i64 = 1_795_341_600_000;
const LATER: i64 = BASE + 60_000;

/// One side: a store, the chunks of its log, and the name under which it issues records.
struct Side {
    store: Store,
    log: Vec<Vec<u8>>,
    node: &'static str,
    epoch: i64,
}

impl Side {
    fn new(node: &'static str, epoch: i64) -> Side {
        let (store, log) = (Store::new(settings()), Vec::new());
        Side {
            store,
            log,
            node,
            epoch,
        }
    }

    fn append(&mut self, chunk: Vec<u8>) {
        let row = self.log.len().to_be_bytes();
        self.store.apply(&row, &chunk, LATER).unwrap();
        self.log.push(chunk);
    }

    /// An answered call, up to one of its events.
    fn put(&mut self, events: &[(&str, i64)]) {
        let mut encoder = Encoder::new(Common::default(), |_: &Taken<'_>| 1);
        for &(kind, after) in events {
            let ts = BASE + after;
            let event = json!({"class": "callevents", "type": kind, "eventts": ts, "data": {
                "eventid": format!("e0000000-0000-4000-8000-{after:012}"), "eventts": ts,
                "cid": "c0000000-0000-4000-8000-000000000001", "acallid": "a1", "invitets": BASE,
                "dialogid": "d1", "stopreason": "bye", "stopside": "a",
            }});
            encoder.push_json(event.to_string().as_bytes());
        }
        let (chunks, rejected) = encoder.finish();
        assert!(rejected.is_empty());
        for encoded in chunks {
            self.append(encoded.chunk);
        }
    }

    /// Issues what is due and has all sinks accept it. Returns the revisions.
    fn issue(&mut self) -> Vec<u32> {
        for chunk in self.store.issue(LATER, self.epoch, self.node, 100) {
            self.append(chunk);
        }
        let mut revisions = Vec::new();
        for sink in ["collection", "file"] {
            let pending = self.store.pending(sink, 100);
            revisions = pending.iter().map(|it| it.revision).collect();
            let taken: Vec<_> = pending.iter().map(|it| (it.cid, it.revision)).collect();
            for chunk in accepted(sink, &taken, LATER) {
                self.append(chunk);
            }
        }
        revisions
    }

    fn take_all_of(&mut self, other: &Side) {
        for chunk in &other.log {
            self.append(chunk.clone());
        }
    }
}

fn united(one: &mut Side, other: &mut Side) {
    let before = Side {
        store: Store::new(settings()),
        log: other.log.clone(),
        ..*other
    };
    other.take_all_of(one);
    one.take_all_of(&before);
}

const LIFE: [(&str, i64); 4] = [
    ("invite", 0),
    ("dlg_init", 10),
    ("dlg_start", 2_000),
    ("dlg_stop", 9_000),
];

#[test]
fn a_revision_that_both_sides_issued_is_followed_by_one_that_is_the_same_everywhere() {
    let (mut one, mut other) = (Side::new("one@test", 1), Side::new("other@test", 2));
    one.put(&LIFE);
    other.put(&LIFE);
    assert_eq!((one.issue(), other.issue()), (vec![1], vec![1]));
    united(&mut one, &mut other);
    assert_eq!(one.issue(), [2]);
    other.take_all_of(&one);
    assert!(other.issue().is_empty());
    assert!(one.issue().is_empty());
    assert_eq!(one.store.digest(), other.store.digest());
}

#[test]
fn a_revision_that_one_side_issued_stays_the_only_one() {
    let (mut one, mut other) = (Side::new("one@test", 1), Side::new("other@test", 2));
    one.put(&LIFE[..2]);
    other.put(&LIFE);
    assert_eq!((one.issue(), other.issue()), (vec![], vec![1]));
    united(&mut one, &mut other);
    assert!(one.issue().is_empty());
    assert!(other.issue().is_empty());
    assert_eq!(one.store.digest(), other.store.digest());
    let ends = |side: &Side| (side.store.totals().started, side.store.totals().closed);
    assert_eq!((ends(&one), ends(&other)), ((1, 1), (1, 1)));
}
