//! How much of a call is known, and whether its times can be trusted.
//!
//! Events are folded in order of their time, so a clock that was stepped back shows as a call whose stages contradict
//! each other. One second is allowed: the platform may write whole seconds.

use super::life::{Life, Marks};
use super::text::Text;
use crate::event::{Class, Event, Kind};

/// Stages that contradict each other by no more than this are no sign of a stepped clock, ms.
const TOLERANCE_MS: i64 = 1_000;

/// What is known of the completeness of a call.
#[derive(Clone, Debug, Default)]
pub struct Completeness<'a> {
    /// Events of the platform.
    pub events: u32,
    /// Unknown types, sorted, each once.
    pub unknown_types: Vec<Text<'a>>,
    /// Whether the times contradict each other.
    pub clock_stepped: bool,
    first_ts: Option<i64>,
    end_ts: Option<i64>,
    stop_ts: Option<i64>,
}

impl<'a> Completeness<'a> {
    /// Adds one event.
    pub fn apply(&mut self, event: &Event<'a>) {
        if event.kind.class() != Class::CallEvents {
            return;
        }
        self.events += 1;
        match event.kind {
            Kind::Unknown => return self.note_unknown(event),
            // Said elsewhere, by another clock.
            Kind::CallRecLinks | Kind::RecordsMoved | Kind::DlgDead => return,
            Kind::Invite => self.wants(event.ts, self.first_ts),
            Kind::DlgEnd => {
                self.wants(event.ts, self.stop_ts);
                self.end_ts = self.end_ts.or(Some(event.ts));
            }
            Kind::DlgStop => self.stop_ts = self.stop_ts.or(Some(event.ts)),
            kind if is_before_end(kind) => self.wants(event.ts, self.end_ts.or(self.stop_ts)),
            _ => {}
        }
        self.first_ts = self.first_ts.or(Some(event.ts));
    }

    /// Notes a skew if an event that must come later was earlier.
    fn wants(&mut self, ts: i64, later_event: Option<i64>) {
        self.clock_stepped |= later_event.is_some_and(|later| ts - later > TOLERANCE_MS);
    }

    fn note_unknown(&mut self, event: &Event<'a>) {
        let name = Text::Str(event.name);
        if self.unknown_types.last() != Some(&name) {
            self.unknown_types.push(name);
        }
    }

    /// Completes the account at the end of the fold.
    pub fn settle(&mut self, invitets: Option<i64>) {
        self.unknown_types.sort_unstable();
        self.unknown_types.dedup();
        if let (Some(invite), Some(first)) = (invitets, self.first_ts) {
            self.clock_stepped |= invite - first > TOLERANCE_MS;
        }
    }

    /// Whether the beginning is not known: no `invite` was seen.
    pub fn start_lost(&self, life: &Life) -> bool {
        !life.marks.any(Marks::INVITE)
    }

    /// Whether the last word never came: `dlg_stop` of a call with a dialog, any end of a call without one.
    pub fn stop_lost(&self, life: &Life) -> bool {
        let ended_early = !life.marks.any(Marks::DIALOG)
            && (life.marks).any(Marks::ROUTE_FIN.with(Marks::CANCEL).with(Marks::CALL_STOP));
        life.state().is_over() && !life.marks.any(Marks::STOP) && !ended_early
    }
}

/// What a dialog does only while it lasts. Losing forks, labels and results of transfers may come after its end.
const fn is_before_end(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::DlgInit
            | Kind::DlgCall
            | Kind::ForkStart
            | Kind::DlgPickup
            | Kind::DlgStart
            | Kind::Hold
            | Kind::Unhold
            | Kind::MediaMigrate
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::call::Call;

    fn start_lost(call: &Call<'_>) -> bool {
        call.completeness.start_lost(&call.life)
    }

    fn stop_lost(call: &Call<'_>) -> bool {
        call.completeness.stop_lost(&call.life)
    }

    fn closed<'a>() -> Event<'a> {
        ev(9_000, Kind::CallClosed)
    }

    #[test]
    fn a_call_without_invite_has_lost_its_start() {
        assert!(start_lost(&call([dlg_start(5, "f1")])));
        assert!(start_lost(&call([ev(5, Kind::CallRecLinks)])));
        assert!(!start_lost(&call([invite(), dlg_start(5, "f1")])));
    }

    #[test]
    fn a_dialog_closed_without_dlg_stop_has_lost_it() {
        let ended = || [invite(), dlg_start(5, "f1"), dlg_end(60, "bye", "a")];
        assert!(stop_lost(&call(ended().into_iter().chain([closed()]))));
        assert!(!stop_lost(&call(ended())), "it may still come");
        let stopped = ended().into_iter().chain([dlg_stop(99, "bye", "a")]);
        assert!(!stop_lost(&call(stopped)));
    }

    #[test]
    fn a_call_without_dialog_has_lost_its_stop_only_if_nothing_said_its_end() {
        assert!(!stop_lost(&call([invite(), ev(1, Kind::RouteFin)])));
        assert!(stop_lost(&call([invite(), closed()])));
    }

    #[test]
    fn unknown_types_are_counted_and_named_once() {
        let unknown = |after, name| Event {
            name,
            ..ev(after, Kind::Unknown)
        };
        let call = call([
            invite(),
            unknown(1, "zeta"),
            unknown(2, "alpha"),
            unknown(3, "zeta"),
            ev(4, Kind::Evidence),
            ev(5, Kind::Record),
        ]);
        assert_eq!(call.completeness.events, 4);
        let names = &call.completeness.unknown_types;
        assert_eq!(names, &[Text::Str("alpha"), Text::Str("zeta")]);
    }

    #[test]
    fn a_clock_stepped_back_is_noted_and_no_duration_is_negative() {
        let hour = 3_600_000;
        let call = call([
            invite(),
            ev(10, Kind::DlgCall).with(crate::event::Field::Dialogid, "d1"),
            dlg_start(8_000, "f1"),
            dlg_end(60_000 - hour, "bye", "a"),
            dlg_stop(63_000 - hour, "bye", "a"),
        ]);
        assert!(call.completeness.clock_stepped);
        assert!(!start_lost(&call));
        let d = call.durations();
        assert_eq!(
            (d.talk_ms, d.hold_ms, d.total_ms),
            (Some(0), Some(0), Some(0))
        );
        assert_eq!((d.setup_ms, d.ring_ms), (Some(8_000), Some(7_990)));
    }

    #[test]
    fn a_call_in_order_has_no_skew() {
        let call = call([
            invite(),
            dlg_start(8, "f1"),
            dlg_end(60, "bye", "a"),
            ev(61, Kind::ForkStop).fork("f2"),
            dlg_stop(3_060, "bye", "a"),
            ev(2, Kind::CallRecLinks),
        ]);
        assert!(!call.completeness.clock_stepped);
    }

    #[test]
    fn times_in_whole_seconds_are_no_skew() {
        let call = call_of(
            crate::call::Head {
                invitets: Some(T0 + 279),
                ..Default::default()
            },
            [invite(), dlg_start(0, "f1")],
        );
        assert!(!call.completeness.clock_stepped);
    }
}
