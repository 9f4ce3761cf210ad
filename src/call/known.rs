//! All that is known of one call: the fold of its events, part by part, in one pass.
//!
//! The parts do not know each other; where one needs what another found (who won, when it ended), it is handed over
//! here, once, at the end of the pass. Built on demand from a call's set, for its record and for queries; what the
//! store keeps in RAM is [`Life`] alone.

use super::bindings::Bindings;
use super::completeness::Completeness;
use super::ending::{End, Ending};
use super::forks::Forks;
use super::holds::Holds;
use super::legs::Legs;
use super::life::Life;
use super::links::Links;
use super::media::Media;
use super::recording::Recording;
use super::routing::Routing;
use super::survival::{Known, Survival};
use super::text::Text;
use crate::event::{Class, Corrupt, Event, EventSet, Field, Head, Kind};

/// What is known of a call. Borrowed from the events it was folded from.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its identity.
    pub head: Head<'a>,
    /// How far it is, and when what happened.
    pub life: Life,
    /// Who calls whom.
    pub legs: Legs<'a>,
    /// What routing did.
    pub routing: Routing<'a>,
    /// Who was rung.
    pub forks: Forks<'a>,
    /// Who held whom.
    pub holds: Holds,
    /// Other calls it has to do with.
    pub links: Links<'a>,
    /// Its labels.
    pub bindings: Bindings<'a>,
    /// Where its media went.
    pub media: Media<'a>,
    /// Its recording.
    pub recording: Recording<'a>,
    /// How it ended; `None` while it goes on.
    pub end: Option<End<'a>>,
    /// What it outlived.
    pub survival: Survival<'a>,
    /// How much of it is known.
    pub completeness: Completeness<'a>,
    /// Who serves it, as callstore packs it.
    pub owner: Option<&'a str>,
    conversed: bool,
}

/// The durations of a call, ms. `None` where a fact is missing. Never negative: times that contradict each other give 0,
/// and [`Completeness::clock_stepped`] says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// From the INVITE to the answer.
    pub setup_ms: Option<i64>,
    /// From the first ringing to the answer, or to the end without one.
    pub ring_ms: Option<i64>,
    /// From the answer to the end.
    pub talk_ms: Option<i64>,
    /// Of the talk, how long any side was on hold.
    pub hold_ms: Option<i64>,
    /// From the INVITE to the end.
    pub total_ms: Option<i64>,
}

impl<'a> Call<'a> {
    /// Folds the events of one call, which come in the order of (time, rank, id).
    pub fn fold(head: Head<'a>, events: impl Iterator<Item = Event<'a>>) -> Call<'a> {
        let (mut call, mut ending) = (Call::unknown(head), Ending::default());
        for event in events {
            call.note(&event, &mut ending);
        }
        call.settle(&ending);
        call
    }

    /// Folds a set of events, which lie in order.
    ///
    /// # Errors
    /// The set is corrupt.
    pub fn fold_set(head: Head<'a>, set: &'a EventSet) -> Result<Call<'a>, Corrupt> {
        let (mut call, mut ending) = (Call::unknown(head), Ending::default());
        set.visit(|event| call.note(event, &mut ending))?;
        call.settle(&ending);
        Ok(call)
    }

    fn unknown(head: Head<'a>) -> Call<'a> {
        Call {
            head,
            life: Life::default(),
            legs: Legs::default(),
            routing: Routing::default(),
            forks: Forks::default(),
            holds: Holds::default(),
            links: Links::default(),
            bindings: Bindings::default(),
            media: Media::default(),
            recording: Recording::default(),
            end: None,
            survival: Survival::default(),
            completeness: Completeness::default(),
            owner: None,
            conversed: false,
        }
    }

    fn note(&mut self, event: &Event<'a>, ending: &mut Ending<'a>) {
        let known = Known {
            marks: self.life.marks,
            dead_ts: self.life.dead_ts,
        };
        self.life.apply(event, self.head.acallid);
        self.survival
            .apply(event, known, self.life.marks, self.owner);
        self.note_owner(event);
        ending.apply(event);
        self.completeness.apply(event);
        self.recording.apply(event);
        if event.kind.class() == Class::CallEvents {
            self.add(event);
        }
    }

    fn add(&mut self, event: &Event<'a>) {
        self.legs.apply(event);
        self.routing.apply(event);
        self.forks.apply(event);
        self.holds.apply(event, self.head.acallid);
        self.links.apply(event);
        self.bindings.apply(event);
        self.media.apply(event);
    }

    fn note_owner(&mut self, event: &Event<'a>) {
        let field = match event.kind {
            Kind::Rescued => Field::Newowner,
            _ => Field::Owner,
        };
        self.owner = event.str(field).or(self.owner);
    }

    fn settle(&mut self, ending: &Ending<'a>) {
        self.end = ending.end(&self.life);
        self.conversed = ending.conversed(&self.life);
        let end_ts = self.end_ts();
        self.forks.settle(self.answer(), end_ts);
        self.holds.settle(end_ts);
        self.legs.settle(self.forks.speaker());
        self.completeness.settle(self.head.invitets);
    }

    /// The caller's domain.
    pub fn domain(&self) -> Option<&'a str> {
        self.legs.a.domain.and_then(Text::as_str)
    }

    /// When the INVITE came, ms since 1970 UTC.
    pub fn begin(&self) -> Option<i64> {
        self.head.invitets
    }

    /// When the callee answered, ms since 1970 UTC.
    pub fn answer(&self) -> Option<i64> {
        (self.life.answer_ts != 0).then_some(self.life.answer_ts)
    }

    /// When the call ended, ms since 1970 UTC.
    pub fn end_ts(&self) -> Option<i64> {
        self.end.and_then(|end| end.ts)
    }

    /// Whether there was a conversation, also where the event of its start was lost.
    pub fn has_conversed(&self) -> bool {
        self.conversed
    }

    /// The durations, as far as their facts are known.
    pub fn durations(&self) -> Durations {
        let span = |from: Option<i64>, to: Option<i64>| Some(to?.saturating_sub(from?).max(0));
        let ringing = (self.life.ringing_ts != 0).then_some(self.life.ringing_ts);
        let (answer, end) = (self.answer(), self.end_ts());
        Durations {
            setup_ms: span(self.begin(), answer),
            ring_ms: span(ringing, answer.or(end)),
            talk_ms: span(answer, end),
            hold_ms: match (answer, end) {
                (Some(answer), Some(end)) => Some(self.holds.total_ms(answer, end)),
                _ => None,
            },
            total_ms: span(self.begin(), end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn answered<'a>() -> Vec<Event<'a>> {
        vec![
            invite(),
            ev(7, Kind::DlgInit).with(Field::Dialogid, "d1"),
            ev(7, Kind::DlgCall).with(Field::Dialogid, "d1"),
            ev(8, Kind::ForkStart).fork("f1"),
            dlg_start(2_008, "f1"),
            dlg_end(62_008, "bye", "a"),
            dlg_stop(65_008, "bye", "a"),
        ]
    }

    #[test]
    fn an_answered_call_has_all_durations() {
        let d = call(answered()).durations();
        let whole = Durations {
            setup_ms: Some(2_008),
            ring_ms: Some(2_001),
            talk_ms: Some(60_000),
            hold_ms: Some(0),
            total_ms: Some(62_008),
        };
        assert_eq!(d, whole);
    }

    #[test]
    fn an_unanswered_call_rings_to_its_end_and_never_talks() {
        let mut events = answered();
        events.remove(4);
        let d = call(events).durations();
        assert_eq!(
            (d.ring_ms, d.talk_ms, d.hold_ms),
            (Some(62_001), None, None)
        );
    }

    #[test]
    fn durations_without_their_facts_are_unknown() {
        let lost = call_of(Head::default(), [dlg_end(10, "bye", "a")]);
        assert_eq!(lost.durations(), Durations::default());
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let straight = call(answered());
        let mut reversed = answered();
        reversed.reverse();
        let reversed = call(reversed);
        assert_eq!(straight.legs, reversed.legs);
        assert_eq!(straight.end, reversed.end);
        assert_eq!(straight.durations(), reversed.durations());
        assert_eq!(straight.forks.all(), reversed.forks.all());
    }

    #[test]
    fn the_owner_is_the_last_that_was_named() {
        let call = call([
            ev(0, Kind::Invite).with(Field::Owner, "one"),
            ev(5, Kind::Owner).with(Field::Owner, "two"),
            ev(9, Kind::Rescued).with(Field::Newowner, "three"),
        ]);
        assert_eq!(call.owner, Some("three"));
    }
}
