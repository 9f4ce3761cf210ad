//! What is left of a call in a log that was trimmed: rows are deleted oldest first, and a node that starts then folds the
//! rest. Whatever is missing at the front, what is left of a call that is over is over, issues nothing and is forgotten.

use callstore::watch::Evidence;
use serde_json::json;

use crate::player::{Player, settings};

const BASE: i64 = 1_795_341_600_000;
const OWNER: &str = "name:b2b n0";
const HOUR_MS: i64 = 3_600_000;

/// Events of one call, a row each; `rec_info` asks for a recording.
fn event(place: usize, kind: &str, ts: i64) -> Vec<u8> {
    let mut data = json!({"eventts": ts, "cid": "c0000000-0000-4000-8000-000000000001", "invitets": BASE,
        "acallid": "call-1", "eventid": format!("e0000000-0000-4000-8000-{place:012}")});
    if kind != "invite" {
        data["dialogid"] = "rB1-1".into();
    }
    if kind == "dlg_start" {
        data["mgctxid"] = "ctx-1".into();
    }
    if kind == "rec_info" {
        data["isrec"] = true.into();
        data["domain"] = "alfa.era.test".into();
    }
    json!({"class": "callevents", "type": kind, "eventts": ts, "data": data})
        .to_string()
        .into_bytes()
}

fn put(player: &mut Player, kinds: &[&str]) {
    for kind in kinds {
        player.now_ms += 1000;
        // Where an event stands in a life says its time, wherever it comes.
        const LIFE: [&str; 6] = [
            "invite",
            "dlg_init",
            "dlg_start",
            "rec_info",
            "dlg_end",
            "dlg_stop",
        ];
        let place = LIFE.iter().position(|it| it == kind).expect("a kind");
        let event = event(place, kind, BASE + place as i64 * 1000);
        player.put_of(&event, Some(OWNER));
    }
}

/// Plays a life to its end and then every rest of its log into a fresh store.
fn every_rest_is_over(play: impl Fn(&mut Player)) {
    let mut whole = Player::new(settings(), BASE);
    play(&mut whole);
    assert_eq!(whole.store.live(), 0, "the life has ended");
    assert!(whole.records_of_first() > 0, "it has its record");
    for first in 1..whole.log.len() {
        let mut rest = Player::new(settings(), whole.now_ms);
        for chunk in &whole.log[first..] {
            rest.append(chunk);
        }
        rest.settle();
        assert_eq!(rest.store.live(), 0, "alive without the first {first} rows");
        assert_eq!(
            rest.log.len(),
            whole.log.len() - first,
            "said something without the first {first} rows"
        );
        assert_eq!(
            rest.records_of_first(),
            0,
            "a record without the first {first} rows"
        );
        rest.advance_to(whole.now_ms + 25 * HOUR_MS);
        assert_eq!(rest.store.kept(), 0, "kept without the first {first} rows");
        rest.check();
    }
}

impl Player {
    fn records_of_first(&self) -> usize {
        self.delivered
            .first()
            .map_or(0, |sink| sink.values().map(Vec::len).sum())
    }
}

#[test]
fn what_is_left_of_a_call_that_ended_in_order() {
    every_rest_is_over(|player| {
        put(
            player,
            &["invite", "dlg_init", "dlg_start", "dlg_end", "dlg_stop"],
        );
        player.settle();
    });
}

#[test]
fn what_is_left_of_a_call_whose_events_came_in_reverse() {
    every_rest_is_over(|player| {
        put(
            player,
            &["dlg_stop", "dlg_end", "dlg_start", "dlg_init", "invite"],
        );
        player.settle();
    });
}

#[test]
fn what_is_left_of_a_call_that_learnt_more_after_its_record() {
    every_rest_is_over(|player| {
        put(player, &["dlg_init", "dlg_end", "dlg_stop"]);
        player.settle();
        put(player, &["dlg_start", "invite"]);
        player.settle();
    });
}

#[test]
fn what_is_left_of_a_dead_call_whose_recording_was_mixed() {
    every_rest_is_over(|player| {
        put(player, &["invite", "dlg_init", "dlg_start", "rec_info"]);
        player.see(&Evidence::OwnerDown {
            owner: OWNER,
            reason: "killed",
        });
        player.advance_to(player.now_ms + HOUR_MS);
        assert!(!player.mixes.is_empty(), "it was mixed");
    });
}
