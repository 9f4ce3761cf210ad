//! What a moment brought: decisions for the log, and what others are to be asked or told. Data only.
//!
//! Filled by the looks ([`super::looks`], [`super::mixing`]), given out by [`super::Store::tick`].

use crate::event::EventId;
use crate::watch::brakes::MassDeath;

/// What a moment brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Decisions, for the log.
    pub chunks: Vec<Vec<u8>>,
    /// When to ask next, ms; `None` when nothing waits.
    pub next_ms: Option<i64>,
    /// Dialogs whose owners are to be asked whether they live.
    pub probe: Vec<Probe>,
    /// Recordings of dead dialogs that the mixer is to be given.
    pub mix: Vec<MixJob>,
    /// Conversations that may be restored before they are declared dead.
    pub rescue: Vec<Rescue>,
    /// Owners of calls of which another was named than before, or that live again: to be monitored.
    pub owners: Vec<String>,
    /// Mass deaths that began or grew.
    pub alarms: Vec<MassDeath>,
}

/// A dialog whose owner is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The dialog; of a call that has none, its `cid`.
    pub dialog: String,
    /// Its owner, where one was named.
    pub owner: Option<String>,
}

/// A conversation whose owner is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescue {
    /// The call.
    pub cid: EventId,
    /// Its dialog.
    pub dialog: String,
    /// The owner that was lost.
    pub owner: Option<String>,
    /// When it is declared dead without a rescue.
    pub until_ms: i64,
}

/// A recording for the mixer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixJob {
    /// The call.
    pub cid: EventId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// JSON, as [`super::mix_job`] lays it out.
    pub job: String,
}
