//! The watch of owners under random evidence: a dialog dies at most once, never after its real end, always when its owner
//! stays gone; and nobody dies of pauses, flapping links, questions without an answer and silence on hold.

use callstore::store::Settings;
use callstore::watch::evidence::Stream;
use callstore::watch::{Answer, Evidence};
use proptest::prelude::*;
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
/// When the owner of a dialog stays gone and nobody answers, it is closed within this time: the longest that RTP may
/// keep it open, and some rounds of questions.
const LIMIT_MS: i64 = 300_000 + 60_000 + 4 * 30_000 + 10_000;

/// Nothing is forgotten, so that copies of different ages can be compared.
fn remembering() -> Settings {
    let mut settings = settings();
    settings.limits.tombstone_ms = i64::MAX / 2;
    settings
}

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

fn answer(detail: u8) -> Answer {
    [Answer::Alive, Answer::Gone, Answer::Unknown][usize::from(detail) % 3]
}

fn reason(detail: u8) -> &'static str {
    ["killed", "normal", "noconnection", "noproc"][usize::from(detail) % 4]
}

/// One step: which call, what happens, a detail, how long after the one before.
type Step = (u8, u8, u8, u16);

fn step(player: &mut Player, lives: &mut [usize; 4], &(call, what, detail, gap): &Step) {
    let call = usize::from(call) % lives.len();
    player.advance_to(player.now_ms + i64::from(gap));
    let (dialog, owner, now_ms) = (dialog(call), owner(call), player.now_ms);
    let node = if detail % 2 == 0 { "n0" } else { "n1" };
    match what % 16 {
        0..=4 => {
            // The end comes from some calls only.
            let place = lives[call].min(LIFE.len() - 1);
            if LIFE[place] != "dlg_end" || detail % 3 == 0 {
                let event = event(call, LIFE[place], now_ms);
                player.put_of(&event, Some(&owner));
                lives[call] = place + 1;
            }
        }
        5 => player.see(&Evidence::OwnerDown {
            owner: &owner,
            reason: reason(detail),
        }),
        6 => player.see(&Evidence::OwnerUp { owner: &owner }),
        7 => player.see(&Evidence::NodeDown { node }),
        8 => player.see(&Evidence::NodeUp { node }),
        9 | 10 => player.see(&Evidence::Probe {
            dialog: &dialog,
            answer: answer(detail),
        }),
        11 => player.see(&Evidence::Inventory {
            owner: &owner,
            dialogs: match detail % 3 {
                0 => None,
                1 => Some(vec![]),
                _ => Some(vec![&dialog]),
            },
        }),
        12 => player.see(&Evidence::Rtp {
            stream: Stream::Context(&format!("ctx-{call}")),
            last_ms: now_ms - i64::from(detail),
            active: detail % 2 == 0,
        }),
        13 => {
            player.probes.insert(dialog, answer(detail));
        }
        14 => {
            let (event, again) = (event(call, "dlg_dead", now_ms), detail % 4 == 0);
            if again && lives[call] > 1 {
                player.put_of(&event, Some(&owner));
            }
        }
        _ => player.store.take_over(now_ms),
    }
    player.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_dialog_dies_once_and_not_after_its_end_and_surely_when_its_owner_stays_gone(
        steps in prop::collection::vec(any::<Step>(), 1..60),
    ) {
        let mut player = Player::new(remembering(), BASE);
        let mut lives = [0; 4];
        for taken in &steps {
            step(&mut player, &mut lives, taken);
        }
        // All owners are gone now, and nobody answers any more.
        player.probes.clear();
        player.advance_to(player.now_ms + 1);
        for call in 0..lives.len() {
            let owner = owner(call);
            for _ in 0..2 {
                player.see(&Evidence::OwnerDown { owner: &owner, reason: "killed" });
            }
        }
        player.advance_to(player.now_ms + LIMIT_MS);
        player.check();
        prop_assert_eq!(player.store.live(), 0);
        for (cid, &count) in &player.declared {
            prop_assert!(count <= 1, "{} dlg_dead of {:?}", count, cid);
        }
        // The log alone makes the same state, whatever was seen.
        let mut other = Player::new(remembering(), player.now_ms);
        for chunk in player.log.clone() {
            other.append(&chunk);
        }
        other.store.settle().expect("sound sets");
        prop_assert_eq!(other.store.digest(), player.store.digest());
        prop_assert_eq!(other.store.totals().closed, player.store.totals().closed);
    }
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
    // A new active goes on where the last one was, and stops when the mixer takes it.
    player.store.take_over(player.now_ms);
    player.mixer_takes = true;
    player.advance_to(BASE + 3_600_000);
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
