//! The forks of a call: every attempt to ring a device of the callee, and which of them won.
//!
//! A fork is known by its Call-ID and found by it in constant time, since a hunt group of hours has thousands. The
//! winner is decided at the end of the fold, when it is known which leg the dialog was made of. Forks that nobody
//! closed are closed there too: losers when the winner answered, all others with the call.

use hashbrown::HashMap;

use super::text::Text;
use crate::event::{Event, Field, Kind};

/// One attempt to ring one device. Times are ms since 1970 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fork<'a> {
    /// URI of the device.
    pub uri: Option<Text<'a>>,
    /// Where the request went to.
    pub requesturi: Option<Text<'a>>,
    /// Call-ID of the fork's leg.
    pub callid: Option<Text<'a>>,
    /// Number that is rung.
    pub callednum: Option<Text<'a>>,
    /// `in` to a subscriber, `out` through a trunk.
    pub dir: Option<Text<'a>>,
    /// Account of the trunk.
    pub account: Option<Text<'a>>,
    /// Subscriber that is rung.
    pub subscriberid: Option<Text<'a>>,
    /// When it began to ring.
    pub start: Option<i64>,
    /// When it answered.
    pub answer: Option<i64>,
    /// When it was over.
    pub end: Option<i64>,
    /// Its final SIP status code.
    pub sipcode: Option<i64>,
    /// Why it was over.
    pub reason: Option<Text<'a>>,
    /// Whether the dialog is made of it.
    pub won: bool,
    /// Whether it belongs to a subscriber who intercepted the call.
    pub pickup: bool,
}

impl<'a> Fork<'a> {
    /// Whether it leads out of the platform; `None` where its direction is not stated.
    pub fn is_outer(&self) -> Option<bool> {
        match self.dir?.as_str()? {
            "out" => Some(true),
            "in" => Some(false),
            _ => None,
        }
    }

    fn describe(&mut self, event: &Event<'a>) {
        let fields = [
            (&mut self.uri, Field::Forkremoteuri),
            (&mut self.requesturi, Field::Forkrequesturi),
            (&mut self.callednum, Field::Forkcallednum),
            (&mut self.dir, Field::Forkdir),
            (&mut self.account, Field::Account),
            (&mut self.subscriberid, Field::Subscriberid),
        ];
        for (place, field) in fields {
            if place.is_none() {
                *place = Text::field(event, field);
            }
        }
    }

    fn close(&mut self, ts: i64) {
        if self.end.is_none() && self.start.or(self.answer).is_none_or(|start| start <= ts) {
            self.end = Some(ts);
        }
    }
}

/// All forks of a call, in the order in which they began.
#[derive(Clone, Debug, Default)]
pub struct Forks<'a> {
    forks: Vec<Fork<'a>>,
    by_callid: HashMap<Text<'a>, usize>,
    /// Call-ID of the leg that the first `dlg_start` names.
    answered_by: Option<Text<'a>>,
    winner: Option<usize>,
}

impl<'a> Forks<'a> {
    /// Adds one event of the platform.
    pub fn apply(&mut self, event: &Event<'a>) {
        match event.kind {
            Kind::ForkStart => {
                let fork = self.of(event);
                fork.start = fork.start.or(Some(event.ts));
            }
            Kind::ForkAnswer => {
                let fork = self.of(event);
                fork.answer = fork.answer.or(Some(event.ts));
            }
            Kind::DlgPickup => {
                let fork = self.of(event);
                fork.start = fork.start.or(Some(event.ts));
                fork.pickup = true;
            }
            Kind::ForkStop | Kind::ForkCancel => {
                let fork = self.of(event);
                fork.close(event.ts);
                fork.sipcode = fork.sipcode.or_else(|| event.int(Field::Sipcode));
                fork.reason = fork.reason.or_else(|| Text::field(event, Field::Reason));
            }
            Kind::ForkRedirect => {
                if let Some(fork) = self.redirected(event) {
                    fork.close(event.ts);
                    let reason = Text::field(event, Field::Redirectreason);
                    fork.sipcode = fork.sipcode.or_else(|| event.int(Field::Sipcode));
                    fork.reason = fork.reason.or(reason);
                }
            }
            Kind::DlgStart => self.answered(event),
            _ => {}
        }
    }

    /// The first dialog names the winner; a second one that crossed it notes that its fork answered too.
    fn answered(&mut self, event: &Event<'a>) {
        let Some(callid) = Text::field(event, Field::Bcallid) else {
            return;
        };
        self.answered_by = self.answered_by.or(Some(callid));
        let at = self.by_callid.get(&callid);
        if let Some(fork) = at.and_then(|&at| self.forks.get_mut(at)) {
            fork.answer = fork.answer.or(Some(event.ts));
        }
    }

    /// The fork that an event speaks of; a new one if it is the first to do so.
    fn of(&mut self, event: &Event<'a>) -> &mut Fork<'a> {
        let callid = Text::field(event, Field::Forkcallid);
        let next = self.forks.len();
        let at = match callid {
            Some(callid) => *self.by_callid.entry(callid).or_insert(next),
            None => next,
        };
        if at == next {
            self.forks.push(Fork {
                callid,
                ..Fork::default()
            });
        }
        let fork = &mut self.forks[at];
        fork.describe(event);
        fork
    }

    /// A redirect need not name its fork: then it is the one that rings.
    fn redirected(&mut self, event: &Event<'a>) -> Option<&mut Fork<'a>> {
        if event.get(Field::Forkcallid).is_some() {
            return Some(self.of(event));
        }
        let mut open = self.forks.iter_mut().filter(|fork| fork.end.is_none());
        match (open.next(), open.next()) {
            (Some(fork), None) => Some(fork),
            _ => None,
        }
    }

    /// Decides the winner and closes what is open. `answer` is when the dialog began, `end` when the call was over.
    pub fn settle(&mut self, answer: Option<i64>, end: Option<i64>) {
        if let Some(answer) = answer {
            self.winner = self.choose();
            if let Some(fork) = self.winner.and_then(|at| self.forks.get_mut(at)) {
                fork.won = true;
                fork.answer = fork.answer.or(Some(answer));
            }
        }
        for fork in &mut self.forks {
            let has_lost = self.winner.is_some() && !fork.won && fork.answer.is_none();
            if let Some(answer) = answer.filter(|_| has_lost) {
                fork.close(answer);
            }
            if let Some(end) = end {
                fork.close(end);
            }
        }
    }

    /// The fork that the dialog names; else the interceptor's; else the first that answered; else the only open one.
    fn choose(&self) -> Option<usize> {
        let named = self
            .answered_by
            .and_then(|callid| self.by_callid.get(&callid).copied());
        let open = |fork: &Fork<'_>| fork.end.is_none() && self.answered_by.is_none();
        named
            .or_else(|| self.forks.iter().rposition(|fork| fork.pickup))
            .or_else(|| {
                (self.forks.iter().enumerate())
                    .filter_map(|(at, fork)| fork.answer.map(|answer| (answer, at)))
                    .min()
                    .map(|(_, at)| at)
            })
            .or_else(|| {
                let only = self.forks.iter().filter(|fork| open(fork)).count() == 1;
                only.then(|| self.forks.iter().position(open)).flatten()
            })
    }

    /// All forks, in the order in which they began.
    pub fn all(&self) -> &[Fork<'a>] {
        &self.forks
    }

    /// The fork that won.
    pub fn winner(&self) -> Option<&Fork<'a>> {
        self.winner.and_then(|at| self.forks.get(at))
    }

    /// The fork that speaks for leg B: the winner, or the only one there is.
    pub fn speaker(&self) -> Option<&Fork<'a>> {
        self.winner().or(match self.forks.as_slice() {
            [fork] => Some(fork),
            _ => None,
        })
    }

    /// Whether a fork failed with this SIP status code.
    pub fn failed_with(&self, sipcode: i64) -> bool {
        (self.forks.iter()).any(|fork| !fork.won && fork.sipcode == Some(sipcode))
    }

    /// The final SIP status code of the last fork that failed. A 487 says that the server gave the fork up, not why the
    /// call failed, so any other code goes before it.
    pub fn last_failure(&self) -> Option<i64> {
        let codes = || {
            (self.forks.iter().filter(|fork| !fork.won))
                .filter_map(|fork| Some((fork.end?, fork.sipcode?)))
                .filter(|&(_, code)| code >= 300)
        };
        let last = |own: bool| {
            codes()
                .filter(|&(_, code)| (code == 487) == own)
                .max_by_key(|&(end, _)| end)
        };
        last(false).or_else(|| last(true)).map(|(_, code)| code)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn start(after: i64, callid: &str) -> Event<'_> {
        ev(after, Kind::ForkStart).fork(callid)
    }

    fn stop(after: i64, callid: &str, code: i64) -> Event<'_> {
        ev(after, Kind::ForkStop)
            .fork(callid)
            .with(Field::Sipcode, code)
    }

    fn won(call: &crate::call::Call<'_>) -> Vec<bool> {
        call.forks.all().iter().map(|fork| fork.won).collect()
    }

    #[test]
    fn of_parallel_forks_one_wins_and_all_are_kept() {
        let call = call([
            invite(),
            start(1, "f1"),
            start(1, "f2"),
            start(1, "f3"),
            stop(3, "f1", 486),
            dlg_start(9, "f3"),
            ev(10, Kind::ForkCancel).fork("f2"),
            dlg_end(90, "bye", "a"),
        ]);
        assert_eq!(won(&call), [false, false, true]);
        let ends: Vec<_> = call.forks.all().iter().map(|fork| fork.end).collect();
        assert_eq!(ends, [Some(T0 + 3), Some(T0 + 10), Some(T0 + 90)]);
        assert_eq!(call.forks.all()[2].answer, Some(T0 + 9));
        assert_eq!(call.forks.all()[0].sipcode, Some(486));
    }

    #[test]
    fn of_two_answers_the_first_wins_and_the_other_is_noted() {
        let answer = |after, id| ev(after, Kind::ForkAnswer).fork(id);
        let call = call([
            start(1, "f1"),
            start(1, "f2"),
            answer(8, "f2"),
            answer(9, "f1"),
            ev(9, Kind::DlgStart),
            dlg_end(50, "bye", "b"),
        ]);
        assert_eq!(won(&call), [false, true]);
        assert_eq!(call.forks.all()[0].answer, Some(T0 + 9));
    }

    #[test]
    fn of_two_dialogs_that_cross_the_second_is_an_answer_that_lost() {
        let call = call([
            start(1, "f1"),
            start(1, "f2"),
            dlg_start(8, "f2"),
            dlg_start(9, "f1"),
        ]);
        assert_eq!(won(&call), [false, true]);
        assert_eq!(call.forks.all()[0].answer, Some(T0 + 9));
        assert_eq!(call.legs.bcallid, Some(Text::Str("f2")));
    }

    #[test]
    fn the_leg_that_the_dialog_names_wins_over_an_earlier_answer() {
        let call = call([
            start(1, "f1"),
            start(1, "f2"),
            ev(5, Kind::ForkAnswer).fork("f1"),
            dlg_start(6, "f2"),
        ]);
        assert_eq!(won(&call), [false, true]);
    }

    #[test]
    fn the_interceptor_wins_a_pickup() {
        let call = call([
            start(1, "f1"),
            ev(4, Kind::DlgPickup)
                .fork("pick")
                .with(Field::Forkremoteuri, "sip:33@beta.test"),
            ev(5, Kind::DlgStart).with(Field::Bcallid, "leg-b-of-its-own"),
        ]);
        assert_eq!(won(&call), [false, true]);
        let winner = call.forks.winner().map(|fork| (fork.pickup, fork.uri));
        assert_eq!(winner, Some((true, Some(Text::Str("sip:33@beta.test")))));
        assert_eq!(call.forks.all()[0].end, Some(T0 + 5), "the loser is closed");
    }

    #[test]
    fn open_forks_are_closed_when_the_caller_gives_up_or_the_owner_dies() {
        let cancelled = call([start(1, "f1"), start(2, "f2"), ev(7, Kind::CallCancel)]);
        assert!(cancelled.forks.all().iter().all(|f| f.end == Some(T0 + 7)));
        let [verdict, dead] = death(90, 40);
        let died = call([start(1, "f1"), verdict, dead]);
        assert_eq!(died.forks.all()[0].end, Some(T0 + 40));
        assert_eq!(won(&died), [false]);
    }

    #[test]
    fn a_fork_that_began_after_the_end_has_no_negative_life() {
        let call = call([start(50, "f1"), dlg_end(10, "cancel", "a")]);
        assert_eq!(call.forks.all()[0].end, None);
    }

    #[test]
    fn a_redirect_closes_the_fork_that_rings() {
        let redirect = ev(3, Kind::ForkRedirect).with(Field::Redirectreason, "moved");
        let call = call([start(1, "f1"), redirect, start(4, "f2")]);
        let first = &call.forks.all()[0];
        assert_eq!(
            (first.end, first.reason),
            (Some(T0 + 3), Some(Text::Str("moved")))
        );
        assert_eq!(call.forks.all()[1].end, None);
    }

    #[test]
    fn the_failure_of_a_call_is_the_last_that_the_server_did_not_make_itself() {
        let call = call([
            start(1, "f1"),
            start(1, "f2"),
            start(1, "f3"),
            stop(2, "f1", 404),
            stop(3, "f2", 486),
            stop(4, "f3", 487),
        ]);
        assert_eq!(call.forks.last_failure(), Some(486));
    }

    #[test]
    fn thousands_of_forks_are_found_by_their_call_id() {
        let ids: Vec<String> = (0..20_000).map(|n| format!("f{n}")).collect();
        let starts = ids.iter().map(|id| start(1, id));
        let stops = ids.iter().map(|id| stop(2, id, 480));
        let call = call(starts.chain(stops));
        assert_eq!(call.forks.all().len(), 20_000);
        assert!(call.forks.all().iter().all(|f| f.sipcode == Some(480)));
    }
}
