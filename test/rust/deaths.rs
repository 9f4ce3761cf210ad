//! Under any order and repetition of evidence and events: a dialog has one `dlg_dead` of ours at most, none after its
//! real end, and is closed within the limit where its owner stays gone; its recording is mixed once an end, and the
//! log alone makes the same state.

use std::collections::BTreeSet;

use callstore::event::EventId;
use callstore::store::Settings;
use callstore::watch::evidence::Stream;
use callstore::watch::{Answer, Evidence};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::player::{Player, settings};

const BASE: i64 = 1_795_341_600_000;
const CALLS: usize = 6;
/// What a dialog says, in this order. Of some the end comes, of some not.
const LIFE: [&str; 11] = [
    "invite",
    "dlg_call",
    "fork_start",
    "dlg_start",
    "rec_info",
    "hold",
    "unhold",
    "hold",
    "dlg_end",
    "dlg_stop",
    "call_rec_links",
];
const END: usize = 8;
/// When the owner of a dialog stays gone and nobody answers, it is closed within this time: the longest that RTP may
/// keep it open, a report that is believed, some rounds of questions, a rescue that never comes.
const LIMIT_MS: i64 = 300_000 + 60_000 + 4 * 30_000 + 10_000;

/// Nothing is forgotten, so that copies of different ages can be compared.
fn remembering() -> Settings {
    let mut settings = settings();
    settings.limits.tombstone_ms = i64::MAX / 2;
    settings.limits.recording_wait_ms = i64::MAX / 2;
    settings.limits.rescue_ms = 5_000;
    settings
}

fn dialog(call: usize) -> String {
    format!("rB1-{call}")
}

fn cid(call: usize) -> EventId {
    let text = format!("c0000000-0000-4000-8000-{call:012}");
    *uuid::Uuid::parse_str(&text).expect("a uuid").as_bytes()
}

/// Processes of their own on n0, a named one on each node, two outside of Erlang: the latter serve several dialogs.
fn owner(call: usize, choice: usize) -> String {
    match choice % 5 {
        0 => "pid:g1h3AkBuMAAAAAoAAAAFAAAAAQ==".replace("AAAAAQ", &format!("AAAA{call:02}")),
        1 => "name:b2b n1".to_owned(),
        2 => "name:b2b n0".to_owned(),
        other => format!("external:gw{other}"),
    }
}

/// An event on its way: of which call, which of its life, as it stands, and who serves the call by it.
#[derive(Clone)]
struct Sent {
    call: usize,
    place: usize,
    event: Vec<u8>,
    owner: String,
}

struct World {
    player: Player,
    /// By call: how much of its life was said, and who serves it.
    lives: [usize; CALLS],
    serves: [usize; CALLS],
    sent: Vec<Sent>,
    /// What has not arrived yet.
    held: Vec<Sent>,
    arrived: BTreeSet<(usize, &'static str)>,
}

impl World {
    fn new() -> World {
        World {
            player: Player::new(remembering(), BASE),
            lives: [0; CALLS],
            serves: [0, 1, 2, 3, 2, 3],
            sent: Vec::new(),
            held: Vec::new(),
            arrived: BTreeSet::new(),
        }
    }

    fn owner(&self, call: usize) -> String {
        owner(call, self.serves[call])
    }

    fn say(&mut self, call: usize, place: usize, kind: &str) -> Sent {
        let ts = self.player.now_ms;
        let mut data = json!({"eventts": ts, "cid": format!("c0000000-0000-4000-8000-{call:012}"), "invitets": BASE,
            "acallid": format!("call-{call}"), "eventid": format!("e0000000-0000-4000-8000-{call:06}{place:06}")});
        if kind != "invite" {
            data["dialogid"] = dialog(call).into();
        }
        match kind {
            "dlg_start" => data["mgctxid"] = format!("ctx-{call}").into(),
            "rec_info" => {
                data["domain"] = "a.test".into();
                data["isrec"] = true.into();
            }
            _ => {}
        }
        let event = json!({"class": "callevents", "type": kind, "eventts": ts, "data": data});
        Sent {
            call,
            place,
            event: event.to_string().into_bytes(),
            owner: self.owner(call),
        }
    }

    fn arrive(&mut self, sent: &Sent) {
        self.player.put_of(&sent.event, Some(&sent.owner));
        let kind = LIFE.get(sent.place).copied().unwrap_or("dlg_dead");
        self.arrived.insert((sent.call, kind));
        self.player.settle();
    }

    /// The next event of a call's life: it arrives now, or later than others.
    fn go_on(&mut self, call: usize, detail: u8) {
        let place = self.lives[call];
        let Some(kind) = LIFE
            .get(place)
            .filter(|_| place < END || detail.is_multiple_of(3))
        else {
            return;
        };
        self.lives[call] = place + 1;
        let sent = self.say(call, place, kind);
        self.sent.push(sent.clone());
        match detail % 4 {
            1 => self.held.push(sent),
            _ => self.arrive(&sent),
        }
    }

    fn see(&mut self, evidence: &Evidence<'_>, times: u8) {
        for _ in 0..=times % 3 {
            self.player.see(evidence);
        }
    }

    fn step(&mut self, &(call, what, detail, gap): &Step) {
        let (call, choice) = (usize::from(call) % CALLS, usize::from(detail));
        self.player.advance_to(self.player.now_ms + i64::from(gap));
        let (dialog, owner, now_ms) = (dialog(call), self.owner(call), self.player.now_ms);
        let node = ["n0", "n1"][choice % 2];
        match what % 22 {
            0..=4 => self.go_on(call, detail),
            5 if !self.held.is_empty() => {
                let sent = self.held.swap_remove(choice % self.held.len());
                self.arrive(&sent);
            }
            // What was said is said again.
            6 if !self.sent.is_empty() => {
                let sent = self.sent[choice % self.sent.len()].clone();
                if !self
                    .held
                    .iter()
                    .any(|held| (held.call, held.place) == (sent.call, sent.place))
                {
                    self.arrive(&sent);
                }
            }
            7 => self.serves[call] = choice,
            8 => {
                let reason = ["killed", "normal", "noconnection", "noproc"][choice % 4];
                let owner = &owner;
                self.see(&Evidence::OwnerDown { owner, reason }, detail / 4);
            }
            9 => self.see(&Evidence::OwnerUp { owner: &owner }, detail),
            10 => self.see(&Evidence::NodeDown { node }, detail),
            11 => self.see(&Evidence::NodeUp { node }, detail),
            12 | 13 => {
                let answer = [Answer::Alive, Answer::Gone, Answer::Unknown][choice % 3];
                let dialog = &dialog;
                self.see(&Evidence::Probe { dialog, answer }, detail / 3);
            }
            14 => {
                let dialogs = [None, Some(vec![]), Some(vec![&*dialog])][choice % 3].clone();
                let owner = &owner;
                self.see(&Evidence::Inventory { owner, dialogs }, detail / 3);
            }
            15 | 16 => {
                let stream = &format!("ctx-{call}");
                let rtp = Evidence::Rtp {
                    stream: Stream::Context(stream),
                    last_ms: now_ms - i64::from(detail),
                    active: detail & 1 == 0,
                };
                self.see(&rtp, detail / 2);
            }
            // The platform says so itself.
            17 if self.lives[call] > 1 && detail % 4 == 0 => {
                let sent = self.say(call, 900_000, "dlg_dead");
                self.arrive(&sent);
            }
            // What others answer when they are asked.
            18 => {
                let answer = [Answer::Alive, Answer::Gone, Answer::Unknown][choice % 3];
                self.player.probes.insert(dialog, answer);
            }
            19 => {
                let by = super::deaths::owner(call, choice);
                match detail % 2 {
                    0 => self.player.rescues.insert(dialog, by),
                    _ => self.player.rescues.remove(&dialog),
                };
            }
            20 => self.player.mixer_takes = detail % 2 == 0,
            21 => self.player.store.take_over(now_ms),
            _ => {}
        }
        self.player.settle();
        self.player.check();
    }

    /// All owners are gone from now on: monitors say so, those outside of Erlang say that they serve nobody.
    fn end(&mut self) {
        self.player.rescues.clear();
        self.player.probes.clear();
        while let Some(sent) = self.held.pop() {
            self.arrive(&sent);
        }
        self.player.advance_to(self.player.now_ms + 1);
        let page = self.player.store.owners(0, 1_000);
        assert_eq!(page.next, None);
        for (owner, _) in page.owners {
            let reason = "killed";
            if !owner.starts_with("external:") {
                self.see(
                    &Evidence::OwnerDown {
                        owner: &owner,
                        reason,
                    },
                    1,
                );
            }
        }
        // A call that has no dialog yet is called by its cid; its owner is asked of it in doubt only: it says so.
        let names = |call| [dialog(call), uuid::Uuid::from_bytes(cid(call)).to_string()];
        for name in (0..CALLS).flat_map(names) {
            self.player.probes.insert(name, Answer::Gone);
        }
        for _ in 0..2 {
            for [_, cid] in (0..CALLS).map(names) {
                let answer = Answer::Gone;
                self.player.see(&Evidence::Probe {
                    dialog: &cid,
                    answer,
                });
            }
            self.player.advance_to(self.player.now_ms + 5_000);
        }
        self.player.advance_to(self.player.now_ms + LIMIT_MS);
    }

    fn record(&self, call: usize) -> Option<Value> {
        let records = self.player.records(cid(call));
        let newest = records.first()?;
        Some(serde_json::from_slice(&newest.record).expect("JSON"))
    }

    fn has(&self, call: usize, kind: &'static str) -> bool {
        self.arrived.contains(&(call, kind))
    }

    /// How each call ended, and that its recording was mixed where nobody else asks for that.
    fn check_ends(&mut self) {
        self.player.mixer_takes = true;
        let wait_ms = self.player.store.settings().limits.mix_wait_ms;
        self.player.advance_to(self.player.now_ms + 2 * wait_ms);
        for call in 0..CALLS {
            let Some(record) = self.record(call) else {
                assert_eq!(self.arrived.iter().filter(|(of, _)| *of == call).count(), 0);
                continue;
            };
            let is_ended = self.has(call, "dlg_end") || self.has(call, "dlg_stop");
            if is_ended {
                assert_eq!(record["end"]["origin"], "signalled", "{record}");
            }
            let jobs = self.player.mixes.get(&cid(call)).map_or(0, Vec::len);
            let reopened = record["reopened"].as_array().map_or(0, Vec::len);
            let is_left = self.has(call, "rec_info")
                && !self.has(call, "dlg_stop")
                && !self.has(call, "call_rec_links");
            let wanted = usize::from(is_left)..=1 + reopened;
            assert!(wanted.contains(&jobs), "{jobs} jobs, {wanted:?}: {record}");
        }
    }
}

/// One step: which call, what happens, a detail, how long after the one before.
type Step = (u8, u8, u8, u16);

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_dialog_dies_once_and_not_after_its_end_and_surely_when_its_owner_stays_gone(
        steps in prop::collection::vec(any::<Step>(), 1..90),
    ) {
        let mut world = World::new();
        for taken in &steps {
            world.step(taken);
        }
        world.end();
        prop_assert_eq!(world.player.store.live(), 0);
        world.check_ends();
        let player = &mut world.player;
        player.check();
        for (cid, &count) in &player.declared {
            prop_assert!(count <= 1, "{} dlg_dead of {:?} said", count, cid);
        }
        for (cid, &count) in &player.dead {
            prop_assert!(count <= 1, "{} dlg_dead of {:?} told", count, cid);
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
