//! What a call outlived: ends that were taken back, and owners that were lost and replaced.
//!
//! An end is taken back when the call is proven to live, or goes on, after it was declared dead or closed for its
//! age. An event that only came late, from before the moment in which the death was decided, takes nothing back.
//! Folded by [`super::Call`]; the rule that takes an end back is that of [`super::life`].

use super::life::Marks;
use super::text::Text;
use crate::event::{Event, Field, Kind};

/// An end that was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reopening<'a> {
    /// When, ms since 1970 UTC.
    pub ts: i64,
    /// Why: what was found, or the type of the event with which the call went on.
    pub reason: Text<'a>,
    /// When the call was said to have ended; `None` where it was closed for its age.
    pub ended: Option<i64>,
}

/// An owner that was lost, and whose conversation another restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescue<'a> {
    /// When, ms since 1970 UTC.
    pub ts: i64,
    /// Who was lost, as callstore packs it.
    pub from: Option<&'a str>,
    /// Who serves it since then.
    pub to: Option<&'a str>,
}

/// What a call outlived, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survival<'a> {
    /// Ends that were taken back.
    pub reopened: Vec<Reopening<'a>>,
    /// Rescues of the conversation.
    pub rescued: Vec<Rescue<'a>>,
}

/// What is known of the end of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub marks: Marks,
    pub dead_ts: i64,
}

impl<'a> Survival<'a> {
    /// Adds one event, of either class, with what was known before and after it, and who served the call before it.
    pub(super) fn apply(
        &mut self,
        event: &Event<'a>,
        before: Known,
        after: Marks,
        owner: Option<&'a str>,
    ) {
        let taken_back = |mark| before.marks.any(mark) && !after.any(mark);
        let ended_in_truth = matches!(event.kind, Kind::DlgEnd | Kind::DlgStop);
        if taken_back(Marks::DEAD) || taken_back(Marks::DEADLINE) && !ended_in_truth {
            let reason = Text::field(event, Field::Reason).filter(|_| event.kind == Kind::Verdict);
            self.reopened.push(Reopening {
                ts: event.ts,
                reason: reason.unwrap_or(Text::Str(event.kind.name())),
                ended: (before.dead_ts != 0).then_some(before.dead_ts),
            });
        }
        match event.kind {
            Kind::Rescued => self.rescued.push(Rescue {
                ts: event.ts,
                from: owner,
                to: event.str(Field::Newowner),
            }),
            Kind::Verdict if event.str(Field::State) == Some("dead") => self.note_death(event),
            _ => {}
        }
    }

    /// The death was decided on what was known up to the last proof of life. What the call did after that, and before
    /// the decision, was not known yet.
    fn note_death(&mut self, verdict: &Event<'a>) {
        let Some(lastproof) = verdict.int(Field::Lastproof) else {
            return;
        };
        let came_late = |it: &Reopening<'_>| {
            it.ended == Some(lastproof) && it.ts > lastproof && !is_of_callstore(it.reason)
        };
        self.reopened.retain(|it| !came_late(it));
    }
}

/// Whether callstore found it out, and not an event of the call.
fn is_of_callstore(reason: Text<'_>) -> bool {
    reason.as_str().and_then(Kind::of_platform).is_none()
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn found_alive<'a>(after: i64) -> Event<'a> {
        ev(after, Kind::Verdict)
            .with(Field::State, "alive")
            .with(Field::Reason, "found_alive")
    }

    /// As callstore says it: the end at the last proof of life, the verdict when it is found.
    fn own_death<'a>(after: i64, lastproof: i64) -> [Event<'a>; 2] {
        let [verdict, mut dead] = death(after, lastproof);
        dead.ts = T0 + lastproof;
        [verdict, dead]
    }

    #[test]
    fn a_death_that_a_proof_of_life_or_an_event_takes_back_is_noted() {
        let [verdict, dead] = own_death(90_000, 40_000);
        let hold = ev(130_000, Kind::Hold);
        for (event, reason) in [(found_alive(130_000), "found_alive"), (hold, "hold")] {
            let call = call([
                invite(),
                dlg_start(5, "f1"),
                verdict.clone(),
                dead.clone(),
                event,
                dlg_end(200_000, "bye", "a"),
            ]);
            let reopened = Reopening {
                ts: T0 + 130_000,
                reason: Text::Str(reason),
                ended: Some(T0 + 40_000),
            };
            assert_eq!(call.survival.reopened, [reopened]);
        }
    }

    #[test]
    fn what_came_late_and_a_real_end_take_nothing_back() {
        let [verdict, dead] = own_death(90_000, 40_000);
        let late = ev(50_000, Kind::Hold);
        let call_late = call([
            invite(),
            dlg_start(5, "f1"),
            verdict.clone(),
            dead.clone(),
            late,
        ]);
        assert_eq!(call_late.survival.reopened, []);
        let end = call_late.end.expect("dead");
        assert_eq!(end.ts, Some(T0 + 50_000), "it lived then");
        let ended = [
            dlg_start(5, "f1"),
            verdict,
            dead,
            dlg_end(95_000, "bye", "a"),
        ];
        assert_eq!(call(ended).survival.reopened, []);
        let closed = ev(60_000, Kind::CallClosed).with(Field::Reason, "age");
        let ended = [invite(), closed, dlg_end(70_000, "bye", "a")];
        assert_eq!(call(ended).survival.reopened, []);
    }

    #[test]
    fn a_call_that_was_closed_for_its_age_and_goes_on_is_noted() {
        let closed = ev(60_000, Kind::CallClosed).with(Field::Reason, "age");
        let call = call([invite(), closed, dlg_start(70_000, "f1")]);
        let noted = call.survival.reopened.first().expect("noted");
        assert_eq!((noted.ts, noted.ended), (T0 + 70_000, None));
    }

    #[test]
    fn a_rescue_names_who_was_lost_and_who_goes_on() {
        let call = call([
            invite().with(Field::Owner, "one"),
            ev(9, Kind::Rescued).with(Field::Newowner, "two"),
        ]);
        let noted = Rescue {
            ts: T0 + 9,
            from: Some("one"),
            to: Some("two"),
        };
        assert_eq!(call.survival.rescued, [noted]);
        assert_eq!(call.owner, Some("two"));
    }
}
