//! Who held whom, when.
//!
//! Each side holds for itself, so intervals of the two sides may overlap; those of one side never do. What is open when
//! the call ends is closed there. Time on hold counts what is covered by any side, once, and only in conversation.

use super::life::Side;
use crate::event::{Event, Kind};

/// A side held the other. Times are ms since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The side that held.
    pub side: Side,
    /// Since when.
    pub from: i64,
    /// Until when; `None` while it lasts, and where the call ended before it began (a clock stepped back).
    pub to: Option<i64>,
}

/// All intervals of a call, in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    holds: Vec<Hold>,
    /// Place of the open interval of A and of B.
    open: [Option<usize>; 2],
}

impl Holds {
    /// Adds one event of the platform.
    pub fn apply(&mut self, event: &Event<'_>, acallid: Option<&str>) {
        if !matches!(event.kind, Kind::Hold | Kind::Unhold) {
            return;
        }
        let side = Side::holding(event, acallid);
        let open = match side {
            Side::A => &mut self.open[0],
            Side::B => &mut self.open[1],
        };
        match (event.kind, *open) {
            (Kind::Hold, None) => {
                *open = Some(self.holds.len());
                self.holds.push(Hold {
                    side,
                    from: event.ts,
                    to: None,
                });
            }
            (Kind::Unhold, Some(at)) => {
                *open = None;
                if let Some(hold) = self.holds.get_mut(at) {
                    hold.to = Some(event.ts);
                }
            }
            _ => {}
        }
    }

    /// Closes what is open at the end of the call.
    pub fn settle(&mut self, end: Option<i64>) {
        for at in self.open.iter_mut().filter_map(Option::take) {
            if let Some(hold) = self.holds.get_mut(at) {
                hold.to = end.filter(|&end| end >= hold.from);
            }
        }
    }

    /// All intervals, in the order in which they began.
    pub fn all(&self) -> &[Hold] {
        &self.holds
    }

    /// Time on hold between two moments, ms: what several sides held at once counts once.
    pub fn total_ms(&self, from: i64, to: i64) -> i64 {
        let mut covered = from;
        let mut total = 0;
        for hold in &self.holds {
            let begin = hold.from.max(covered);
            let end = hold.to.unwrap_or(to).min(to);
            if end > begin {
                total += end - begin;
                covered = end;
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::event::Field;

    fn hold(after: i64, by: &str) -> Event<'_> {
        ev(after, Kind::Hold)
            .with(Field::Xcallid, by)
            .with(Field::Bcallid, "f1")
    }

    fn unhold(after: i64, by: &str) -> Event<'_> {
        Event {
            kind: Kind::Unhold,
            ..hold(after, by)
        }
    }

    fn intervals(call: &crate::call::Call<'_>) -> Vec<(&'static str, i64, Option<i64>)> {
        let after = |ts: i64| ts - T0;
        (call.holds.all().iter())
            .map(|hold| (hold.side.name(), after(hold.from), hold.to.map(after)))
            .collect()
    }

    #[test]
    fn overlapping_holds_are_kept_per_side_and_counted_once() {
        let call = call([
            invite(),
            dlg_start(1_000, "f1"),
            hold(2_000, ACALLID),
            hold(4_000, "f1"),
            unhold(5_000, ACALLID),
            unhold(9_000, "f1"),
            dlg_end(20_000, "bye", "a"),
        ]);
        assert_eq!(
            intervals(&call),
            [("a", 2_000, Some(5_000)), ("b", 4_000, Some(9_000))]
        );
        assert_eq!(call.durations().hold_ms, Some(7_000));
    }

    #[test]
    fn an_open_hold_is_closed_at_the_end() {
        let call = call([
            invite(),
            dlg_start(1_000, "f1"),
            hold(2_000, "f1"),
            dlg_end(6_000, "bye", "b"),
            dlg_stop(9_000, "bye", "b"),
        ]);
        assert_eq!(intervals(&call), [("b", 2_000, Some(6_000))]);
        assert_eq!(call.durations().hold_ms, Some(4_000));
    }

    #[test]
    fn a_hold_within_another_adds_nothing() {
        let holds = [
            dlg_start(0, "f1"),
            hold(1_000, ACALLID),
            hold(2_000, "f1"),
            unhold(3_000, "f1"),
            hold(3_500, "f1"),
            unhold(4_000, "f1"),
            unhold(8_000, ACALLID),
            dlg_end(9_000, "bye", "a"),
        ];
        assert_eq!(call(holds).durations().hold_ms, Some(7_000));
    }

    #[test]
    fn a_repeated_hold_and_a_lone_unhold_change_nothing() {
        let call = call([
            dlg_start(0, "f1"),
            unhold(500, "f1"),
            hold(1_000, "f1"),
            hold(1_500, "f1"),
            unhold(2_000, "f1"),
        ]);
        assert_eq!(intervals(&call), [("b", 1_000, Some(2_000))]);
    }

    #[test]
    fn only_time_in_conversation_counts() {
        let call = call([
            hold(0, ACALLID),
            dlg_start(1_000, "f1"),
            dlg_end(3_000, "bye", "a"),
            unhold(7_000, ACALLID),
        ]);
        assert_eq!(call.durations().hold_ms, Some(2_000));
    }

    #[test]
    fn a_hold_after_the_end_has_no_negative_length() {
        let call = call([
            dlg_start(0, "f1"),
            dlg_end(1_000, "bye", "a"),
            hold(5_000, "f1"),
        ]);
        assert_eq!(intervals(&call), [("b", 5_000, None)]);
        assert_eq!(call.durations().hold_ms, Some(0));
    }

    #[test]
    fn a_live_call_shows_the_hold_that_lasts() {
        let call = call([dlg_start(0, "f1"), hold(1_000, "f1")]);
        assert_eq!(intervals(&call), [("b", 1_000, None)]);
        assert_eq!(call.durations().hold_ms, None);
    }
}
