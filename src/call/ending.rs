//! How a call ended: what was said of it, and which word counts.
//!
//! Several events may speak of one end, in any mixture: `dlg_end`, `dlg_stop`, `route_fin`, `call_cancel`, `call_stop`,
//! `dlg_dead`, a verdict, a deadline. A dialog's own word always wins, however late it came: a real end refutes a
//! synthetic one. A synthetic end lies at the last proof of life, never at the time of detection.

use super::life::{Life, Marks, Side};
use super::text::Text;
use crate::event::{Class, Event, Field, Kind, Value};

/// What one event says of the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word<'a> {
    /// When, ms since 1970 UTC.
    pub ts: i64,
    /// `stopreason`.
    pub completion: Option<Text<'a>>,
    /// Side that released the dialog.
    pub side: Option<Side>,
    /// SIP status code.
    pub sipcode: Option<i64>,
    /// Cause by Q.850.
    pub q850: Option<i64>,
    /// Reason in words.
    pub reason: Option<Text<'a>>,
}

impl<'a> Word<'a> {
    fn of(event: &Event<'a>) -> Self {
        let reason = Text::field(event, Field::Reason);
        Word {
            ts: event.ts,
            completion: Text::field(event, Field::Stopreason),
            side: event.str(Field::Stopside).and_then(Side::of_name),
            sipcode: event.int(Field::Sipcode),
            q850: event.int(Field::Q850),
            reason: reason.or_else(|| Text::field(event, Field::Cause)),
        }
    }

    /// This word, with what it leaves out taken from another.
    fn or(self, other: Option<Word<'a>>) -> Self {
        let other = other.unwrap_or_default();
        Word {
            ts: self.ts,
            completion: self.completion.or(other.completion),
            side: self.side.or(other.side),
            sipcode: self.sipcode.or(other.sipcode),
            q850: self.q850.or(other.q850),
            reason: self.reason.or(other.reason),
        }
    }
}

/// What callstore decided: that a dialog is dead, or that a call is closed for its age.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict<'a> {
    /// Last proof of life, ms since 1970 UTC.
    pub lastproof: Option<i64>,
    /// When it was noticed, ms since 1970 UTC.
    pub detected: Option<i64>,
    /// Why, in one word.
    pub reason: Option<Text<'a>>,
    /// What it rests on: a JSON list.
    pub evidence: Option<Value<'a>>,
}

impl<'a> Verdict<'a> {
    fn of(event: &Event<'a>) -> Self {
        Verdict {
            lastproof: event.int(Field::Lastproof),
            detected: event.int(Field::Detected),
            reason: Text::field(event, Field::Reason),
            evidence: event.get(Field::Evidence),
        }
    }

    fn end(self, how: How, ts: Option<i64>) -> End<'a> {
        let reason = self.reason;
        End {
            how,
            // What came late may say more than was known when it was decided.
            ts: self.lastproof.max(ts),
            word: Word {
                reason,
                ..Word::default()
            },
            verdict: Some(self),
        }
    }
}

/// Which word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The dialog's own: `dlg_end`, `dlg_stop`.
    Dialog,
    /// Routing ended in an error.
    RouteFin,
    /// The caller gave up, no dialog said more.
    Cancel,
    /// `call_stop` alone.
    CallStop,
    /// The platform itself said `dlg_dead`.
    Died,
    /// callstore found it dead.
    FoundDead,
    /// Nobody said anything: closed by a deadline.
    Deadline,
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct End<'a> {
    /// Whose word it is.
    pub how: How,
    /// When, ms since 1970 UTC; `None` where not even a last proof of life is known.
    pub ts: Option<i64>,
    /// What was said of it.
    pub word: Word<'a>,
    /// The verdict behind a synthetic end.
    pub verdict: Option<Verdict<'a>>,
}

impl End<'_> {
    /// Whether the platform did not say it.
    pub fn is_synthetic(&self) -> bool {
        matches!(self.how, How::FoundDead | How::Deadline)
    }
}

/// All that was said of the end.
#[derive(Clone, Debug, Default)]
pub struct Ending<'a> {
    dlg_end: Option<Word<'a>>,
    dlg_stop: Option<Word<'a>>,
    route_fin: Option<Word<'a>>,
    cancel: Option<Word<'a>>,
    call_stop: Option<Word<'a>>,
    closed: Option<Verdict<'a>>,
    verdict: Option<Verdict<'a>>,
    last_proof: Option<i64>,
    conversed: bool,
}

impl<'a> Ending<'a> {
    /// Adds one event.
    pub fn apply(&mut self, event: &Event<'a>) {
        let place = match event.kind {
            Kind::DlgEnd => &mut self.dlg_end,
            Kind::DlgStop => &mut self.dlg_stop,
            Kind::RouteFin => &mut self.route_fin,
            Kind::CallCancel => &mut self.cancel,
            Kind::CallStop => &mut self.call_stop,
            Kind::CallClosed => {
                self.closed = self.closed.or(Some(Verdict::of(event)));
                return;
            }
            Kind::Verdict => return self.judge(event),
            _ => return self.note_life(event),
        };
        if place.is_none() {
            *place = Some(Word::of(event));
        }
        self.note_life(event);
    }

    /// What the platform does with a call proves that it lives; what is done with its recording afterwards does not.
    fn note_life(&mut self, event: &Event<'a>) {
        let proves = event.kind.class() == Class::CallEvents
            && !matches!(
                event.kind,
                Kind::DlgDead | Kind::CallRecLinks | Kind::RecordsMoved
            );
        if proves {
            self.last_proof = self.last_proof.max(Some(event.ts));
        }
        self.conversed |= matches!(
            event.kind,
            Kind::DlgStart
                | Kind::RecInfo
                | Kind::Hold
                | Kind::Unhold
                | Kind::Refer
                | Kind::ReferAborted
                | Kind::MediaMigrate
        );
    }

    fn judge(&mut self, event: &Event<'a>) {
        match event.str(Field::State) {
            Some("dead") => self.verdict = Some(Verdict::of(event)),
            Some("alive") => self.verdict = None,
            _ => {}
        }
    }

    /// The end as far as it is known; `None` while the call goes on.
    pub fn end(&self, life: &Life) -> Option<End<'a>> {
        self.said(life)
            .or_else(|| self.death(life))
            .or_else(|| self.deadline(life))
    }

    fn said(&self, life: &Life) -> Option<End<'a>> {
        let end = |how, word: Word<'a>| End {
            how,
            ts: Some(word.ts),
            word,
            verdict: None,
        };
        let by_dialog = match (self.dlg_end, self.dlg_stop) {
            (Some(first), second) => Some(first.or(second)),
            (None, stop) => stop,
        };
        let cancel = self.cancel.filter(|_| life.marks.any(Marks::CANCEL));
        // A caller who gave up has ended the call then, whatever the dialog still had to do.
        let by_dialog = by_dialog.map(|word| {
            let ts = cancel.map_or(word.ts, |cancel| cancel.ts.min(word.ts));
            let word = Word { ts, ..word };
            end(How::Dialog, word.or(self.call_stop))
        });
        let no_dialog = !life.marks.any(Marks::DIALOG);
        by_dialog
            .or_else(|| {
                let word = self.route_fin.filter(|_| no_dialog)?;
                Some(end(How::RouteFin, word.or(self.call_stop)))
            })
            .or_else(|| Some(end(How::Cancel, cancel?.or(self.call_stop))))
            .or_else(|| Some(end(How::CallStop, self.call_stop?)))
    }

    fn death(&self, life: &Life) -> Option<End<'a>> {
        let synthetic = life.marks.any(Marks::SYNTHETIC);
        let found_dead = synthetic && life.state().is_over();
        if !life.marks.any(Marks::DEAD) && !found_dead {
            return None;
        }
        let told = End {
            how: How::Died,
            ts: Some(life.dead_ts),
            word: Word::default(),
            verdict: None,
        };
        let found = End {
            how: How::FoundDead,
            ts: self.last_proof,
            ..told
        };
        Some(match (synthetic, self.verdict) {
            (false, _) => told,
            (true, None) => found,
            (true, Some(verdict)) => verdict.end(How::FoundDead, self.last_proof),
        })
    }

    fn deadline(&self, life: &Life) -> Option<End<'a>> {
        let closed = self.closed.filter(|_| life.marks.any(Marks::DEADLINE))?;
        Some(closed.end(How::Deadline, self.last_proof))
    }

    /// Whether there was a conversation, also where the event of its start was lost.
    pub fn conversed(&self, life: &Life) -> bool {
        let is_bye = |word: &Option<Word<'_>>| {
            word.and_then(|word| word.completion)
                .is_some_and(|completion| completion == *"bye")
        };
        let spoke = self.conversed || is_bye(&self.dlg_end) || is_bye(&self.dlg_stop);
        spoke && !life.marks.any(Marks::CANCEL)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn end<'a>(events: impl IntoIterator<Item = Event<'a>>) -> Option<(How, Option<i64>)> {
        call(events)
            .end
            .map(|end| (end.how, end.ts.map(|ts| ts - T0)))
    }

    #[test]
    fn a_call_that_goes_on_has_no_end() {
        assert_eq!(end([invite(), dlg_start(5, "f1")]), None);
    }

    #[test]
    fn the_end_is_when_the_dialog_ended_not_when_it_was_reported_again() {
        let events = [
            invite(),
            dlg_start(5, "f1"),
            dlg_end(60, "bye", "b"),
            dlg_stop(3_060, "bye", "b"),
        ];
        assert_eq!(end(events), Some((How::Dialog, Some(60))));
    }

    #[test]
    fn dlg_stop_alone_is_the_end() {
        let call = call([invite(), dlg_start(5, "f1"), dlg_stop(3_060, "bye", "b")]);
        let end = call.end.expect("ended");
        assert_eq!((end.how, end.ts), (How::Dialog, Some(T0 + 3_060)));
        assert_eq!(end.word.side, Some(Side::B));
    }

    #[test]
    fn what_dlg_end_leaves_out_is_taken_from_dlg_stop() {
        let call = call([ev(60, Kind::DlgEnd), dlg_stop(3_060, "bye", "a")]);
        let word = call.end.expect("ended").word;
        assert_eq!(word.completion, Some(Text::Str("bye")));
        assert_eq!((word.ts, word.side), (T0 + 60, Some(Side::A)));
    }

    #[test]
    fn a_synthetic_end_is_the_last_proof_of_life() {
        let [verdict, dead] = death(90_000, 40_000);
        let call = call([invite(), dlg_start(5, "f1"), verdict, dead]);
        let end = call.end.expect("dead");
        assert_eq!((end.how, end.ts), (How::FoundDead, Some(T0 + 40_000)));
        assert!(end.is_synthetic());
        let verdict = end.verdict.expect("verdict");
        assert_eq!(verdict.detected, Some(T0 + 90_000));
        assert_eq!(
            verdict.evidence,
            Some(Value::Json(r#"[{"kind":"monitor"}]"#))
        );
    }

    #[test]
    fn a_real_end_wins_over_a_death_before_and_after_it() {
        for after in [30_000, 50_000, 200_000] {
            let [verdict, dead] = death(90_000, 40_000);
            let events = [
                dlg_start(5, "f1"),
                verdict,
                dead,
                dlg_end(after, "bye", "a"),
            ];
            assert_eq!(end(events), Some((How::Dialog, Some(after))));
        }
    }

    #[test]
    fn a_death_that_the_platform_reports_is_signalled() {
        let dead = ev(70, Kind::DlgDead).with(Field::Dialogid, "d1");
        let call = call([invite(), dlg_start(5, "f1"), dead]);
        let end = call.end.expect("dead");
        assert_eq!((end.how, end.ts), (How::Died, Some(T0 + 70)));
        assert!(!end.is_synthetic());
    }

    #[test]
    fn a_death_that_was_refuted_is_no_end() {
        let [verdict, dead] = death(90, 40);
        let alive = ev(95, Kind::Verdict).with(Field::State, "alive");
        assert_eq!(end([dlg_start(5, "f1"), verdict, dead, alive]), None);
    }

    #[test]
    fn routing_that_failed_is_the_end_of_a_call_without_dialog() {
        let fin = ev(3, Kind::RouteFin).with(Field::Sipcode, 404_i64);
        assert_eq!(end([invite(), fin]), Some((How::RouteFin, Some(3))));
    }

    #[test]
    fn cancel_and_answer_have_one_outcome_by_their_order() {
        let cancelled = [invite(), ev(9, Kind::CallCancel), dlg_start(10, "f1")];
        assert_eq!(end(cancelled.clone()), Some((How::Cancel, Some(9))));
        assert_eq!(call(cancelled.clone()).answer(), None);
        let more = cancelled.into_iter().chain([dlg_end(40, "cancel", "a")]);
        assert_eq!(end(more), Some((How::Dialog, Some(9))));
        let answered = [invite(), dlg_start(9, "f1"), ev(10, Kind::CallCancel)];
        assert_eq!(end(answered.clone()), None);
        assert_eq!(call(answered).answer(), Some(T0 + 9));
    }

    #[test]
    fn closed_by_age_ends_at_the_last_sign_of_life() {
        let closed = ev(90_000, Kind::CallClosed).with(Field::Reason, "age");
        let events = [invite(), ev(4, Kind::Route), closed];
        assert_eq!(end(events), Some((How::Deadline, Some(4))));
    }

    #[test]
    fn the_links_of_a_recording_are_no_sign_of_life() {
        let events = [ev(50, Kind::CallRecLinks), ev(90, Kind::CallClosed)];
        assert_eq!(end(events), Some((How::Deadline, None)));
    }

    #[test]
    fn a_conversation_is_known_even_if_its_start_was_lost() {
        assert!(call([dlg_end(60, "bye", "a")]).has_conversed());
        assert!(call([ev(1, Kind::Hold)]).has_conversed());
        assert!(!call([invite(), dlg_end(60, "cancel", "a")]).has_conversed());
    }
}
