//! The record as a whole: its keys, their order, and that what is not known is null.

use serde_json::{Value, json};

use super::*;
use crate::call::State;
use crate::call::testing::*;
use crate::event::{Event, Field, Kind};

const CONTEXT: Context<'_> = Context {
    site: "msk",
    master_domain: "era.test",
    group: 11_010,
    node: "a@h1",
    epoch: 3,
    revision: 1,
};

/// The keys of the format, in order.
const KEYS: [&str; 31] = [
    "schema",
    "record_id",
    "revision",
    "cid",
    "connectionid",
    "invitets",
    "acallid",
    "bcallid",
    "dialogid",
    "domain",
    "bdomain",
    "master_domain",
    "site",
    "group",
    "node",
    "epoch",
    "a",
    "b",
    "routing",
    "forks",
    "answer",
    "holds",
    "links",
    "bindings",
    "media",
    "recording",
    "end",
    "durations",
    "completeness",
    "reopened",
    "rescued",
];

fn record(events: impl IntoIterator<Item = Event<'static>>) -> Value {
    let mut out = JsonOut::default();
    write(&call(events), &CONTEXT, &mut out);
    serde_json::from_slice(out.as_bytes()).expect("JSON")
}

fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[test]
fn every_record_has_all_keys_in_their_order() {
    let answered = record([invite(), dlg_start(5, "f1"), dlg_stop(60, "bye", "a")]);
    let lost = record([ev(5, Kind::CallRecLinks)]);
    for record in [&answered, &lost] {
        assert_eq!(keys(record), KEYS);
        let leg = [
            "username",
            "number",
            "original_number",
            "translated_number",
            "domain",
            "uri",
            "address",
            "account",
            "outer",
        ];
        assert_eq!(keys(&record["a"]), leg);
        assert_eq!(keys(&record["b"]), leg);
    }
}

#[test]
fn what_a_call_outlived_is_written() {
    let [verdict, mut dead] = death(90_000, 40_000);
    dead.ts = T0 + 40_000;
    let alive = ev(95_000, Kind::Verdict)
        .with(Field::State, "alive")
        .with(Field::Reason, "found_alive");
    let rescued = ev(96_000, Kind::Rescued).with(Field::Newowner, "external:two");
    let record = record([
        invite().with(Field::Owner, "external:one"),
        dlg_start(5, "f1"),
        verdict,
        dead,
        alive,
        rescued,
        dlg_end(99_000, "bye", "a"),
    ]);
    let reopened = json!([{"ts": T0 + 95_000, "reason": "found_alive", "ended": T0 + 40_000}]);
    let rescued = json!([{"ts": T0 + 96_000, "from": "external:one", "to": "external:two"}]);
    assert_eq!(record["reopened"], reopened);
    assert_eq!(record["rescued"], rescued);
    assert_eq!(record["end"]["origin"], "signalled");
}

#[test]
fn an_answered_call_is_written_with_all_that_is_known() {
    let record = record([
        invite().with(Field::Fromaddress, "10.0.0.7"),
        ev(2, Kind::Route).with(Field::Ruleid, "r1"),
        ev(5, Kind::ForkStart)
            .fork("f1")
            .with(Field::Forkdir, "in")
            .with(Field::Forkremoteuri, "sip:5975@beta.test"),
        dlg_start(1_000, "f1").with(Field::Mgcgroup, 11_213_i64),
        ev(1_004, Kind::RecInfo)
            .with(Field::Domain, "alfa.test")
            .with(Field::Isrec, true),
        ev(2_000, Kind::DlgBinding).with(Field::Dlgbinding, "vip \"1\""),
        ev(3_000, Kind::Hold).with(Field::Xcallid, ACALLID),
        dlg_end(11_000, "bye", "a"),
        dlg_stop(14_000, "bye", "a"),
    ]);
    let cid = "07070707-0707-0707-0707-070707070707";
    assert_eq!(record["cid"], cid);
    assert_eq!(record["connectionid"], format!("{cid}.{T0}"));
    assert_eq!(record["domain"], "alfa.test");
    assert_eq!(record["bdomain"], "beta.test");
    assert_eq!(record["a"]["address"], "10.0.0.7");
    assert_eq!(
        record["routing"],
        json!([{"type": "route", "ts": T0 + 2, "ruleid": "r1"}])
    );
    let fork = json!({
        "uri": "sip:5975@beta.test", "callid": "f1", "dir": "in", "account": null, "start": T0 + 5,
        "answer": T0 + 1_000, "end": T0 + 11_000, "sipcode": null, "reason": null, "won": true,
    });
    assert_eq!(record["forks"], json!([fork]));
    let hold = json!([{"side": "a", "from": T0 + 3_000, "to": T0 + 11_000}]);
    assert_eq!(record["holds"], hold);
    assert_eq!(record["bindings"], json!(["vip \"1\""]));
    assert_eq!(
        record["media"],
        json!({"mgcgroup": 11_213, "mgctxid": null, "migrations": []})
    );
    let recording = json!({
        "state": "asked", "domains": {"alfa.test": {"wanted": true}}, "links": [], "size": null,
    });
    assert_eq!(record["recording"], recording);
    let end = json!({
        "ts": T0 + 11_000, "term_cause": 1, "completion": "bye", "released_by": "a", "sipcode": null, "q850": 16,
        "reason": null, "origin": "signalled", "estimated": false, "evidence": [], "detected": null,
    });
    assert_eq!(record["end"], end);
    let durations = json!({
        "setup_ms": 1_000, "ring_ms": 995, "talk_ms": 10_000, "hold_ms": 8_000, "total_ms": 11_000,
    });
    assert_eq!(record["durations"], durations);
    let completeness = json!({
        "start_lost": false, "stop_lost": false, "clock_stepped": false, "events": 9, "unknown_types": [],
    });
    assert_eq!(record["completeness"], completeness);
}

#[test]
fn a_synthetic_end_carries_its_evidence() {
    let [verdict, dead] = death(90_000, 40_000);
    let record = record([invite(), dlg_start(5, "f1"), verdict, dead]);
    let end = json!({
        "ts": T0 + 40_000, "term_cause": 1000, "completion": "dead", "released_by": null, "sipcode": null,
        "q850": null, "reason": "owner_gone", "origin": "synthetic", "estimated": true,
        "evidence": [{"kind": "monitor"}], "detected": T0 + 90_000,
    });
    assert_eq!(record["end"], end);
    assert_eq!(record["completeness"]["stop_lost"], true);
}

#[test]
fn the_record_of_a_call_does_not_depend_on_the_order_of_its_events() {
    let events = || {
        vec![
            invite(),
            dlg_start(5, "f1"),
            ev(5, Kind::DlgBinding).with(Field::Dlgbinding, "x"),
            dlg_end(60, "bye", "b"),
            dlg_stop(3_060, "bye", "b"),
        ]
    };
    let mut reversed = events();
    reversed.reverse();
    assert_eq!(record(events()), record(reversed));
}

#[test]
fn the_identity_of_a_record_is_that_of_its_call_alone() {
    let id = |record: Value| record["record_id"].clone();
    let live = id(record([invite()]));
    assert_eq!(live, id(record([dlg_stop(60, "bye", "a")])));
    assert_eq!(live.as_str().map(str::len), Some(36));
}

#[test]
fn a_live_call_has_the_shape_of_its_record_with_state_and_owner() {
    let call = call([invite().with(Field::Owner, "b2b@n1"), dlg_start(5, "f1")]);
    let context = Context {
        node: "",
        epoch: 0,
        revision: 0,
        ..CONTEXT
    };
    let mut out = JsonOut::default();
    write_live(&call, &context, State::Confirmed, &mut out);
    let live: Value = serde_json::from_slice(out.as_bytes()).expect("JSON");
    let survival = ["reopened", "rescued"];
    let shape = KEYS.into_iter().filter(|key| !survival.contains(key));
    assert!(keys(&live).into_iter().eq(shape.chain(["state", "owner"])));
    assert_eq!(live["state"], "confirmed");
    assert_eq!(live["owner"], "b2b@n1");
    for unknown in ["end", "revision", "node", "epoch"] {
        assert_eq!(live[unknown], Value::Null, "{unknown}");
    }
    assert_eq!(live["durations"]["talk_ms"], Value::Null);
}

#[test]
fn a_live_call_says_what_it_outlived() {
    let lost = invite().with(Field::Owner, "one");
    let call = call([lost, ev(9, Kind::Rescued).with(Field::Newowner, "two")]);
    let mut out = JsonOut::default();
    write_live(&call, &CONTEXT, State::Confirmed, &mut out);
    let live: Value = serde_json::from_slice(out.as_bytes()).expect("JSON");
    let rescued = json!([{"ts": T0 + 9, "from": "one", "to": "two"}]);
    assert_eq!(live["rescued"], rescued);
    assert_eq!(live.get("reopened"), None);
}
