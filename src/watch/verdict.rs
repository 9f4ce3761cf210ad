//! The weighing: from what is known and seen of a call to a verdict, by one table that is read from above.
//!
//! Always holds: one kind of doubt alone kills nobody, unless it comes from who must know (a monitor, the owner itself
//! twice); an owner whose monitor stands is never dead for silence or age; while RTP flows a conversation is left open
//! for a limited time. Pure: the same case gives the same judgement. Used by the store.

use super::seen::{InARow, Loss, Seen};
use super::{Limits, Server};
use crate::call::{Life, Marks, State};

/// How a dialog stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is held against it.
    Alive,
    /// Something is; its owner is asked.
    Suspect,
    /// Nobody serves it.
    Dead,
}

impl Verdict {
    /// The name in events and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Alive => "alive",
            Verdict::Suspect => "suspect",
            Verdict::Dead => "dead",
        }
    }
}

/// Everything that a verdict depends on.
#[derive(Clone, Copy, Debug)]
pub struct Case<'c> {
    /// What the events say.
    pub life: &'c Life,
    /// What was seen.
    pub seen: &'c Seen,
    /// When its state last changed by our clock: events may come long after their time.
    pub noted_ms: i64,
    /// What kind of owner it has.
    pub server: Server,
    /// Until when reports about RTP may still be on their way, after a take-over.
    pub media_awaited_ms: i64,
    /// Now.
    pub now_ms: i64,
    /// The limits.
    pub limits: &'c Limits,
}

/// A verdict and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The row of the table, in one word.
    pub reason: &'static str,
    /// The same as people read it.
    pub words: &'static str,
    /// Whether the server of its signalling is lost: a conversation might be restored by another.
    pub server_lost: bool,
    /// On how many kinds of evidence it rests.
    pub kinds: u32,
    /// When time alone may change it; `i64::MAX` for never.
    pub again_ms: i64,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    applies: fn(&Signs) -> bool,
    /// What it says.
    pub verdict: Verdict,
    /// Why, in one word: it stands in events.
    pub reason: &'static str,
    /// Why, as people read it.
    pub words: &'static str,
    /// Whether a conversation that is dead by it has lost the server of its signalling: another might restore it.
    pub server_lost: bool,
}

macro_rules! table {
    ($( $verdict:ident $reason:literal $words:literal $(=> $server_lost:ident)? if $applies:expr; )*) => {
        /// From the gravest row to the lightest: the first that applies counts. The last one always does.
        pub const TABLE: &[Row] = &[ $( Row {
            applies: $applies,
            verdict: Verdict::$verdict,
            reason: $reason,
            words: $words,
            server_lost: matches!(stringify!($($server_lost)?).as_bytes(), b"server_lost"),
        }, )* ];
    };
}

table! {
    Alive "ended" "its end was said"
        if |it| it.ended;
    Suspect "end_awaited" "its owner is gone; its end may still be on its way"
        if |it| it.end_awaited;
    Suspect "media_awaited" "its owner is lost; reports of its RTP may still be on their way to a new active"
        if |it| it.is_lost() && it.media_awaited;
    Suspect "media_flows" "nobody controls it, but its RTP flows"
        if |it| it.is_orphan() && it.orphan_media;
    Dead "owner_down" "its owner is gone, and no end came within the grace" => server_lost
        if |it| it.owner_died;
    Dead "probe_gone" "its owner said twice that it does not serve it" => server_lost
        if |it| it.gone;
    Dead "not_in_inventory" "two inventories of its owner did not have it" => server_lost
        if |it| it.absent;
    Suspect "media_flows" "its owner is out of reach, but its RTP flows"
        if |it| it.cut_off && it.cut_off_media;
    Dead "unreachable" "its owner is out of reach for longer than the grace" => server_lost
        if |it| it.cut_off;
    Dead "silent" "nobody answers for it, and its RTP is silent for long" => server_lost
        if |it| !it.monitored && it.unanswered && it.silent;
    Dead "age" "no proof of life for longer than a call lasts, and nobody answers for it"
        if |it| !it.monitored && it.aged;
    Suspect "owner_lost" "its owner is out of reach, for less than the grace"
        if |it| it.owner_doubt;
    Suspect "probe_doubt" "an answer or an inventory speaks against it, or nobody answers"
        if |it| it.answer_doubt;
    Suspect "rtp_silent" "its RTP is silent for a while"
        if |it| it.media_doubt;
    Suspect "no_progress" "it rings, or lasts, for longer than calls do"
        if |it| it.time_doubt;
    Alive "nothing_held_against" "nothing is held against it"
        if |_| true;
}

/// Why a call stands as a look back found it, as people read it: reasons that no row of the table has.
const OTHER_REASONS: [(&str, &str); 4] = [
    ("found_alive", "it was declared dead and is proven to live"),
    (
        "media_stopped",
        "its RTP went on for longer than was known, and has stopped",
    ),
    ("stop_lost", "its end is known, and dlg_stop never came"),
    ("dlg_dead", "the platform said that it is dead"),
];

/// What a reason means.
pub fn words(reason: &str) -> Option<&'static str> {
    let rows = TABLE.iter().map(|row| (row.reason, row.words));
    rows.chain(OTHER_REASONS)
        .find_map(|(known, words)| (known == reason).then_some(words))
}

/// What a case shows, sign by sign.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signs {
    /// Its end was said.
    ended: bool,
    /// Its owner is gone, and an end that it said may still come.
    end_awaited: bool,
    /// Its owner is gone, and no end came within the grace.
    owner_died: bool,
    /// Its owner said twice that it does not have it.
    gone: bool,
    /// Two inventories in a row did not have it.
    absent: bool,
    /// Its owner is out of reach for longer than the grace.
    cut_off: bool,
    /// RTP flows, and not for too long since nobody controls it.
    orphan_media: bool,
    /// RTP flows, and not for too long since its owner is out of reach.
    cut_off_media: bool,
    /// Nothing is known of its RTP yet, so shortly after a take-over.
    media_awaited: bool,
    /// Several questions in a row had no answer.
    unanswered: bool,
    /// RTP is silent for long.
    silent: bool,
    /// No proof of life for longer than a call lasts, and nobody answered.
    aged: bool,
    /// Its owner is monitored and there.
    monitored: bool,
    /// Something is held against its owner.
    owner_doubt: bool,
    /// An answer or an inventory holds something against it.
    answer_doubt: bool,
    /// RTP is silent for a while.
    media_doubt: bool,
    /// It rings, or lasts, for longer than calls do.
    time_doubt: bool,
}

impl Signs {
    fn is_orphan(&self) -> bool {
        self.owner_died || self.gone || self.absent
    }

    fn is_lost(&self) -> bool {
        self.is_orphan() || self.cut_off
    }
}

/// Clocks of producers may differ from ours by so much, ms.
const SKEW_MS: i64 = 2_000;
/// So many times in a row must an owner say that it does not have a dialog.
const TWICE: i64 = 2;

impl Judgement {
    /// What was decided, by the word that stands in the event.
    pub fn decided(verdict: Verdict, reason: &str) -> Judgement {
        let rows = TABLE.iter().map(|row| (row.reason, row.words));
        let known = rows.chain(OTHER_REASONS).find(|(it, _)| *it == reason);
        let (reason, words) = known.unwrap_or(("other", "for a reason of another version"));
        Judgement {
            verdict,
            reason,
            words,
            server_lost: false,
            kinds: 0,
            again_ms: i64::MAX,
        }
    }
}

/// Weighs a case.
pub fn weigh(case: &Case<'_>) -> Judgement {
    let mut clock = Clock {
        now_ms: case.now_ms,
        again_ms: i64::MAX,
    };
    let (signs, kinds) = read(case, &mut clock);
    let row = TABLE.iter().find(|row| (row.applies)(&signs));
    let row = row.unwrap_or(&TABLE[TABLE.len() - 1]);
    Judgement {
        verdict: row.verdict,
        reason: row.reason,
        words: row.words,
        server_lost: row.server_lost,
        kinds,
        again_ms: clock.again_ms,
    }
}

/// Remembers the next moment at which a sign changes.
struct Clock {
    now_ms: i64,
    again_ms: i64,
}

impl Clock {
    fn is_past(&mut self, at_ms: i64) -> bool {
        if at_ms > self.now_ms {
            self.again_ms = self.again_ms.min(at_ms);
        }
        at_ms <= self.now_ms
    }
}

fn read(case: &Case<'_>, clock: &mut Clock) -> (Signs, u32) {
    let Case {
        life, seen, limits, ..
    } = *case;
    let mut signs = Signs {
        ended: life.state().is_over() || life.state() == State::Ended,
        ..Signs::default()
    };
    if signs.ended {
        return (signs, 0);
    }
    let talks = life.marks.any(Marks::ANSWERED);
    let held = life.state() == State::Held;
    let times = if held { limits.hold_times.max(1) } else { 1 };

    let lost = seen.lost.as_ref().filter(|lost| {
        let proven = seen.alive_ms > lost.at_ms
            || life.last_ts > lost.at_ms.max(lost.heard_ts).saturating_add(SKEW_MS);
        !proven || seen.unanswered.times >= limits.probe_misses
    });
    signs.owner_doubt = lost.is_some();
    signs.monitored = case.server.is_monitored() && seen.lost.is_none();
    let mut since_ms = i64::MAX;
    if let Some(lost) = lost {
        let grace_ms = match lost.how {
            Loss::Unreachable => limits.node_grace_ms,
            Loss::Ended | Loss::Missing => limits.end_grace_orderly_ms,
            Loss::Died => limits.end_grace_ms,
        };
        let is_past = clock.is_past(lost.at_ms + grace_ms);
        signs.cut_off = is_past && lost.how == Loss::Unreachable;
        signs.owner_died = is_past && lost.how != Loss::Unreachable;
        signs.end_awaited = !is_past && lost.how != Loss::Unreachable;
        since_ms = since_ms.min(lost.at_ms);
    }
    // What the call did since then takes back that somebody did not know it.
    let holds = |row: &InARow| row.times > 0 && life.last_ts <= row.last_ms.saturating_add(SKEW_MS);
    let [gone, mut absent, empty] =
        [seen.gone, seen.absent, seen.empty].map(|row| Some(row).filter(holds).unwrap_or_default());
    signs.unanswered = seen.unanswered.times >= limits.probe_misses;
    // That an owner serves nobody any more may be an error: it counts where something else says the same.
    if empty.times >= TWICE && (gone.times > 0 || signs.unanswered || signs.owner_doubt) {
        absent = empty;
    }
    signs.gone = gone.times >= TWICE;
    signs.absent = absent.times >= TWICE;
    signs.answer_doubt = gone.times > 0 || absent.times > 0 || signs.unanswered;
    for row in [gone, absent] {
        if row.times >= TWICE {
            since_ms = since_ms.min(row.first_ms);
        }
    }

    let mut media_speaks = false;
    if let Some(media) = seen.media.filter(|_| talks) {
        let flows = media.flows(case.now_ms, limits);
        if flows && signs.is_lost() {
            clock.is_past(media.told_ms + limits.rtp_suspect_ms);
            signs.orphan_media = !clock.is_past(since_ms.saturating_add(limits.orphan_media_ms));
            signs.cut_off_media =
                !clock.is_past(since_ms.saturating_add(limits.unreachable_media_ms));
        }
        if !media.active {
            let heard_ms = media.last_ms.max(life.answer_ts);
            signs.media_doubt = clock.is_past(heard_ms + limits.rtp_suspect_ms * times);
            signs.silent = clock.is_past(heard_ms + limits.rtp_dead_ms * times);
            media_speaks = !held || signs.media_doubt;
        }
    }
    let awaited = talks && seen.media.is_none() && signs.is_lost();
    signs.media_awaited = awaited && !clock.is_past(case.media_awaited_ms);

    read_time(case, &mut signs, clock);
    let kinds = [
        signs.owner_died || signs.cut_off,
        gone.times > 0 || signs.unanswered,
        absent.times > 0,
        media_speaks,
        signs.aged,
    ];
    (signs, kinds.iter().map(|&it| u32::from(it)).sum())
}

/// How long a call may ring, and last.
fn read_time(case: &Case<'_>, signs: &mut Signs, clock: &mut Clock) {
    let Case {
        life, seen, limits, ..
    } = *case;
    let proof_ms = seen.last_proof(life, case.server);
    let rings = matches!(life.state(), State::Calling | State::Early);
    signs.time_doubt = rings && clock.is_past(proof_ms.saturating_add(limits.ringing_ms));
    signs.time_doubt |= clock.is_past(
        life.first_ts
            .max(seen.alive_ms)
            .saturating_add(limits.age_ms),
    );
    let asked_ms = limits.probe_ms.saturating_mul(limits.probe_misses);
    let aged_ms = (proof_ms.max(case.noted_ms))
        .saturating_add(limits.age_ms)
        .saturating_add(asked_ms);
    signs.aged = clock.is_past(aged_ms);
}
