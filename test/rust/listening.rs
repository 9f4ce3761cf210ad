//! Who listens to rows knows what the store knows: the live calls and their states, each event once.
//!
//! [`Listener`] hears every row of every test that plays events ([`crate::player`]); the tests here say what single rows
//! say, and to whom.

use std::collections::{HashMap, HashSet};

use callstore::event::encode::Encoder;
use callstore::event::input::{Common, Taken};
use callstore::event::value::lenient_uuid;
use callstore::event::{EventId, record_id};
use callstore::record::JsonOut;
use callstore::store::{Cursor, Filter, Settings, Store, Told, Wanted, Whom, tell};
use serde_json::{Value, json};

/// Knows the calls by what was told alone.
#[derive(Default)]
pub struct Listener {
    live: HashMap<EventId, String>,
    events: HashSet<String>,
}

impl Listener {
    /// Hears what a row said.
    pub fn hear(&mut self, count: u32, marks: &[u8], chunks: &[&[u8]]) {
        let mut last = 0;
        for (number, said) in told(marks, chunks, &Wanted::default()) {
            assert_eq!(number, last + 1, "numbers of a row have no gap");
            last = number;
            self.note(&said);
        }
        assert_eq!(last, count, "as many as were counted");
    }

    fn note(&mut self, said: &Value) {
        let data = &said["data"];
        let text = |key: &str| data[key].as_str().unwrap_or_default();
        let cid = lenient_uuid(text("cid").as_bytes()).expect("every event says its call");
        match said["type"].as_str().expect("every event has a type") {
            "call_opened" => {
                let before = self.live.insert(cid, text("state").to_owned());
                assert_eq!(before, None, "a call that lives is not opened: {said}");
            }
            "call_closed" => {
                let before = self.live.remove(&cid);
                assert!(before.is_some(), "only a call that lives is closed: {said}");
            }
            "call_changed" => {
                if let Some(state) = self.live.get_mut(&cid) {
                    assert_eq!(state, text("before"), "{said}");
                    text("state").clone_into(state);
                }
            }
            _ => {
                let key = format!("{} {}", text("cid"), text("eventid"));
                assert!(self.events.insert(key), "told once: {said}");
            }
        }
    }

    /// What was heard is what the store knows.
    pub fn check(&self, store: &Store) {
        assert_eq!(self.live.len() as u64, store.live());
        let page = store.calls(&Filter::default(), usize::MAX, Cursor::default());
        for cid in page.cids {
            let mut out = JsonOut::default();
            assert!(store.write_call(cid, &mut out));
            let call: Value = serde_json::from_slice(&out.into_bytes()).expect("JSON");
            let heard = self.live.get(&cid).map(String::as_str);
            assert_eq!(heard, call["state"].as_str(), "{call}");
        }
    }
}

/// What is wanted of a row, as JSON.
fn told(marks: &[u8], chunks: &[&[u8]], wanted: &Wanted) -> Vec<(u32, Value)> {
    let mut all = Vec::new();
    let each = |number: u32, whom: &Whom<'_>, it: &Told<'_, '_>| {
        let mut out = JsonOut::default();
        it.write(whom, 7, &mut out);
        let said = serde_json::from_slice(&out.into_bytes()).expect("JSON");
        all.push((number, said));
    };
    tell(marks, chunks, wanted, each).expect("marks that fit their chunks");
    all
}

struct Log {
    store: Store,
    rows: u64,
}

impl Log {
    fn new() -> Log {
        let settings = Settings {
            sinks: vec!["collection".into()],
            cdr_enabled: true,
            ..Settings::default()
        };
        Log {
            store: Store::new(settings),
            rows: 0,
        }
    }

    /// Folds events as one row: what it says.
    fn row(&mut self, events: &[Value], wanted: &Wanted) -> Vec<(u32, Value)> {
        let mut encoder = Encoder::new(Common::default(), |_: &Taken<'_>| 7);
        encoder.push_json(json!(events).to_string().as_bytes());
        let (chunks, rejected) = encoder.finish();
        assert_eq!(rejected, []);
        let chunks: Vec<Vec<u8>> = chunks.into_iter().map(|it| it.chunk).collect();
        self.fold(&chunks, wanted)
    }

    fn fold(&mut self, chunks: &[Vec<u8>], wanted: &Wanted) -> Vec<(u32, Value)> {
        self.rows += 1;
        self.store.begin_said();
        for chunk in chunks {
            let row = self.rows.to_be_bytes();
            self.store
                .apply(&row, chunk, NOW_MS)
                .expect("a sound chunk");
        }
        let (_, marks) = self.store.take_said().expect("sound sets");
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        told(marks, &chunks, wanted)
    }
}

const NOW_MS: i64 = 1_795_378_165_279;
const CID: &str = "d12ad6d4-a5b9-5ef6-9b86-25e5e1bce409";

fn event(nth: u32, kind: &str, fields: Value) -> Value {
    let mut data = json!({
        "eventid": format!("e000000{nth}-0000-4000-8000-000000000001"), "eventts": NOW_MS + i64::from(nth),
        "cid": CID, "acallid": "a1", "acallidhash": 5, "invitets": NOW_MS,
    });
    for (key, value) in fields.as_object().expect("an object") {
        data[key] = value.clone();
    }
    json!({"class": "callevents", "type": kind, "eventts": NOW_MS + i64::from(nth), "data": data})
}

fn kinds(said: &[(u32, Value)]) -> Vec<&str> {
    said.iter()
        .filter_map(|(_, it)| it["type"].as_str())
        .collect()
}

#[test]
fn a_row_says_opened_events_changed_and_closed_in_order() {
    let mut log = Log::new();
    let all = Wanted::default();
    let invite = event(1, "invite", json!({"fromdomain": "alfa.era.test"}));
    let said = log.row(std::slice::from_ref(&invite), &all);
    assert_eq!(kinds(&said), ["call_opened", "invite"]);
    let start = event(2, "dlg_start", json!({"dialogid": "d1"}));
    let said = log.row(&[invite, start], &all);
    assert_eq!(
        kinds(&said),
        ["dlg_start", "call_changed"],
        "the event that was known says nothing"
    );
    let end = json!({"dialogid": "d1", "stopreason": "bye", "stopside": "a"});
    let stop = [event(3, "dlg_end", end.clone()), event(4, "dlg_stop", end)];
    let said = log.row(&stop, &all);
    assert_eq!(kinds(&said), ["dlg_end", "dlg_stop", "call_closed"]);
    let expected = json!({
        "class": "callstore", "type": "call_closed", "eventts": NOW_MS + 4,
        "data": {
            "cid": CID, "acallid": "a1", "acallidhash": 5, "invitets": NOW_MS,
            "connectionid": format!("{CID}.{NOW_MS}"), "domains": ["alfa.era.test"], "before": "confirmed", "state": "closed",
            "group": 7
        }
    });
    assert_eq!(said.last(), Some(&(3, expected)));
}

#[test]
fn an_event_is_told_as_it_was_put_but_for_who_owns_it() {
    let mut log = Log::new();
    let fields =
        json!({"dialogid": "d1", "ghost": true, "relates": [1, {"a": null}], "theirs": 1.5});
    let put = event(1, "dlg_init", fields);
    let said = log.row(std::slice::from_ref(&put), &Wanted::default());
    let mut expected = put;
    expected["data"]["connectionid"] = json!(format!("{CID}.{NOW_MS}"));
    assert_eq!(said.last(), Some(&(2, expected)));
}

#[test]
fn a_record_that_is_issued_is_told_with_its_identity() {
    let mut log = Log::new();
    let stop = event(
        1,
        "dlg_stop",
        json!({"dialogid": "d1", "stopreason": "bye"}),
    );
    log.row(&[stop], &Wanted::default());
    let issued = log.store.issue(NOW_MS, 3, "a@h1", 10);
    let said = log.fold(&issued, &Wanted::default());
    assert_eq!(kinds(&said), ["record"]);
    let data = &said[0].1["data"];
    assert_eq!(
        (&data["revision"], &data["epoch"], &data["node"]),
        (&json!(1), &json!(3), &json!("a@h1"))
    );
    let cid = lenient_uuid(CID.as_bytes()).unwrap();
    let id = lenient_uuid(data["record_id"].as_str().unwrap().as_bytes());
    assert_eq!(id, Some(record_id(cid)));
    assert_eq!(
        data["acallid"], "a1",
        "the head of the call, which the log does not repeat"
    );
    assert_eq!(data["acallidhash"], 5);
    assert_eq!(
        log.fold(&issued, &Wanted::default()),
        [],
        "a row folded again says nothing"
    );
}

#[test]
fn a_filter_leaves_out_and_the_numbers_stay() {
    let mut log = Log::new();
    let events = [
        event(1, "invite", json!({"fromdomain": "sales.Alfa.era.test"})),
        event(2, "dlg_init", json!({"dialogid": "d1"})),
        event(3, "dlg_start", json!({"dialogid": "d1"})),
    ];
    let types = Some(HashSet::from([
        "dlg_start".to_owned(),
        "call_opened".to_owned(),
    ]));
    let domain = |name: &str| Wanted {
        types: types.clone(),
        domain: Some(name.to_owned()),
    };
    let said = log.row(&events, &domain("alfa.era.test"));
    let numbers: Vec<u32> = said.iter().map(|(number, _)| *number).collect();
    assert_eq!(
        (kinds(&said), numbers),
        (vec!["call_opened", "dlg_start"], vec![1, 4])
    );
    for other in ["lfa.era.test", "beta.era.test", "x.sales.alfa.era.test"] {
        let mut log = Log::new();
        assert_eq!(log.row(&events, &domain(other)), [], "{other}");
    }
}

#[test]
fn two_calls_that_become_one_close_one_into_the_other() {
    let mut log = Log::new();
    let other = "00000000-a5b9-4ef6-9b86-25e5e1bce409";
    let mut joined = event(
        2,
        "dlg_init",
        json!({"dialogid": "d1", "acallid": "a2", "cid": other}),
    );
    joined["data"]["invitets"] = json!(NOW_MS + 1);
    log.row(
        &[event(1, "dlg_init", json!({"dialogid": "d1"}))],
        &Wanted::default(),
    );
    let said = log.row(&[joined], &Wanted::default());
    let closed: Vec<_> = said
        .iter()
        .filter(|(_, it)| it["type"] == "call_closed")
        .collect();
    let [(_, closed)] = closed[..] else {
        panic!("one of the two goes: {said:?}");
    };
    let pair = [
        closed["data"]["cid"].as_str(),
        closed["data"]["into"].as_str(),
    ];
    assert!(
        pair.contains(&Some(CID)) && pair.contains(&Some(other)),
        "{closed}"
    );
}
