//! Why a call ended, in the codes of those who count: the platform's `term_cause`, SIP status and Q.850 cause.
//!
//! What the platform said stands. What it left out is mapped from what it said (RFC 3398), never guessed.

use crate::call::ending::{End, How};
use crate::call::{Call, Side, Text};

/// The platform's codes of completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum TermCause {
    /// The caller hung up.
    ByeA = 1,
    /// The callee hung up.
    ByeB = 2,
    /// The caller gave up before an answer.
    Cancel = 3,
    /// A final response other than success.
    CallFinal = 4,
    /// Nobody answered in time.
    Timeout = 5,
    /// An error of the platform.
    Error = 6,
    /// Ended by order of the platform.
    CallTerminate = 7,
    /// Ended unscheduled.
    Dead = 1000,
    /// Ended from outside.
    External = 1001,
    /// Nobody said why.
    Unknown = 1002,
}

impl TermCause {
    /// The code in records.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// The code of what the platform calls the completion.
    fn of(completion: &str, side: Option<Side>) -> TermCause {
        match (completion, side) {
            ("bye" | "bye_a" | "bye_b", Some(Side::A)) | ("bye_a", None) => TermCause::ByeA,
            ("bye" | "bye_a" | "bye_b", Some(Side::B)) | ("bye_b", None) => TermCause::ByeB,
            ("cancel", _) => TermCause::Cancel,
            ("call_final", _) => TermCause::CallFinal,
            ("timeout", _) => TermCause::Timeout,
            ("error", _) => TermCause::Error,
            ("call_terminate", _) => TermCause::CallTerminate,
            ("dead", _) => TermCause::Dead,
            ("external", _) => TermCause::External,
            _ => TermCause::Unknown,
        }
    }
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause<'a> {
    /// The platform's code.
    pub term_cause: TermCause,
    /// Its name, as the platform wrote it.
    pub completion: Option<Text<'a>>,
    /// The side that ended it.
    pub released_by: Option<Side>,
    /// SIP status code of a call that was not answered.
    pub sipcode: Option<i64>,
    /// Cause by Q.850.
    pub q850: Option<i64>,
}

impl<'a> Cause<'a> {
    /// Why this call ended in this end.
    pub fn of(call: &Call<'a>, end: &End<'a>) -> Cause<'a> {
        let completion = completion(end);
        let term_cause = completion.map_or(TermCause::Unknown, |completion| {
            completion.with(|text| TermCause::of(text, end.word.side))
        });
        let released_by = end.word.side.or(match term_cause {
            TermCause::ByeA | TermCause::Cancel => Some(Side::A),
            TermCause::ByeB => Some(Side::B),
            _ => None,
        });
        let sipcode = sipcode(call, end, term_cause);
        let q850 = (end.word.q850)
            .or_else(|| sipcode.and_then(q850_of_sip))
            .or_else(|| q850_of_cause(call, term_cause));
        Cause {
            term_cause,
            completion,
            released_by,
            sipcode,
            q850,
        }
    }
}

/// What the platform called it; where only the type of an event says it, that.
fn completion<'a>(end: &End<'a>) -> Option<Text<'a>> {
    end.word.completion.or(match end.how {
        How::RouteFin => Some(Text::Str("call_final")),
        How::Cancel => Some(Text::Str("cancel")),
        How::Died | How::FoundDead => Some(Text::Str("dead")),
        How::Dialog | How::CallStop | How::Deadline => None,
    })
}

/// What was said; of a call that was not answered, else what its forks got.
fn sipcode(call: &Call<'_>, end: &End<'_>, cause: TermCause) -> Option<i64> {
    let dead = matches!(end.how, How::Died | How::FoundDead | How::Deadline);
    if end.word.sipcode.is_some() || dead || call.has_conversed() {
        return end.word.sipcode;
    }
    // RFC 3261 §9.2: what is cancelled is answered with 487, whatever other forks got before.
    if cause == TermCause::Cancel && call.forks.failed_with(487) {
        return Some(487);
    }
    let by_q850 = || end.word.q850.and_then(sip_of_q850);
    call.forks.last_failure().or_else(by_q850)
}

/// Causes that follow from how the call ended: 16 normal clearing (RFC 3398: of a BYE and of a CANCEL), 19 no answer from
/// the user who was alerted, 102 a timer expired in conversation.
fn q850_of_cause(call: &Call<'_>, cause: TermCause) -> Option<i64> {
    match cause {
        TermCause::ByeA | TermCause::ByeB | TermCause::Cancel => Some(16),
        TermCause::Timeout if call.has_conversed() => Some(102),
        TermCause::Timeout if call.life.ringing_ts != 0 => Some(19),
        _ => None,
    }
}

/// SIP status → Q.850 cause, RFC 3398 §8.2.6.1. 487 has none there; 488 and 606 depend on a Warning that events do not
/// have.
pub const Q850_OF_SIP: &[(i64, i64)] = &[
    (400, 41),
    (401, 21),
    (402, 21),
    (403, 21),
    (404, 1),
    (405, 63),
    (406, 79),
    (407, 21),
    (408, 102),
    (410, 22),
    (413, 127),
    (414, 127),
    (415, 79),
    (416, 127),
    (420, 127),
    (421, 127),
    (423, 127),
    (480, 18),
    (481, 41),
    (482, 25),
    (483, 25),
    (484, 28),
    (485, 1),
    (486, 17),
    (500, 41),
    (501, 79),
    (502, 38),
    (503, 41),
    (504, 102),
    (505, 127),
    (513, 127),
    (600, 17),
    (603, 21),
    (604, 1),
];

/// Q.850 cause → SIP status, RFC 3398 §7.2.4.1, without the notes on location and diagnostics.
pub const SIP_OF_Q850: &[(i64, i64)] = &[
    (1, 404),
    (2, 404),
    (3, 404),
    (17, 486),
    (18, 408),
    (19, 480),
    (20, 480),
    (21, 403),
    (22, 410),
    (23, 410),
    (26, 404),
    (27, 502),
    (28, 484),
    (29, 501),
    (31, 480),
    (34, 503),
    (38, 503),
    (41, 503),
    (42, 503),
    (47, 503),
    (55, 403),
    (57, 403),
    (58, 503),
    (65, 488),
    (70, 488),
    (79, 501),
    (87, 403),
    (88, 503),
    (102, 504),
    (111, 500),
    (127, 500),
];

/// The Q.850 cause of a SIP status code.
pub fn q850_of_sip(sipcode: i64) -> Option<i64> {
    look_up(Q850_OF_SIP, sipcode)
}

/// The SIP status code of a Q.850 cause.
pub fn sip_of_q850(cause: i64) -> Option<i64> {
    look_up(SIP_OF_Q850, cause)
}

fn look_up(table: &[(i64, i64)], key: i64) -> Option<i64> {
    let at = table.binary_search_by_key(&key, |&(key, _)| key).ok()?;
    table.get(at).map(|&(_, value)| value)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::call::testing::*;
    use crate::event::{Event, Field, Kind};

    type Told = (i64, Option<&'static str>, Option<i64>, Option<i64>);

    fn cause(events: impl IntoIterator<Item = Event<'static>>) -> Told {
        let call = call(events);
        let end = call.end.expect("ended");
        let cause = Cause::of(&call, &end);
        (
            cause.term_cause.code(),
            cause.released_by.map(Side::name),
            cause.sipcode,
            cause.q850,
        )
    }

    fn failed(code: i64) -> Event<'static> {
        ev(5, Kind::ForkStop).fork("f1").with(Field::Sipcode, code)
    }

    #[test]
    fn the_tables_can_be_searched() {
        for table in [Q850_OF_SIP, SIP_OF_Q850] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
        }
        assert_eq!(q850_of_sip(486), Some(17));
        assert_eq!(q850_of_sip(604), Some(1));
        assert_eq!(q850_of_sip(487), None);
        assert_eq!(sip_of_q850(127), Some(500));
    }

    #[test]
    fn a_bye_has_the_side_that_sent_it() {
        let answered = |side| [invite(), dlg_start(5, "f1"), dlg_end(60, "bye", side)];
        assert_eq!(cause(answered("a")), (1, Some("a"), None, Some(16)));
        assert_eq!(cause(answered("b")), (2, Some("b"), None, Some(16)));
        assert_eq!(cause(answered("?")), (1002, None, None, None));
    }

    #[test]
    fn a_busy_callee_is_call_final_with_both_codes() {
        let events = [invite(), failed(486), dlg_end(6, "call_final", "b")];
        assert_eq!(cause(events), (4, Some("b"), Some(486), Some(17)));
    }

    #[test]
    fn the_code_that_the_end_states_wins_over_those_of_forks() {
        let end = dlg_end(6, "call_final", "b").with(Field::Sipcode, 603_i64);
        assert_eq!(
            cause([failed(486), end]),
            (4, Some("b"), Some(603), Some(21))
        );
    }

    #[test]
    fn routing_that_failed_is_call_final_and_nobody_released_it() {
        let fin = ev(3, Kind::RouteFin).with(Field::Sipcode, 404_i64);
        assert_eq!(cause([invite(), fin]), (4, None, Some(404), Some(1)));
    }

    #[test]
    fn a_cancelled_call_is_cleared_normally_by_the_caller() {
        let told = (3, Some("a"), Some(487), Some(16));
        let other = ev(4, Kind::ForkStop)
            .fork("f2")
            .with(Field::Sipcode, 486_i64);
        assert_eq!(cause([other, failed(487), dlg_end(5, "cancel", "a")]), told);
        let bare = cause([invite(), ev(9, Kind::CallCancel)]);
        assert_eq!(bare, (3, Some("a"), None, Some(16)));
    }

    #[test]
    fn a_call_that_rang_in_vain_had_no_answer_from_the_user() {
        let ringing = ev(1, Kind::ForkStart).fork("f1");
        let events = [ringing, failed(487), dlg_end(6, "timeout", "b")];
        assert_eq!(cause(events).0, 5);
        let events = [ev(1, Kind::DlgCall), dlg_end(6, "timeout", "b")];
        assert_eq!(cause(events), (5, Some("b"), None, Some(19)));
    }

    #[test]
    fn an_answered_call_has_no_code_of_its_losing_forks() {
        let events = [failed(486), dlg_start(9, "f2"), dlg_end(60, "bye", "a")];
        assert_eq!(cause(events), (1, Some("a"), None, Some(16)));
    }

    #[test]
    fn the_dead_have_their_own_code_and_no_other() {
        let [verdict, dead] = death(90, 40);
        assert_eq!(
            cause([invite(), failed(486), verdict, dead]),
            (1000, None, None, None)
        );
    }

    #[test]
    fn the_other_completions_have_the_codes_of_the_platform() {
        let codes = [
            ("error", 6),
            ("call_terminate", 7),
            ("external", 1001),
            ("new", 1002),
        ];
        for (completion, code) in codes {
            assert_eq!(cause([dlg_end(6, completion, "?")]).0, code);
        }
        assert_eq!(cause([ev(6, Kind::DlgEnd)]).0, 1002);
        let closed = ev(9, Kind::CallClosed).with(Field::Reason, "age");
        assert_eq!(cause([invite(), closed]), (1002, None, None, None));
    }

    #[test]
    fn a_stated_q850_cause_stands_and_gives_the_sip_code_that_is_missing() {
        let end = dlg_end(6, "call_final", "b").with(Field::Q850, 1_i64);
        assert_eq!(cause([invite(), end]), (4, Some("b"), Some(404), Some(1)));
    }
}
