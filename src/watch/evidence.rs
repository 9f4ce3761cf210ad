//! Evidence: what can be seen of an owner, a dialog or its media, as the store is told it. What is kept of it, is
//! [`super::seen`].

/// What a probe of a dialog answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its owner serves it.
    Alive,
    /// Its owner does not know it.
    Gone,
    /// No answer, or none that says anything.
    Unknown,
}

/// What media a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream<'a> {
    /// That of a dialog.
    Dialog(&'a str),
    /// That of a media context.
    Context(&'a str),
}

/// What was seen. Owners as they stand in events; a dialog by its `dialogid`, a call without one by its `cid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence<'a> {
    /// An owner ended, or cannot be reached (`noconnection`).
    OwnerDown {
        /// The owner.
        owner: &'a str,
        /// Why, as its monitor said.
        reason: &'a str,
    },
    /// An owner is there.
    OwnerUp {
        /// The owner.
        owner: &'a str,
    },
    /// A node is down, or cannot be reached.
    NodeDown {
        /// The node.
        node: &'a str,
    },
    /// A node is there again.
    NodeUp {
        /// The node.
        node: &'a str,
    },
    /// A dialog was asked for.
    Probe {
        /// The dialog.
        dialog: &'a str,
        /// What was answered.
        answer: Answer,
    },
    /// All dialogs that an owner serves. `None`: it could not be said.
    Inventory {
        /// The owner.
        owner: &'a str,
        /// Its dialogs.
        dialogs: Option<Vec<&'a str>>,
    },
    /// Whether RTP flows, and when the last came.
    Rtp {
        /// Of which dialog or context.
        stream: Stream<'a>,
        /// The last packet, ms since 1970 UTC.
        last_ms: i64,
        /// Whether it flows.
        active: bool,
    },
}
