//! What is kept of the evidence per call, and what was done about it.
//!
//! Times are those at which the active instance was told. Always holds: the same thing told again changes nothing, a
//! proof of life takes back what was held against a dialog before it, a lack of answers is counted by itself, and
//! what was held against a call under one owner is not held against the next. Kept only for calls of which there is
//! any. Used by the weighing and by the store. Must never: weigh.

use std::hash::BuildHasher;

use super::evidence::Answer;
use super::{Limits, Server};
use crate::call::Life;

/// How an owner was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Its node is down, or it cannot be reached.
    Unreachable,
    /// It was gone before anybody looked.
    Missing,
    /// It ended in order.
    Ended,
    /// It died.
    Died,
}

impl Loss {
    /// What the reason of a monitor means.
    pub fn of_reason(reason: &str) -> Loss {
        match reason {
            "noconnection" => Loss::Unreachable,
            "noproc" => Loss::Missing,
            "normal" | "shutdown" => Loss::Ended,
            other if other.starts_with("{shutdown,") => Loss::Ended,
            _ => Loss::Died,
        }
    }
}

/// The loss of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// How.
    pub how: Loss,
    /// Which owner.
    pub owner: Box<str>,
    /// The reason of the monitor, or the name of the node that is down.
    pub reason: Box<str>,
    /// Whether the node is down, not only the owner out of reach.
    pub by_node: bool,
    /// When it was first noticed.
    pub at_ms: i64,
    /// The last event of the call that was known then.
    pub heard_ts: i64,
}

/// How often in a row something was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InARow {
    /// How often.
    pub times: i64,
    /// When first.
    pub first_ms: i64,
    /// When last counted.
    pub last_ms: i64,
}

impl InARow {
    /// Told once more; within `repeat_ms` it is the same.
    fn count(&mut self, now_ms: i64, repeat_ms: i64) {
        if self.times > 0 && now_ms < self.last_ms + repeat_ms {
            return;
        }
        if self.times == 0 {
            self.first_ms = now_ms;
        }
        self.times += 1;
        self.last_ms = now_ms;
    }
}

/// The last that was said of a call's RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// The last packet.
    pub last_ms: i64,
    /// When that was told.
    pub told_ms: i64,
    /// Whether it flows.
    pub active: bool,
}

impl Media {
    /// Whether it flows as far as anybody knows: what was told long ago is not known.
    pub fn flows(&self, now_ms: i64, limits: &Limits) -> bool {
        self.active && now_ms < self.told_ms + limits.rtp_suspect_ms
    }
}

/// What was seen of one call, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The loss of its owner.
    pub lost: Option<Lost>,
    /// Answers in a row that the dialog is gone.
    pub gone: InARow,
    /// Questions in a row without an answer.
    pub unanswered: InARow,
    /// Inventories in a row without the dialog.
    pub absent: InARow,
    /// Inventories in a row by which its owner serves nobody, although it is known to serve several.
    pub empty: InARow,
    /// Whom all this is about: a hash of the owner, 0 while nobody looked.
    owner_hash: u64,
    /// When it was last proven to live by an answer or an inventory; 0 if never.
    pub alive_ms: i64,
    /// Its RTP.
    pub media: Option<Media>,
    /// When its owner was last asked; 0 if never.
    pub asked_ms: i64,
    /// When it may be declared dead: the appointment that the brakes gave; 0 for none.
    pub appointment_ms: i64,
    /// When the node that it was lost with was there again; 0 if never.
    pub node_back_ms: i64,
    /// When a rescue was asked for; 0 if never.
    pub rescue_ms: i64,
    /// When the mixer was last given its recording; 0 if never.
    pub mix_ms: i64,
    /// When the call is to be looked at next.
    pub next_ms: i64,
}

impl Seen {
    /// Its owner was lost. The graver loss counts; the same told again is the same, unless it was disproven meanwhile.
    pub fn lose(&mut self, lost: Lost) {
        let known = self.lost.as_ref().filter(|known| {
            known.owner == lost.owner
                && (self.alive_ms <= known.at_ms || lost.at_ms <= self.alive_ms)
        });
        if known.is_none_or(|known| known.how < lost.how) {
            self.lost = Some(lost);
        }
    }

    /// The owner is there, so it was not lost.
    pub fn find_owner(&mut self) {
        self.lost = None;
    }

    /// Its node is there: what was held against its owner for that is taken back.
    pub fn find_node(&mut self, node: &str, now_ms: i64) {
        let by_node = |lost: &Lost| {
            lost.how == Loss::Unreachable
                && (lost.by_node && *lost.reason == *node
                    || super::owner::node_of(&lost.owner).as_deref() == Some(node))
        };
        if self.lost.as_ref().is_some_and(by_node) {
            self.lost = None;
            self.node_back_ms = now_ms;
        }
    }

    /// A loss counts as long as the owner that was lost serves the call, and so do the answers of an owner.
    pub fn settle_owner(&mut self, owner: Option<&str>) {
        let of_other = |lost: &Lost| Some(&*lost.owner) != owner;
        if self.lost.as_ref().is_some_and(of_other) {
            self.lost = None;
        }
        let hash = foldhash::fast::FixedState::default().hash_one(owner) | 1;
        if self.owner_hash != 0 && self.owner_hash != hash {
            (self.gone, self.unanswered) = Default::default();
            (self.absent, self.empty) = Default::default();
            (self.asked_ms, self.appointment_ms, self.rescue_ms) = (0, 0, 0);
        }
        self.owner_hash = hash;
    }

    /// Whether anything was seen or done; when the next look is, says nothing.
    pub fn is_empty(&self) -> bool {
        let nothing = Seen {
            next_ms: self.next_ms,
            owner_hash: self.owner_hash,
            ..Seen::default()
        };
        *self == nothing
    }

    /// The answer of a probe, or a report that the dialog lives or is gone.
    pub fn answer(&mut self, answer: Answer, now_ms: i64, limits: &Limits) {
        match answer {
            Answer::Alive => self.prove(now_ms),
            Answer::Gone => {
                self.gone.count(now_ms, limits.repeat_ms);
                self.unanswered = InARow::default();
            }
            Answer::Unknown => self.unanswered.count(now_ms, limits.repeat_ms),
        }
    }

    /// An inventory of its owner did not have it.
    pub fn miss(&mut self, now_ms: i64, limits: &Limits) {
        self.absent.count(now_ms, limits.repeat_ms);
    }

    /// An inventory of its owner had nobody, where it is known to serve several.
    pub fn miss_all(&mut self, now_ms: i64, limits: &Limits) {
        self.empty.count(now_ms, limits.repeat_ms);
    }

    /// It is proven to live.
    pub fn prove(&mut self, now_ms: i64) {
        self.alive_ms = self.alive_ms.max(now_ms);
        (self.gone, self.unanswered) = Default::default();
        (self.absent, self.empty) = Default::default();
    }

    /// What was said of its RTP. What is older than what is known says nothing; of two that know the same packet the one
    /// that says that it was the last was told later.
    pub fn hear(&mut self, last_ms: i64, active: bool, now_ms: i64) {
        let told = Media {
            last_ms: last_ms.clamp(0, now_ms),
            told_ms: now_ms,
            active,
        };
        let is_news = |known: Media| {
            (told.last_ms, !told.active) >= (known.last_ms, !known.active)
                && (told.active || known.active || told.last_ms > known.last_ms)
        };
        if self.media.is_none_or(is_news) {
            self.media = Some(told);
        }
    }

    /// The last proof that the call lived, ms since 1970 UTC. A process that serves one dialog lived until it died.
    pub fn last_proof(&self, life: &Life, server: Server) -> i64 {
        let lived = |lost: &Lost| match lost.how {
            Loss::Died | Loss::Ended if server == Server::Process => lost.at_ms,
            _ => 0,
        };
        let media = self.media.map_or(0, |media| media.last_ms);
        let owner = self.lost.as_ref().map_or(0, lived);
        life.last_ts.max(self.alive_ms).max(media).max(owner)
    }

    /// What is held against the dialog, as a JSON list; `age_ms` where its age counts.
    pub fn to_json(&self, age_ms: Option<i64>) -> String {
        use serde_json::{Value, json};
        let mut list: Vec<Value> = Vec::new();
        if let Some(lost) = &self.lost {
            list.push(match lost.by_node {
                true => json!({"kind": "node_down", "node": lost.reason, "at": lost.at_ms}),
                false => json!({"kind": "owner_down", "reason": lost.reason, "at": lost.at_ms}),
            });
        }
        for (answer, row) in [("gone", self.gone), ("unknown", self.unanswered)] {
            if row.times > 0 {
                list.push(json!({"kind": "probe", "answer": answer, "times": row.times, "at": row.last_ms}));
            }
        }
        if self.absent.times > 0 {
            let row = self.absent;
            list.push(json!({"kind": "inventory", "absent": row.times, "at": row.last_ms}));
        }
        if self.empty.times > 0 {
            let row = self.empty;
            list.push(json!({"kind": "inventory", "empty": row.times, "at": row.last_ms}));
        }
        if let Some(media) = self.media {
            list.push(json!({"kind": "rtp", "active": media.active, "last_ms": media.last_ms}));
        }
        if self.alive_ms > 0 {
            list.push(json!({"kind": "probe", "answer": "alive", "at": self.alive_ms}));
        }
        list.extend(age_ms.map(|ms| json!({"kind": "age", "ms": ms})));
        Value::Array(list).to_string()
    }

    /// Bytes that it takes, by estimate: its owner is mostly a process.
    pub const BYTES: usize = size_of::<Seen>() + 112;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_again_is_the_same() {
        let (mut seen, limits) = (Seen::default(), Limits::default());
        for now in [1_000, 1_001, 5_999, 6_000] {
            seen.answer(Answer::Gone, now, &limits);
        }
        assert_eq!((seen.gone.times, seen.gone.first_ms), (2, 1_000));
        seen.prove(7_000);
        assert_eq!(seen.gone.times, 0);
    }

    #[test]
    fn the_graver_loss_counts_and_keeps_its_time() {
        let lost = |how, at_ms| Lost {
            how,
            owner: "o".into(),
            reason: "n1".into(),
            by_node: how == Loss::Unreachable,
            at_ms,
            heard_ts: 0,
        };
        let mut seen = Seen::default();
        let told = [
            (Loss::Unreachable, 1),
            (Loss::Unreachable, 2),
            (Loss::Died, 3),
            (Loss::Died, 4),
            (Loss::Unreachable, 5),
        ];
        for (how, at) in told {
            seen.lose(lost(how, at));
        }
        assert_eq!(seen.lost, Some(lost(Loss::Died, 3)));
        // The node is back, the owner stays dead; it serves the call no longer when another does.
        seen.find_node("n1", 9);
        assert!(seen.lost.is_some());
        seen.settle_owner(Some("o"));
        assert!(seen.lost.is_some());
        seen.settle_owner(Some("other"));
        assert_eq!(seen.lost, None);
        seen.lose(lost(Loss::Unreachable, 6));
        seen.find_node("n2", 9);
        assert!(seen.lost.is_some());
        seen.find_node("n1", 9);
        assert_eq!(seen.lost, None);
    }

    #[test]
    fn an_older_report_about_rtp_says_nothing() {
        let mut seen = Seen::default();
        seen.hear(50, false, 60);
        for (last, active) in [(30, true), (50, true), (40, false)] {
            seen.hear(last, active, 70);
        }
        let media = seen
            .media
            .map(|media| (media.last_ms, media.told_ms, media.active));
        assert_eq!(media, Some((50, 60, false)));
        seen.hear(80, true, 80);
        assert!(seen.media.is_some_and(|media| media.active));
    }

    #[test]
    fn reasons_say_how_an_owner_was_lost() {
        for (reason, how) in [
            ("noconnection", Loss::Unreachable),
            ("noproc", Loss::Missing),
            ("normal", Loss::Ended),
            ("{shutdown,done}", Loss::Ended),
            ("killed", Loss::Died),
        ] {
            assert_eq!(Loss::of_reason(reason), how);
        }
    }
}
