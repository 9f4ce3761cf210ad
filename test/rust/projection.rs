//! The projection is a history without revisions: a conversation is in it once, and again only when a row says another
//! thing.

use callstore::store::{Settings, accepted};
use serde_json::{Value, json};

use crate::player::{EPOCH, NODE, Player, settings};

const BASE: i64 = 1_795_341_600_000;
const CID: &str = "c0000000-0000-4000-8000-000000000001";

fn projecting() -> Settings {
    Settings {
        sorm3_enabled: true,
        ..settings()
    }
}

fn event(kind: &str, at: i64, more: Value) -> Vec<u8> {
    let mut data =
        json!({"cid": CID, "acallid": "a1@10.0.0.1", "invitets": BASE, "dialogid": "rB1-1"});
    let fields = data.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    json!({"class": "callevents", "type": kind, "eventts": BASE + at, "data": data})
        .to_string()
        .into_bytes()
}

fn conversation() -> Vec<u8> {
    let ended = json!({"stopreason": "bye", "stopside": "a", "is_rec": true});
    [
        event(
            "invite",
            0,
            json!({"fromusername": "100", "fromdomain": "alfa.era.test"}),
        ),
        event("dlg_start", 2_000, json!({"bcallid": "b1"})),
        event("dlg_end", 12_000, ended.clone()),
        event("dlg_stop", 15_000, ended),
    ]
    .join(&b'\n')
}

fn links() -> Vec<u8> {
    event(
        "call_rec_links",
        60_000,
        json!({"link": "rec/1.mp3", "size": 5}),
    )
}

/// What each revision brought to the projection: the duration in its row.
fn rows(player: &Player) -> Vec<Option<i64>> {
    let revisions = player.delivered[0].values().flatten();
    let rows = revisions.map(|it| it.projection.as_deref());
    rows.map(|row| row.map(duration)).collect()
}

fn duration(row: &[u8]) -> i64 {
    let row: Value = serde_json::from_slice(row).expect("JSON");
    row["duration"].as_i64().expect("a duration")
}

fn played(batches: &[Vec<u8>]) -> Player {
    let mut player = Player::new(projecting(), BASE + 100_000);
    for batch in batches {
        assert_eq!(player.put(batch).rejected, []);
        player.settle();
    }
    player.check();
    player
}

#[test]
fn a_revision_that_changes_nothing_of_the_row_brings_no_row() {
    let moved = event("records_moved", 70_000, json!({"alink": "store/1"}));
    let player = played(&[conversation(), links(), moved]);
    assert_eq!(rows(&player), [Some(10), None, None]);
}

#[test]
fn a_revision_that_says_another_thing_brings_its_row() {
    let earlier = event("fork_answer", 1_000, json!({"forkcallid": "b1"}));
    let later = event("dlg_start", 1_500, json!({"bcallid": "b1"}));
    let player = played(&[conversation(), links(), [earlier, later].join(&b'\n')]);
    let rows = rows(&player);
    assert_eq!(rows[..2], [Some(10), None]);
    assert_ne!(rows[2], Some(10));
}

#[test]
fn a_row_that_is_still_on_its_way_does_not_come_again() {
    let mut player = Player::new(projecting(), BASE + 100_000);
    player.put(&conversation());
    issue(&mut player);
    player.put(&links());
    issue(&mut player);
    let pending = player.store.pending("file", 10);
    let rows = pending
        .iter()
        .map(|it| it.projection.as_deref().map(duration));
    assert_eq!(rows.collect::<Vec<_>>(), [Some(10), None]);
}

#[test]
fn each_sink_gets_the_row_once_also_after_a_restart() {
    let mut player = Player::new(projecting(), BASE + 100_000);
    player.put(&conversation());
    issue(&mut player);
    let taken = player.store.pending("file", 10).remove(0);
    for chunk in accepted("file", &[(taken.cid, taken.revision)], player.now_ms) {
        player.append(&chunk);
    }
    player.put(&links());
    issue(&mut player);
    let mut again = Player::new(projecting(), player.now_ms);
    for chunk in &player.log {
        again.append(chunk);
    }
    for store in [&mut player.store, &mut again.store] {
        let of = |sink: &str, store: &mut callstore::store::Store| {
            let pending = store.pending(sink, 10);
            let rows = pending
                .iter()
                .map(|it| (it.revision, it.projection.is_some()));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(of("file", store), [(2, false)]);
        assert_eq!(of("collection", store), [(1, true), (2, false)]);
    }
}

/// Issues what is due, and delivers nothing.
fn issue(player: &mut Player) {
    for chunk in player.store.issue(player.now_ms, EPOCH, NODE, 10) {
        player.append(&chunk);
    }
}
