//! The watch of owners: nobody dies of pauses, flapping links, questions without an answer and silence on hold; a mix
//! is asked for until it is taken; questions about the dead have an end.

use callstore::watch::evidence::Stream;
use callstore::watch::{Answer, Evidence};
use serde_json::json;

use crate::player::{Player, settings};

const BASE: i64 = 1_795_341_600_000;
const LIFE: [&str; 6] = [
    "invite",
    "dlg_call",
    "fork_start",
    "dlg_start",
    "hold",
    "dlg_end",
];

fn dialog(call: usize) -> String {
    format!("rB1-{call}")
}

fn owner(call: usize) -> String {
    // A process on n0 or n1, a named process on n0, one outside of Erlang.
    match call % 4 {
        0 => "pid:g1h3AkBuMAAAAAoAAAAFAAAAAQ==".replace("AAAAAQ", &format!("AAAA{call:02}")),
        1 => format!("name:b2b{call} n1"),
        2 => format!("name:b2b{call} n0"),
        _ => format!("external:gw{call}"),
    }
}

fn event(call: usize, kind: &str, ts: i64) -> Vec<u8> {
    let mut data = json!({"eventts": ts, "cid": format!("c0000000-0000-4000-8000-{call:012}"),
        "invitets": BASE, "acallid": format!("call-{call}"), "eventid": uuid_of(call, kind)});
    if kind != "invite" {
        data["dialogid"] = dialog(call).into();
    }
    if kind == "dlg_start" {
        data["mgctxid"] = format!("ctx-{call}").into();
    }
    json!({"class": "callevents", "type": kind, "eventts": ts, "data": data})
        .to_string()
        .into_bytes()
}

fn uuid_of(call: usize, kind: &str) -> String {
    let place = LIFE.iter().position(|it| *it == kind).unwrap_or(9);
    format!("e0000000-0000-4000-8000-{call:08}{place:04}")
}

#[test]
fn nobody_dies_of_pauses_flapping_links_and_silence_on_hold() {
    const CALLS: usize = 100_000;
    let mut player = Player::new(settings(), BASE);
    let owners: Vec<String> = (0..CALLS).map(owner).collect();
    for (call, owner) in owners.iter().enumerate() {
        let kinds = if call % 3 == 0 {
            &LIFE[..5]
        } else {
            &LIFE[..4]
        };
        let events: Vec<Vec<u8>> = kinds.iter().map(|kind| event(call, kind, BASE)).collect();
        player.put_of(&events.join(&b'\n'), Some(owner));
    }
    for round in 0..3i64 {
        // Links flap, owners pause.
        for node in ["n0", "n1"] {
            player.see(&Evidence::NodeDown { node });
        }
        for owner in owners.iter().skip(round as usize).step_by(97) {
            let reason = "noconnection";
            player
                .store
                .evidence(&Evidence::OwnerDown { owner, reason }, player.now_ms);
        }
        player.advance_to(player.now_ms + 4_000);
        for node in ["n0", "n1"] {
            player.see(&Evidence::NodeUp { node });
        }
        for owner in owners.iter().skip(round as usize).step_by(97) {
            player
                .store
                .evidence(&Evidence::OwnerUp { owner }, player.now_ms);
        }
        // Inventories fail, RTP is silent on hold and flows elsewhere.
        for (call, owner) in owners.iter().enumerate() {
            let (held, dialog) = (call % 3 == 0, dialog(call));
            let stream = Stream::Dialog(&dialog);
            let (last_ms, active) = if held {
                (BASE, false)
            } else {
                (player.now_ms, true)
            };
            let rtp = Evidence::Rtp {
                stream,
                last_ms,
                active,
            };
            player.store.evidence(&rtp, player.now_ms);
            let dialogs = None;
            player
                .store
                .evidence(&Evidence::Inventory { owner, dialogs }, player.now_ms);
        }
        player.advance_to(player.now_ms + 7 * 60_000);
    }
    assert_eq!(player.store.live(), CALLS as u64);
    assert!(player.dead.is_empty());
}

#[test]
fn a_mix_that_fails_is_asked_for_again_with_growing_pauses_until_it_is_taken() {
    let mut player = Player::new(settings(), BASE);
    player.mixer_takes = false;
    player.store.take_over(BASE);
    let owner = owner(1);
    let recorded = String::from_utf8(event(1, "dlg_start", BASE)).expect("UTF-8");
    let recorded = recorded.replace("dlg_start", "rec_info").replace(
        "\"dialogid\"",
        "\"isrec\":true,\"domain\":\"a.test\",\"dialogid\"",
    );
    let recorded = recorded.replace("00010003", "00010008");
    for event in [
        event(1, "invite", BASE),
        event(1, "dlg_start", BASE),
        recorded.into_bytes(),
    ] {
        player.put_of(&event, Some(&owner));
    }
    player.see(&Evidence::OwnerDown {
        owner: &owner,
        reason: "killed",
    });
    let mut attempts = Vec::new();
    let mut rows = player.log.len();
    for second in 0..300 {
        player.advance_to(BASE + second * 1_000);
        let mixes = player.log[rows..]
            .iter()
            .filter(|chunk| says_mix(chunk))
            .count();
        rows = player.log.len();
        if mixes > 0 {
            attempts.push(second);
        }
    }
    // Dead after 5 s; RTP of which nobody speaks is waited for 60 s; then 10, 20, 40, 80 s apart.
    let pauses: Vec<i64> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((65..68).contains(&attempts[0]), "{attempts:?}");
    assert!(
        pauses
            .iter()
            .zip([10, 20, 40, 80])
            .all(|(is, wants)| (is - wants).abs() <= 1),
        "{pauses:?}"
    );
    // However long it refuses, the call is not forgotten before. A new active goes on where the last one was, and stops
    // when the mixer takes it.
    let days = BASE + 2 * settings().limits.recording_wait_ms;
    player.advance_to(days);
    player.store.take_over(player.now_ms);
    player.mixer_takes = true;
    player.advance_to(days + 3_600_000);
    assert_eq!(player.mixes.values().map(Vec::len).sum::<usize>(), 1);
    let record = player.records(*player.mixes.keys().next().expect("a job"));
    assert_eq!(
        record.len(),
        3,
        "dead, that the mix failed, that it was taken"
    );
}

fn says_mix(chunk: &[u8]) -> bool {
    use callstore::event::{EventSet, Kind, chunk::Chunk};
    let chunk = Chunk::read(chunk).expect("a sound chunk");
    let says = |kind: Kind| kind == Kind::Mix;
    chunk.groups().any(|group| {
        group
            .expect("a sound group")
            .adds(&EventSet::default(), says)
    })
}

fn talks(player: &mut Player, call: usize, owner: &str) {
    let events: Vec<Vec<u8>> = LIFE[..4]
        .iter()
        .map(|kind| event(call, kind, player.now_ms))
        .collect();
    player.put_of(&events.join(&b'\n'), Some(owner));
    player.settle();
}

#[test]
fn an_owner_is_named_when_it_comes_after_another_and_when_its_call_lives_again() {
    let mut player = Player::new(settings(), BASE);
    player.store.take_over(BASE);
    talks(&mut player, 2, "name:a n0");
    player.put_of(&event(2, "hold", BASE), Some("name:a n0"));
    player.settle();
    assert_eq!(player.named, ["name:a n0"]);
    for (place, owner) in ["name:b n0", "name:a n0", "name:a n0"]
        .into_iter()
        .enumerate()
    {
        let label = event(2, "dlg_binding", BASE + 1_000 + place as i64);
        let label = String::from_utf8(label).expect("UTF-8");
        let label = label.replace("00020009", &format!("0002010{place}"));
        player.put_of(label.as_bytes(), Some(owner));
        player.settle();
    }
    assert_eq!(player.named, ["name:a n0", "name:b n0", "name:a n0"]);
    let reason = "killed";
    player.advance_to(BASE + 10_000);
    player.see(&Evidence::OwnerDown {
        owner: "name:a n0",
        reason,
    });
    player.advance_to(BASE + 60_000);
    assert_eq!(player.store.live(), 0);
    let dialog = &dialog(2);
    player.see(&Evidence::Probe {
        dialog,
        answer: Answer::Alive,
    });
    assert_eq!(player.store.live(), 1);
    assert_eq!(player.named.len(), 4, "{:?}", player.named);
}

#[test]
fn who_was_declared_dead_with_its_node_is_asked_for_at_once_when_the_node_is_back() {
    let mut player = Player::new(settings(), BASE);
    player.store.take_over(BASE);
    for call in 0..20 {
        talks(&mut player, call, &format!("name:b2b{call} n0"));
    }
    player.advance_to(BASE + 10_000);
    player.see(&Evidence::NodeDown { node: "n0" });
    player.advance_to(BASE + 500_000);
    assert_eq!(player.store.live(), 0);
    // The link is back, and half of the dialogs with it.
    for call in (0..20).step_by(2) {
        player.probes.insert(dialog(call), Answer::Alive);
    }
    player.probed.clear();
    player.see(&Evidence::NodeUp { node: "n0" });
    assert_eq!((player.probed.len(), player.store.live()), (20, 10));
    player.probes.clear();
    player.advance_to(BASE + 500_000 + 29_000);
    assert_eq!(
        player.probed.len(),
        20,
        "the dead, no more than once so far"
    );
}

#[test]
fn who_was_declared_dead_is_asked_for_some_times_and_the_dead_of_a_mass_death_one_after_the_other()
{
    const CALLS: usize = 2_000;
    // Nothing holds the deaths themselves.
    let mut told = settings();
    told.limits.ends_per_s = 0;
    let mut player = Player::new(told, BASE);
    player.store.take_over(BASE);
    let limits = player.store.settings().limits.clone();
    for call in 0..CALLS {
        talks(&mut player, call, &format!("name:b2b{call} n0"));
    }
    player.advance_to(BASE + 10_000);
    player.see(&Evidence::NodeDown { node: "n0" });
    player.advance_to(BASE + 30_000);
    assert_eq!(player.store.live(), 0);
    player.probed.clear();
    let mut before = 0;
    for second in 0..700 {
        player.advance_to(BASE + 30_000 + second * 1_000);
        let asked = player.probed.len() - before;
        assert!(asked <= 2 * 200, "{asked} in a second");
        before = player.probed.len();
    }
    // After 30, 60, 120 and 240 s.
    let of = |call: usize| {
        let dialog = dialog(call);
        player
            .probed
            .iter()
            .filter(|probe| probe.dialog == dialog)
            .count()
    };
    assert!(
        (0..CALLS).all(|call| (1..=4).contains(&of(call))),
        "{}",
        of(0)
    );
    assert_eq!(of(0), 4);
    // Nobody waits for an answer, and they are forgotten in time.
    player.advance_to(BASE + limits.tombstone_ms + 60_000);
    assert_eq!(player.store.kept(), 0);
}
