//! How far a call is, and the sides of its dialog: the words, no rules but who holds whom.

use crate::event::{Event, Field};

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// The INVITE was accepted.
    Initiated,
    /// A routing rule ran.
    Routing,
    /// There is a dialog, nobody rings yet.
    Calling,
    /// A device rings.
    Early,
    /// Conversation.
    Confirmed,
    /// Conversation, a side is on hold.
    Held,
    /// The end is known, more about it is awaited.
    Ended,
    /// Closed, because nobody served it any more.
    Dead,
    /// Closed.
    Closed,
}

/// All states in order.
pub const STATES: [State; 9] = [
    State::Initiated,
    State::Routing,
    State::Calling,
    State::Early,
    State::Confirmed,
    State::Held,
    State::Ended,
    State::Dead,
    State::Closed,
];

impl State {
    /// The name in queries and answers.
    pub const fn name(self) -> &'static str {
        match self {
            State::Initiated => "initiated",
            State::Routing => "routing",
            State::Calling => "calling",
            State::Early => "early",
            State::Confirmed => "confirmed",
            State::Held => "held",
            State::Ended => "ended",
            State::Dead => "dead",
            State::Closed => "closed",
        }
    }

    /// The state with this name.
    pub fn of_name(name: &str) -> Option<State> {
        STATES.into_iter().find(|state| state.name() == name)
    }

    /// Whether the call has left the live set.
    pub const fn is_over(self) -> bool {
        matches!(self, State::Dead | State::Closed)
    }
}

/// A side of the dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller's.
    A,
    /// The callee's.
    B,
}

impl Side {
    /// `a` or `b`.
    pub const fn name(self) -> &'static str {
        match self {
            Side::A => "a",
            Side::B => "b",
        }
    }

    /// The side of this name, in either case.
    pub fn of_name(name: &str) -> Option<Side> {
        match name {
            "a" | "A" => Some(Side::A),
            "b" | "B" => Some(Side::B),
            _ => None,
        }
    }

    /// The side that put the other on hold: the one whose Call-ID the event names in `xcallid`.
    pub fn holding(event: &Event<'_>, acallid: Option<&str>) -> Side {
        let by = event.str(Field::Xcallid);
        if by.is_some() && by == event.str(Field::Bcallid) {
            return Side::B;
        }
        if by.is_some() && by == acallid {
            return Side::A;
        }
        event
            .str(Field::Side)
            .and_then(Side::of_name)
            .unwrap_or(if by.is_some() { Side::B } else { Side::A })
    }
}
