//! The table of verdicts, row by row.

use super::evidence::Answer;
use super::seen::{Loss, Lost, Seen};
use super::verdict::{TABLE, words};
use super::{Case, Judgement, Limits, Server, Verdict, weigh};
use crate::call::{Life, Marks};

const MINUTE: i64 = 60_000;

/// A call in conversation since 0, and what is seen of it.
struct Scene {
    life: Life,
    seen: Seen,
    server: Server,
    noted_ms: i64,
    media_awaited_ms: i64,
    limits: Limits,
}

fn scene(server: Server) -> Scene {
    let life = Life {
        marks: Marks::INVITE.with(Marks::DIALOG).with(Marks::ANSWERED),
        first_ts: 1,
        last_ts: 1_000,
        answer_ts: 1_000,
        ..Life::default()
    };
    Scene {
        life,
        seen: Seen::default(),
        server,
        noted_ms: 0,
        media_awaited_ms: 0,
        limits: Limits::default(),
    }
}

impl Scene {
    fn at(&self, now_ms: i64) -> Judgement {
        weigh(&Case {
            life: &self.life,
            seen: &self.seen,
            noted_ms: self.noted_ms,
            server: self.server,
            media_awaited_ms: self.media_awaited_ms,
            now_ms,
            limits: &self.limits,
        })
    }

    fn says(&self, now_ms: i64) -> (Verdict, &'static str) {
        let judged = self.at(now_ms);
        (judged.verdict, judged.reason)
    }

    fn lose(mut self, reason: &str, at_ms: i64) -> Scene {
        self.seen.lose(Lost {
            how: Loss::of_reason(reason),
            owner: "o".into(),
            reason: reason.into(),
            by_node: false,
            at_ms,
            heard_ts: self.life.last_ts,
        });
        self
    }

    fn answer(mut self, answers: &[(Answer, i64)]) -> Scene {
        for &(answer, at_ms) in answers {
            self.seen.answer(answer, at_ms, &self.limits);
        }
        self
    }

    fn hear(mut self, last_ms: i64, active: bool, at_ms: i64) -> Scene {
        self.seen.hear(last_ms, active, at_ms);
        self
    }

    fn held(mut self) -> Scene {
        self.life.marks = self.life.marks.with(Marks::HELD_BY_A);
        self
    }
}

use Answer::{Alive as Lives, Gone, Unknown};
use Verdict::{Alive, Dead, Suspect};

#[test]
fn a_call_against_which_nothing_is_held_lives() {
    assert_eq!(
        scene(Server::Unknown).says(MINUTE),
        (Alive, "nothing_held_against")
    );
}

#[test]
fn an_owner_that_died_is_given_time_for_the_end_event_first() {
    let scene = scene(Server::Process).lose("killed", 10_000);
    assert_eq!(scene.says(14_999), (Suspect, "end_awaited"));
    assert_eq!(scene.at(14_999).again_ms, 15_000);
    assert_eq!(scene.says(15_000), (Dead, "owner_down"));
    assert_eq!(scene.at(15_000).kinds, 1);
}

#[test]
fn an_owner_that_ended_in_order_or_unseen_is_given_more() {
    for reason in ["normal", "shutdown", "noproc"] {
        let scene = scene(Server::Process).lose(reason, 10_000);
        assert_eq!(scene.says(69_999).0, Suspect);
        assert_eq!(scene.says(70_000), (Dead, "owner_down"));
    }
}

#[test]
fn who_does_not_know_a_dialog_decides_nothing_while_its_end_may_still_come() {
    for reason in ["normal", "noproc", "killed"] {
        let mut scene = scene(Server::Process).lose(reason, 10_000);
        let grace_ms = match reason {
            "killed" => scene.limits.end_grace_ms,
            _ => scene.limits.end_grace_orderly_ms,
        };
        let again_ms = 10_001 + scene.limits.repeat_ms;
        scene = scene.answer(&[(Gone, 10_001), (Gone, again_ms)]);
        for at_ms in [10_001, again_ms] {
            scene.seen.miss(at_ms, &scene.limits);
        }
        let before = scene.says(10_000 + grace_ms - 1);
        assert_eq!(before, (Suspect, "end_awaited"), "{reason}");
        let (verdict, kinds) = (
            scene.says(10_000 + grace_ms),
            scene.at(10_000 + grace_ms).kinds,
        );
        assert_eq!((verdict, kinds), ((Dead, "owner_down"), 3), "{reason}");
    }
}

#[test]
fn an_inventory_of_nobody_counts_where_something_else_says_the_same() {
    let mut scene = scene(Server::External);
    for at_ms in [10_000, 20_000, 30_000] {
        scene.seen.miss_all(at_ms, &scene.limits);
    }
    assert_eq!(scene.says(30_000), (Alive, "nothing_held_against"));
    let gone = scene.answer(&[(Gone, 31_000)]);
    assert_eq!(gone.says(31_000), (Dead, "not_in_inventory"));
    assert_eq!(gone.at(31_000).kinds, 2);
    let lives = gone.answer(&[(Lives, 32_000), (Gone, 62_000)]);
    assert_eq!(lives.says(62_000), (Suspect, "probe_doubt"));
}

#[test]
fn every_reason_has_words_and_every_death_but_of_age_has_lost_its_server() {
    for row in TABLE {
        assert!(words(row.reason).is_some_and(|words| words.contains(' ')));
        let lost = row.verdict == Dead && row.reason != "age";
        assert_eq!(row.server_lost, lost, "{}", row.reason);
    }
    assert_eq!(words("no such reason"), None);
}

#[test]
fn what_was_held_against_a_call_under_one_owner_is_not_held_against_the_next() {
    let mut scene = scene(Server::External).answer(&[(Gone, 30_000), (Gone, 60_000)]);
    scene.seen.settle_owner(Some("one"));
    assert_eq!(scene.says(60_000), (Dead, "probe_gone"));
    scene.seen.settle_owner(Some("one"));
    assert_eq!(scene.says(60_000), (Dead, "probe_gone"));
    scene.seen.settle_owner(Some("two"));
    assert_eq!(scene.says(60_000).0, Alive);
}

#[test]
fn what_was_said_in_order_is_no_death() {
    let mut scene = scene(Server::Process).lose("normal", 10_000);
    scene.life.marks = scene.life.marks.with(Marks::END);
    assert_eq!(scene.says(MINUTE), (Alive, "ended"));
}

#[test]
fn rtp_keeps_an_orphan_open_for_a_limited_time() {
    let scene = scene(Server::Process).lose("killed", 10_000);
    let mut scene = scene.hear(40_000, true, 40_000);
    assert_eq!(scene.says(50_000), (Suspect, "media_flows"));
    scene = scene.hear(45_000, false, 51_000);
    assert_eq!(scene.says(51_000), (Dead, "owner_down"));
    assert_eq!(scene.at(51_000).kinds, 2);
    scene = scene.hear(309_000, true, 309_000);
    assert_eq!(scene.says(309_999).0, Suspect);
    assert_eq!(scene.says(310_000), (Dead, "owner_down"));
    assert_eq!(scene.seen.last_proof(&scene.life, scene.server), 309_000);
}

#[test]
fn a_node_out_of_reach_is_no_death_within_the_grace_nor_while_rtp_flows() {
    let scene = scene(Server::Shared).lose("noconnection", 10_000);
    assert_eq!(scene.says(14_999), (Suspect, "owner_lost"));
    assert_eq!(
        (scene.says(15_000), scene.at(15_000).kinds),
        ((Dead, "unreachable"), 1)
    );
    let second = scene.answer(&[(Gone, 14_000)]);
    assert_eq!(
        (second.says(15_000), second.at(15_000).kinds),
        ((Dead, "unreachable"), 2)
    );
    let flows = second.hear(599_000, true, 599_000);
    assert_eq!(flows.says(600_000), (Suspect, "media_flows"));
}

#[test]
fn gone_once_is_suspect_and_twice_is_dead() {
    let once = scene(Server::External).answer(&[(Gone, 30_000), (Gone, 30_001)]);
    assert_eq!(once.says(31_000), (Suspect, "probe_doubt"));
    let twice = once.answer(&[(Gone, 60_000)]);
    assert_eq!(twice.says(60_000), (Dead, "probe_gone"));
    let lives = twice.answer(&[(Lives, 61_000)]);
    assert_eq!(lives.says(61_000), (Alive, "nothing_held_against"));
}

#[test]
fn what_a_call_does_refutes_who_did_not_know_it() {
    let mut scene = scene(Server::External).answer(&[(Gone, 30_000), (Gone, 60_000)]);
    scene.life.last_ts = 63_000;
    assert_eq!(scene.says(64_000).0, Alive);
    let mut scene = self::scene(Server::Process).lose("noconnection", 10_000);
    scene.life.last_ts = 13_000;
    assert_eq!(scene.says(20_000).0, Alive);
}

#[test]
fn no_answer_is_unknown_and_never_dead_by_itself() {
    let asked: Vec<_> = (1..=100).map(|n| (Unknown, n * 30_000)).collect();
    let scene = scene(Server::External).answer(&asked);
    assert_eq!(scene.says(50 * MINUTE), (Suspect, "probe_doubt"));
}

#[test]
fn silence_of_rtp_and_owner_together_is_dead_unless_a_monitor_stands() {
    let silent = |server| {
        let asked = [(Unknown, 30_000), (Unknown, 60_000), (Unknown, 90_000)];
        scene(server).answer(&asked).hear(2_000, false, 90_000)
    };
    assert_eq!(silent(Server::External).says(301_999).0, Suspect);
    assert_eq!(silent(Server::External).says(302_000), (Dead, "silent"));
    assert_eq!(silent(Server::Process).says(100 * MINUTE).0, Suspect);
    // On hold limits are ten times as long.
    assert_eq!(silent(Server::External).held().says(3_001_999).0, Suspect);
    assert_eq!(
        silent(Server::External).held().says(3_002_000),
        (Dead, "silent")
    );
}

#[test]
fn rtp_alone_is_suspicion() {
    let scene = scene(Server::Unknown).hear(2_000, false, 3_000);
    assert_eq!(scene.says(61_999).0, Alive);
    assert_eq!(scene.says(62_000), (Suspect, "rtp_silent"));
    assert_eq!(scene.says(1_000 * MINUTE).0, Suspect);
}

#[test]
fn absent_twice_in_a_row_is_dead() {
    let mut scene = scene(Server::External);
    scene.seen.miss(10_000, &scene.limits);
    assert_eq!(scene.says(10_000), (Suspect, "probe_doubt"));
    scene.seen.miss(20_000, &scene.limits);
    assert_eq!(scene.says(20_000), (Dead, "not_in_inventory"));
}

#[test]
fn after_a_take_over_reports_about_rtp_are_awaited() {
    let mut scene = scene(Server::Process).lose("killed", 10_000);
    scene.media_awaited_ms = MINUTE;
    assert_eq!(scene.says(20_000), (Suspect, "media_awaited"));
    assert_eq!(scene.at(20_000).again_ms, MINUTE);
    assert_eq!(scene.says(MINUTE), (Dead, "owner_down"));
    // Of a call that was not answered there is no RTP to hear of.
    scene.life.marks = Marks::DIALOG.with(Marks::RINGING);
    assert_eq!(scene.says(20_000), (Dead, "owner_down"));
}

#[test]
fn who_rings_for_long_is_asked_and_who_is_old_is_closed_without_an_answer() {
    let mut scene = scene(Server::Unknown);
    scene.life.marks = Marks::DIALOG.with(Marks::RINGING);
    assert_eq!(scene.says(300_999).0, Alive);
    assert_eq!(scene.says(301_000), (Suspect, "no_progress"));
    let day = scene.limits.age_ms;
    assert_eq!(scene.says(1_000 + day + 89_999).0, Suspect);
    assert_eq!(scene.says(1_000 + day + 90_000), (Dead, "age"));
    // It was heard of long after its time.
    scene.noted_ms = 5 * day;
    assert_eq!(scene.says(6 * day).0, Suspect);
    scene.noted_ms = 0;
    scene.server = Server::Process;
    assert_eq!(scene.says(10 * day), (Suspect, "no_progress"));
}
