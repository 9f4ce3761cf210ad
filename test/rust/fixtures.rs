//! Formats that last: everything that a released version has written is read by this one, and says what it said then.
//!
//! `test/fixtures/N/` holds what chunk version N, record schema and role configuration of that time looked like; see the
//! README there. `write_the_fixtures_of_this_version` makes the folder of the version that is written now, and changes
//! no file that is there: what was released stays as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use callstore::domain::roles_from_json;
use callstore::event::chunk::{self, Chunk, OLDEST_VERSION, VERSION};
use callstore::event::kind::KINDS;
use callstore::event::{Class, Corrupt, EventId, EventSet, Kind};
use callstore::record::JsonOut;
use callstore::store::{Settings, Store, rescued};
use callstore::watch::Evidence;
use serde_json::{Value, json};

use crate::player::{Player, settings};
use crate::scenarios::matching::differences;

const BASE: i64 = 1_795_341_600_000;
const OWNER: &str = "name:b2b n0";
/// Has nothing yet: what waits for it are all records.
const SINK: &str = "another";
/// Kinds that have a code and that nothing writes.
const NEVER_WRITTEN: [Kind; 2] = [Kind::Evidence, Kind::Owner];

fn folder(version: u8) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("test/fixtures/{version}"))
}

/// Chunks one behind the other, the length of each (u32 LE) in front of it.
fn framed(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in chunks {
        bytes.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
        bytes.extend_from_slice(chunk);
    }
    bytes
}

fn unframed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (chunk, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        chunks.push(chunk.to_vec());
        bytes = rest;
    }
    chunks
}

fn of_another_sink() -> Settings {
    Settings {
        sinks: vec![SINK.into()],
        sorm3_enabled: true,
        ..settings()
    }
}

/// What a log says: every call that it names, every record, the digest of what lives.
fn said(chunks: &[Vec<u8>]) -> (Store, Value) {
    let mut store = Store::new(of_another_sink());
    let mut cids: BTreeSet<EventId> = BTreeSet::new();
    for (row, chunk) in chunks.iter().enumerate() {
        let read = Chunk::read(chunk).expect("a chunk of a version that is read");
        cids.extend(
            read.groups()
                .map(|group| group.expect("a group").head.identity()),
        );
        store
            .apply(&row.to_be_bytes(), chunk, BASE)
            .expect("a sound chunk");
    }
    store.settle().expect("sound sets");
    let call = |cid: &EventId| {
        let mut out = JsonOut::default();
        store
            .write_call(*cid, &mut out)
            .then(|| json_of(&out.into_bytes()))
    };
    let calls: Vec<Value> = cids.iter().filter_map(call).collect();
    let digest: String = store
        .digest()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let said = json!({"calls": calls, "digest": digest, "live": store.live()});
    (store, said)
}

fn records(store: &mut Store) -> Value {
    let records = store.pending(SINK, 1000).into_iter().map(|pending| {
        json!({"record": json_of(&pending.record), "projection": pending.projection.as_deref().map(json_of)})
    });
    records.collect()
}

fn json_of(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("JSON")
}

fn read(version: u8, file: &str) -> Vec<u8> {
    let path = folder(version).join(file);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_holds(expected: &[u8], actual: &Value) {
    let mut found = Vec::new();
    differences("", &json_of(expected), Some(actual), &mut found);
    assert_eq!(found, [""; 0]);
}

#[test]
fn every_log_that_a_released_version_wrote_is_the_same_calls_and_records() {
    for version in OLDEST_VERSION..=VERSION {
        let chunks = unframed(&read(version, "log.chunks"));
        assert!(chunks.iter().all(|chunk| chunk[4] == version));
        let (mut store, calls) = said(&chunks);
        assert_holds(&read(version, "calls.json"), &calls);
        assert_holds(&read(version, "records.json"), &records(&mut store));
        let backwards: Vec<Vec<u8>> = chunks.into_iter().rev().collect();
        assert_holds(&read(version, "calls.json"), &said(&backwards).1);
    }
}

#[test]
fn every_role_configuration_of_a_released_version_is_read_the_same() {
    for version in OLDEST_VERSION..=VERSION {
        assert_holds(
            &read(version, "roles.checked.json"),
            &checked(&read(version, "roles.json")),
        );
    }
}

fn checked(roles: &[u8]) -> Value {
    let (roles, _warnings) = roles_from_json(roles).expect("roles that are accepted");
    roles.iter().map(|role| role.to_json()).collect()
}

#[test]
fn the_fixtures_hold_every_kind_of_event_that_is_written() {
    let mut there = BTreeSet::new();
    for chunk in unframed(&read(VERSION, "log.chunks")) {
        for group in Chunk::read(&chunk).expect("a chunk").groups() {
            let mut set = EventSet::default();
            let each = |_: &EventSet, event: &callstore::event::Event<'_>, _| {
                there.insert(event.kind);
            };
            group
                .expect("a group")
                .push_into(&mut set, each)
                .expect("events");
        }
    }
    let all = KINDS.iter().map(|row| row.kind).chain([Kind::Unknown]);
    let missing: Vec<Kind> = all
        .filter(|kind| !there.contains(kind) && !NEVER_WRITTEN.contains(kind))
        .collect();
    assert_eq!(missing, []);
}

#[test]
fn a_fixture_of_a_later_version_is_refused_and_the_version_named() {
    let mut chunk = unframed(&read(VERSION, "log.chunks")).swap_remove(0);
    chunk[4] = VERSION + 1;
    let refused = Chunk::read(&chunk).err();
    assert_eq!(refused, Some(Corrupt::Version(VERSION + 1)));
}

/// `cargo test -p callstore --test core write_the_fixtures_of_this_version -- --ignored`
#[test]
#[ignore = "writes files into the repository"]
fn write_the_fixtures_of_this_version() {
    fs::create_dir_all(folder(VERSION)).expect("a folder");
    let roles = json!([
        {"name": "callstore1", "roletype": "callstore", "iface": "inner", "ext": {"a": [1]}, "group": 11010, "order": 1,
         "include_domains": [], "cdr_enabled": true, "sorm3_enabled": true, "mnesia_storage_mode": "disc"},
        {"name": "callstore2", "roletype": "callstore", "group": 11010, "order": 2},
        {"name": "callstore3", "roletype": "callstore", "iface": "inner", "enabled": false, "group": 11020, "order": 1,
         "include_domains": ["alfa.era.test"], "cdr_enabled": false, "mnesia_storage_mode": "ram"},
    ]);
    let chunks = log();
    let (mut store, calls) = said(&chunks);
    keep("log.chunks", &framed(&chunks));
    keep("calls.json", &pretty(&calls));
    keep("records.json", &pretty(&records(&mut store)));
    keep("roles.json", &pretty(&roles));
    keep("roles.checked.json", &pretty(&checked(&pretty(&roles))));
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("JSON");
    text.push(b'\n');
    text
}

fn keep(file: &str, bytes: &[u8]) {
    let path = folder(VERSION).join(file);
    if !path.exists() {
        fs::write(path, bytes).expect("a file");
    }
}

// --- a log with everything in it

fn event(call: usize, place: usize, kind: &str, more: Value) -> Vec<u8> {
    let ts = BASE + 1000 * place as i64;
    let mut data = json!({"eventts": ts, "cid": format!("c0000000-0000-4000-8000-{call:012}"), "invitets": BASE,
        "acallid": format!("a{call}@192.0.2.1"), "acallidhash": 77 + call,
        "eventid": format!("e0000000-0000-4000-8000-{call:06}{place:06}"), "fromdomain": "alfa.era.test"});
    if kind != "invite" && !kind.starts_with("route") {
        data["dialogid"] = format!("rB1-{call}").into();
    }
    for (key, value) in more.as_object().expect("an object") {
        data[key] = value.clone();
    }
    json!({"class": "callevents", "type": kind, "eventts": ts, "data": data})
        .to_string()
        .into_bytes()
}

fn log() -> Vec<Vec<u8>> {
    let mut player = Player::new(settings(), BASE);
    let odd = json!({"text": "длинный текст ☎", "object": {"b": [1, 2.5, null], "a": true}, "fraction": 1.25, "truth": false,
        "large": i64::MAX, "id": "0a0b0c0d-0000-4000-8000-00000000000f", "urifrom": "sip:100@alfa.era.test"});
    let live = json!({"remoteuri": "sip:200@beta.era.test", "dlgbinding": "label", "dlgbindingset": true, "side": "a"});
    // 1: one event of every kind that leaves a call alive, a field of every type, a type that is not known.
    let ends = [
        "route_fin",
        "call_cancel",
        "dlg_end",
        "dlg_dead",
        "dlg_stop",
        "call_stop",
        "call_rec_links",
        "records_moved",
    ];
    let kinds = KINDS
        .iter()
        .filter(|row| row.class == Class::CallEvents && !ends.contains(&row.name));
    for (place, row) in kinds.enumerate() {
        let more = if row.kind == Kind::Invite {
            &odd
        } else {
            &live
        };
        player.put_of(&event(1, place, row.name, more.clone()), Some(OWNER));
    }
    player.put(&event(1, 40, "quality", odd.clone()));
    // 2: an ordinary end, and the links of its recording after the record. 3 to 5: other ends.
    let bye = json!({"stopreason": "bye", "stopside": "b", "is_rec": true, "mgctxid": "ctx-2", "sipcode": 200});
    for (place, kind) in ["invite", "dlg_init", "dlg_start", "dlg_end", "dlg_stop"]
        .iter()
        .enumerate()
    {
        player.put(&event(2, place, kind, bye.clone()));
    }
    player.settle();
    for (place, kind) in [(5, "call_rec_links"), (6, "records_moved")] {
        player.put(&event(
            2,
            place,
            kind,
            json!({"link": "rec/2.wav", "size": 4096}),
        ));
    }
    player.put(&event(
        3,
        0,
        "route_fin",
        json!({"sipcode": 404, "reason": "not found"}),
    ));
    player.put(&event(4, 0, "call_cancel", json!({})));
    player.put(&event(4, 1, "call_stop", json!({})));
    player.put(&event(5, 0, "dlg_end", bye.clone()));
    player.settle();
    player.advance_to(player.now_ms + 6000);
    // 6: declared dead, its recording mixed. 7: restored under another owner.
    let talks = [
        ("invite", json!({})),
        ("dlg_start", json!({"mgctxid": "ctx-6"})),
        ("rec_info", json!({"isrec": true})),
    ];
    for call in [6, 7] {
        for (place, (kind, more)) in talks.iter().enumerate() {
            player.put_of(
                &event(call, place, kind, more.clone()),
                Some(&format!("name:b2b{call} n0")),
            );
        }
    }
    let restored = *uuid::Uuid::from_u128(0xc000_0000_0000_4000_8000_0000_0000_0007).as_bytes();
    for chunk in rescued(restored, "name:b2b8 n0", player.now_ms) {
        player.append(&chunk);
    }
    player.see(&Evidence::OwnerDown {
        owner: "name:b2b6 n0",
        reason: "killed",
    });
    player.advance_to(player.now_ms + 500_000);
    // 1 again: all that there is of it, as it is copied forward.
    let mut whole = EventSet::default();
    for chunk in &player.log {
        for group in Chunk::read(chunk).expect("a chunk").groups() {
            let group = group.expect("a group");
            if group.head.identity()
                == *uuid::Uuid::from_u128(0xc000_0000_0000_4000_8000_0000_0000_0001).as_bytes()
            {
                group.push_into(&mut whole, |_, _, _| {}).expect("events");
            }
        }
    }
    player.append(&chunk::write_complete([&whole]));
    player.log
}
