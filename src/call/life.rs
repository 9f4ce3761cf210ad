//! The part of a call's state that is kept in RAM for every call: how far it is, when what happened, what it waits for.
//!
//! Folded event by event in order of (time, rank, id); an event that sorts last is applied in place. Everything else
//! that is known of a call is folded from its events when somebody asks ([`super::Call`]).

pub use super::state::{STATES, Side, State};
use crate::event::{Class, Event, Field, Kind};

macro_rules! marks {
    ($( $(#[$doc:meta])* $name:ident = $bit:literal; )*) => {
        /// What has been seen of a call, one bit each.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Marks(u32);

        impl Marks {
            $( $(#[$doc])* pub const $name: Marks = Marks(1 << $bit); )*
        }

        // No bit stands for two marks: their sum is what all of them together are.
        const _: () = assert!(0 $( + (1u32 << $bit) )* == 0 $( | (1u32 << $bit) )*);
    };
}

marks! {
    /// `invite`.
    INVITE = 0;
    /// Any event of routing.
    ROUTED = 1;
    /// A dialog exists.
    DIALOG = 2;
    /// A device rings or rang.
    RINGING = 3;
    /// The callee answered.
    ANSWERED = 4;
    /// A holds B.
    HELD_BY_A = 5;
    /// B holds A.
    HELD_BY_B = 6;
    /// `dlg_end`.
    END = 7;
    /// `dlg_stop`.
    STOP = 8;
    /// `dlg_dead`, not refuted since.
    DEAD = 9;
    /// Routing ended in an error.
    ROUTE_FIN = 10;
    /// The caller gave up.
    CANCEL = 11;
    /// `call_stop`.
    CALL_STOP = 12;
    /// Closed by a deadline.
    DEADLINE = 13;
    /// A recording was asked for.
    RECORDING = 14;
    /// The links of the recording came.
    LINKS = 15;
    /// The dialog was declared dead by callstore.
    SYNTHETIC = 17;
    /// An attempt to have the recording mixed failed.
    MIX_FAILED = 18;
    /// The mixer took the recording of a dead dialog.
    MIX_ACCEPTED = 19;
    /// The newest revision was issued by two instances that did not know of each other.
    CONTESTED = 20;
    /// Callstore said what it says only of calls that are over: a sink has the record, or a mix was asked for.
    AFTERWORD = 21;
    /// `dlg_dead` was said, by whomever and whatever came after it.
    DLG_DEAD = 22;
}

impl Marks {
    /// Whether any of these marks is set.
    pub const fn any(self, marks: Marks) -> bool {
        self.0 & marks.0 != 0
    }
    /// Both together.
    pub const fn with(self, marks: Marks) -> Marks {
        Marks(self.0 | marks.0)
    }
    fn set(&mut self, marks: Marks) {
        self.0 |= marks.0;
    }
    fn clear(&mut self, marks: Marks) {
        self.0 &= !marks.0;
    }
}

/// The folded state of one call. Times are ms since 1970 UTC, 0 where the fact is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// What has been seen.
    pub marks: Marks,
    /// Time of the first event.
    pub first_ts: i64,
    /// Time of the last event that the platform said.
    pub last_ts: i64,
    /// When ringing began.
    pub ringing_ts: i64,
    /// When the callee answered: the first `dlg_start`.
    pub answer_ts: i64,
    /// When the dialog, or the call without one, ended: of several ends the first.
    pub end_ts: i64,
    /// When `dlg_dead` says that it ended.
    pub dead_ts: i64,
    /// Number of facts: events that a record folds.
    pub facts: u32,
    /// Sum over the identities of the facts: equal sets, equal sums.
    pub sum: u64,
    /// The newest issued revision of the record, 0 if none was.
    pub revision: u32,
    /// What the newest revision folded: the number of facts.
    pub issued_facts: u32,
    /// What the newest revision folded: the sum over the facts.
    pub issued_sum: u64,
}

impl Life {
    /// Adds one event that sorts after all that were added before.
    pub fn apply(&mut self, event: &Event<'_>, acallid: Option<&str>) {
        if self.first_ts == 0 {
            self.first_ts = event.ts;
        }
        match event.kind {
            Kind::Record => self.note_issue(event),
            Kind::Accepted | Kind::Mix => self.marks.set(Marks::AFTERWORD),
            _ => {}
        }
        if !is_fact(event.kind) || event.kind == Kind::Mix && !self.note_mix(event) {
            return;
        }
        self.facts += 1;
        self.sum = self.sum.wrapping_add(weight(&event.id));
        if event.kind.class() == Class::CallEvents {
            self.last_ts = self.last_ts.max(event.ts);
        }
        self.advance(event, acallid);
    }

    fn advance(&mut self, event: &Event<'_>, acallid: Option<&str>) {
        let marks = &mut self.marks;
        if event.get(Field::Dialogid).is_some() {
            marks.set(Marks::DIALOG);
        }
        match event.kind {
            Kind::Invite => marks.set(Marks::INVITE),
            Kind::Route | Kind::RouteFeature | Kind::RouteReferred => {
                marks.set(Marks::ROUTED);
                self.revive();
            }
            Kind::RouteFin => {
                marks.set(Marks::ROUTED.with(Marks::ROUTE_FIN));
                self.end_at(event.ts);
            }
            Kind::DlgInit => {
                marks.set(Marks::DIALOG);
                self.revive();
            }
            Kind::DlgCall | Kind::ForkStart => {
                marks.set(Marks::DIALOG.with(Marks::RINGING));
                if self.ringing_ts == 0 {
                    self.ringing_ts = event.ts;
                }
                self.revive();
            }
            // A 200 that crosses the CANCEL before it does not answer the call.
            Kind::DlgStart if marks.any(Marks::CANCEL) => {}
            Kind::DlgStart => {
                marks.set(Marks::DIALOG.with(Marks::ANSWERED));
                if self.answer_ts == 0 {
                    self.answer_ts = event.ts;
                }
                self.revive();
            }
            Kind::Hold | Kind::Unhold => {
                let mark = match Side::holding(event, acallid) {
                    Side::A => Marks::HELD_BY_A,
                    Side::B => Marks::HELD_BY_B,
                };
                if event.kind == Kind::Hold {
                    marks.set(mark);
                } else {
                    marks.clear(mark);
                }
                self.revive();
            }
            Kind::Refer | Kind::ReferAborted | Kind::MediaMigrate | Kind::Rescued => self.revive(),
            Kind::DlgPickup | Kind::ForkAnswer => self.revive(),
            Kind::RecInfo if event.flag(Field::Isrec) == Some(true) => marks.set(Marks::RECORDING),
            // A CANCEL that crosses the 200 before it comes too late.
            Kind::CallCancel if marks.any(Marks::ANSWERED) => {}
            Kind::CallCancel => {
                marks.set(Marks::CANCEL);
                self.end_at(event.ts);
            }
            Kind::DlgEnd | Kind::DlgStop => {
                marks.clear(Marks::DEADLINE);
                marks.set(if event.kind == Kind::DlgEnd {
                    Marks::END
                } else {
                    Marks::STOP
                });
                if event.flag(Field::IsRec) == Some(true) {
                    marks.set(Marks::RECORDING);
                }
                self.end_at(event.ts);
            }
            Kind::DlgDead => {
                marks.set(Marks::DEAD.with(Marks::DLG_DEAD));
                self.dead_ts = event.ts;
            }
            Kind::CallStop => {
                marks.set(Marks::CALL_STOP);
                self.end_at(event.ts);
            }
            Kind::CallRecLinks | Kind::RecordsMoved => marks.set(Marks::LINKS),
            Kind::CallClosed => marks.set(Marks::DEADLINE),
            Kind::Verdict => self.judge(event),
            _ => {}
        }
    }

    /// Whether the call has ended in order, which nothing that comes later in it refutes.
    fn has_ended(&self) -> bool {
        self.marks.any(Marks::END.with(Marks::STOP))
    }

    fn end_at(&mut self, ts: i64) {
        if self.end_ts == 0 {
            self.end_ts = ts;
        }
    }

    /// A call that goes on was not dead, and not closed for its age.
    fn revive(&mut self) {
        if self.marks.any(Marks::DEAD) && !self.has_ended() {
            self.marks.clear(Marks::DEAD.with(Marks::SYNTHETIC));
            // What was recorded since then is to be mixed, too.
            self.marks
                .clear(Marks::MIX_FAILED.with(Marks::MIX_ACCEPTED));
            self.dead_ts = 0;
        }
        if self.marks.any(Marks::DEADLINE) && !self.knows_end() {
            self.marks.clear(Marks::DEADLINE);
        }
    }

    /// A verdict that something is dead holds also where it is not the first, and where there is no dialog.
    fn judge(&mut self, event: &Event<'_>) {
        match event.str(Field::State) {
            Some("dead") => {
                self.marks.set(Marks::SYNTHETIC.with(Marks::DEAD));
                if self.dead_ts == 0 {
                    self.dead_ts = event.int(Field::Lastproof).unwrap_or(event.ts);
                }
            }
            Some("alive") => self.revive(),
            _ => {}
        }
    }

    /// Whether this word about the mix is a fact of the call: that it failed, the first time, and that it was taken after
    /// that. Anything else changes nothing in the record.
    fn note_mix(&mut self, event: &Event<'_>) -> bool {
        let known = self.marks;
        match event.str(Field::State) {
            Some("failed" | "refused") => self.marks.set(Marks::MIX_FAILED),
            Some("accepted") => self.marks.set(Marks::MIX_ACCEPTED),
            _ => {}
        }
        let is_new = |mark| self.marks.any(mark) && !known.any(mark);
        is_new(Marks::MIX_FAILED)
            || is_new(Marks::MIX_ACCEPTED) && self.marks.any(Marks::MIX_FAILED)
    }

    fn note_issue(&mut self, event: &Event<'_>) {
        let revision = event.int(Field::Revision).unwrap_or(0);
        let revision = u32::try_from(revision).unwrap_or(0);
        if revision > self.revision {
            self.marks.clear(Marks::CONTESTED);
        } else if revision == self.revision {
            self.marks.set(Marks::CONTESTED);
        }
        if revision >= self.revision {
            self.revision = revision;
            self.issued_facts = event
                .int(Field::Facts)
                .and_then(|facts| u32::try_from(facts).ok())
                .unwrap_or(0);
            self.issued_sum = event.int(Field::Sum).unwrap_or(0) as u64;
        }
    }

    /// Whether facts are missing that a record has folded, or that came before the last words about a call: the log was
    /// trimmed, so the call is over, every sink has its record, and nobody needs what is left of it.
    pub fn is_trimmed(&self) -> bool {
        self.facts < self.issued_facts || self.last_ts == 0 && self.marks.any(Marks::AFTERWORD)
    }

    /// How far the call is.
    pub fn state(&self) -> State {
        let marks = self.marks;
        if self.is_trimmed() {
            return match marks.any(Marks::DEAD) && !self.has_ended() {
                true => State::Dead,
                false => State::Closed,
            };
        }
        if marks.any(Marks::STOP) || (marks.any(Marks::ROUTE_FIN) && !marks.any(Marks::DIALOG)) {
            return State::Closed;
        }
        if self.knows_end() {
            return match () {
                () if marks.any(Marks::DEAD) => State::Dead,
                () if self.awaits_stop() => State::Ended,
                () => State::Closed,
            };
        }
        if marks.any(Marks::DEAD) {
            return State::Dead;
        }
        if marks.any(Marks::DEADLINE) {
            return State::Closed;
        }
        match () {
            () if marks.any(Marks::HELD_BY_A.with(Marks::HELD_BY_B))
                && marks.any(Marks::ANSWERED) =>
            {
                State::Held
            }
            () if marks.any(Marks::ANSWERED) => State::Confirmed,
            () if marks.any(Marks::RINGING) => State::Early,
            () if marks.any(Marks::DIALOG) => State::Calling,
            () if marks.any(Marks::ROUTED) => State::Routing,
            () => State::Initiated,
        }
    }

    /// Whether the end is known and the last word about it, `dlg_stop`, is still to come. What comes only after the end,
    /// such as the links of the recording, tells of it, too.
    pub fn awaits_stop(&self) -> bool {
        self.knows_end()
            && !self.is_trimmed()
            && !self.marks.any(Marks::STOP.with(Marks::DEADLINE))
            && (self.marks.any(Marks::DIALOG) || !self.marks.any(Marks::CALL_STOP))
    }

    /// Whether anything was said that is only said of a call that ended in order.
    fn knows_end(&self) -> bool {
        let marks = self.marks;
        marks.any(Marks::END.with(Marks::CANCEL).with(Marks::CALL_STOP))
            || marks.any(Marks::LINKS) && !marks.any(Marks::DEAD)
    }

    /// Whether a revision of the record is to be issued: the call is over, nothing more is awaited, and what is known
    /// of it is not what the newest revision folded. Of a call whose log was trimmed there is nothing new.
    pub fn is_due(&self) -> bool {
        self.state().is_over() && !self.awaits_stop() && !self.is_issued() && !self.is_trimmed()
    }

    /// Whether the newest revision folds all that is known, and has one content: of two sides of a net split each may
    /// have issued its own.
    pub fn is_issued(&self) -> bool {
        self.revision > 0
            && self.issued_facts == self.facts
            && self.issued_sum == self.sum
            && !self.marks.any(Marks::CONTESTED)
    }
}

/// Whether a record folds events of this kind. What is only about records and watching is no fact of the call.
pub fn is_fact(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Record | Kind::Accepted | Kind::Evidence | Kind::Owner
    )
}

/// What one fact adds to the sum over a set. Sums of equal sets are equal in any order.
fn weight(id: &[u8; 16]) -> u64 {
    let (high, low) = id.split_at(8);
    let number = |half: &[u8]| {
        half.iter()
            .fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
    };
    let mixed = (number(high) ^ number(low).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}
