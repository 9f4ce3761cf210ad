//! The vocabulary of events: every type that can be said about a call, in one table.
//!
//! The code of a kind is written to logs and wires: codes are never reused and never change. The rank orders
//! events of one call that carry the same time. Parsers, the fold, documentation and tests read this table.

/// Who says it: the platform (`callevents`) or this product (`callstore`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Said by the platform about a call.
    CallEvents,
    /// Said by callstore: what it decided or did.
    CallStore,
}

impl Class {
    /// The name in the envelope.
    pub const fn name(self) -> &'static str {
        match self {
            Class::CallEvents => "callevents",
            Class::CallStore => "callstore",
        }
    }
}

/// One row of the table of kinds.
#[derive(Clone, Copy, Debug)]
pub struct KindRow {
    /// The kind.
    pub kind: Kind,
    /// Its name in the envelope.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// Its place among events of the same millisecond.
    pub rank: u8,
}

macro_rules! kinds {
    ($( $(#[$doc:meta])* $kind:ident = $code:literal, $name:literal, $class:ident, $rank:literal; )*) => {
        /// What an event says. `Unknown` keeps its name with the event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind {
            /// A type that this version does not know; kept with the call.
            Unknown = 0,
            $( $(#[$doc])* $kind = $code, )*
        }

        /// All known kinds, in the order of their stages.
        pub const KINDS: &[KindRow] = &[
            $( KindRow { kind: Kind::$kind, name: $name, class: Class::$class, rank: $rank }, )*
        ];

        impl Kind {
            /// The kind with this code; `Unknown` for a code of a later version.
            pub const fn from_code(code: u8) -> Kind {
                match code { $( $code => Kind::$kind, )* _ => Kind::Unknown }
            }
            /// The name in the envelope; empty for `Unknown`, whose name is with the event.
            pub const fn name(self) -> &'static str {
                match self { $( Kind::$kind => $name, )* Kind::Unknown => "" }
            }
            /// The class that says it.
            pub const fn class(self) -> Class {
                match self { $( Kind::$kind => Class::$class, )* Kind::Unknown => Class::CallEvents }
            }
            /// The place among events of the same millisecond: the stage of the call's life, then the cause before
            /// its effect.
            pub const fn rank(self) -> u8 {
                match self { $( Kind::$kind => $rank, )* Kind::Unknown => 50 }
            }
        }
    };
}

kinds! {
    /// INVITE accepted for processing.
    Invite = 1, "invite", CallEvents, 10;
    /// The call results from a transfer.
    RouteReferred = 2, "route_referred", CallEvents, 19;
    /// A routing rule ran.
    Route = 3, "route", CallEvents, 20;
    /// A feature code ran.
    RouteFeature = 4, "route_feature", CallEvents, 21;
    /// Routing ended in an error; the call ends here with no dialog.
    RouteFin = 5, "route_fin", CallEvents, 29;
    /// Dialog created, before ringing.
    DlgInit = 6, "dlg_init", CallEvents, 30;
    /// Ringing begins.
    DlgCall = 7, "dlg_call", CallEvents, 31;
    /// A fork starts to ring.
    ForkStart = 8, "fork_start", CallEvents, 32;
    /// A fork got its final 4xx–6xx.
    ForkStop = 9, "fork_stop", CallEvents, 34;
    /// A fork was cancelled.
    ForkCancel = 10, "fork_cancel", CallEvents, 35;
    /// The device answered 3xx.
    ForkRedirect = 11, "fork_redirect", CallEvents, 36;
    /// Forwarding rule of the callee after failure.
    UserRedirect = 12, "user_redirect", CallEvents, 37;
    /// Interception by another subscriber, before `dlg_start`.
    DlgPickup = 13, "dlg_pickup", CallEvents, 38;
    /// A fork answered.
    ForkAnswer = 14, "fork_answer", CallEvents, 39;
    /// Callee answered: conversation.
    DlgStart = 15, "dlg_start", CallEvents, 40;
    /// Recording rule applied, once per domain.
    RecInfo = 16, "rec_info", CallEvents, 41;
    /// A label attached to or removed from the call.
    DlgBinding = 17, "dlg_binding", CallEvents, 42;
    /// A side put the other on hold.
    Hold = 18, "hold", CallEvents, 43;
    /// A side took the other off hold.
    Unhold = 19, "unhold", CallEvents, 44;
    /// Media gateway lost, call moved to another.
    MediaMigrate = 20, "media_migrate", CallEvents, 45;
    /// Transfer started by a side.
    Refer = 21, "refer", CallEvents, 46;
    /// Transfer failed, dialog goes on.
    ReferAborted = 22, "refer_aborted", CallEvents, 47;
    /// In the transferring dialog: the resulting call was processed.
    ReferringInvite = 23, "referring_invite", CallEvents, 48;
    /// In the dialog being substituted, attended transfer by REFER.
    ReplacesRefer = 24, "replaces_refer", CallEvents, 49;
    /// In the dialog being substituted, attended transfer by INVITE.
    ReplacesInvite = 25, "replaces_invite", CallEvents, 49;
    /// The caller gave up.
    CallCancel = 26, "call_cancel", CallEvents, 60;
    /// The dialog ended.
    DlgEnd = 27, "dlg_end", CallEvents, 61;
    /// The dialog ended unscheduled.
    DlgDead = 28, "dlg_dead", CallEvents, 62;
    /// Three seconds after `dlg_end`, with more about it.
    DlgStop = 29, "dlg_stop", CallEvents, 63;
    /// End of the call.
    CallStop = 30, "call_stop", CallEvents, 64;
    /// The recording was mixed.
    CallRecLinks = 31, "call_rec_links", CallEvents, 70;
    /// The recording was moved.
    RecordsMoved = 32, "records_moved", CallEvents, 71;

    /// Closed by a deadline: `reason` says which fact never came.
    CallClosed = 128, "call_closed", CallStore, 80;
    /// A revision of the record was issued, as the fold of the facts counted and summed here.
    Record = 129, "record", CallStore, 81;
    /// A sink accepted a revision.
    Accepted = 130, "accepted", CallStore, 82;
    /// The verdict on a dialog and the evidence it rests on.
    Verdict = 131, "verdict", CallStore, 62;
    /// What was seen of an owner, a dialog or its media.
    Evidence = 132, "evidence", CallStore, 51;
    /// The mix of the recording was asked for, or the mixer accepted or refused it.
    Mix = 133, "mix", CallStore, 83;
    /// The conversation was restored under another owner.
    Rescued = 134, "rescued", CallStore, 52;
    /// The owner of the dialog, said apart from any event of the platform.
    Owner = 135, "owner", CallStore, 11;
}

impl Kind {
    /// The code in logs and on wires.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind of the platform with this name; `None` for names that are not of class `callevents`.
    pub fn of_platform(name: &str) -> Option<Kind> {
        use std::sync::LazyLock;
        type Names = std::collections::HashMap<&'static str, Kind, foldhash::fast::FixedState>;
        static NAMES: LazyLock<Names> = LazyLock::new(|| {
            KINDS
                .iter()
                .filter(|row| row.class == Class::CallEvents)
                .map(|row| (row.name, row.kind))
                .collect()
        });
        NAMES.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_are_unique_and_lead_back_to_their_kind() {
        for row in KINDS {
            assert_eq!(Kind::from_code(row.kind.code()), row.kind);
            assert_eq!(KINDS.iter().filter(|r| r.name == row.name).count(), 1);
            let found = Kind::of_platform(row.name);
            assert_eq!(found.is_some(), row.class == Class::CallEvents);
        }
    }
}
