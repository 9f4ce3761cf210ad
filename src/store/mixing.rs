//! The recordings of dialogs that nobody serves any more: no `dlg_stop` will ask for their mix, so callstore does. A
//! dialog whose end was said and whose `dlg_stop` never came is one of them.
//!
//! A job is given out when RTP has stopped on the media context, or a limit has passed; again with growing pauses until
//! the log says that the mixer took it. Each attempt is an event, so a new active instance goes on where the last one
//! was. Always holds: nothing is asked for once the mixer took it or the links came. Must never: speak to the mixer.

use super::Store;
use super::deaths::Told;
use super::entry::Entry;
use super::outbox::{chunks, said};
use super::tick::{MixJob, Tick};
use crate::call::{Marks, State};
use crate::event::{EventId, Field, Kind, Value};
use crate::watch::Seen;

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixState {
    /// The mixer is about to be asked.
    Asked,
    /// It took the job.
    Accepted,
    /// It did not.
    Failed,
}

impl MixState {
    /// The name in the event.
    pub const fn name(self) -> &'static str {
        match self {
            MixState::Asked => "asked",
            MixState::Accepted => "accepted",
            MixState::Failed => "failed",
        }
    }
}

impl Entry {
    /// Whether the recording of a dialog that is dead, or that ended without its last word, is to be mixed.
    pub(super) fn wants_mix(&self) -> bool {
        let done = Marks::LINKS.with(Marks::MIX_ACCEPTED).with(Marks::STOP);
        let is_left = match self.state {
            State::Dead => !self.awaits_stop,
            State::Closed => self.life.marks.any(Marks::DEADLINE),
            _ => false,
        };
        is_left && self.life.marks.any(Marks::RECORDING) && !self.life.marks.any(done)
    }
}

impl Store {
    /// When a call that is over, of which nothing was seen, is to be looked at for its recording.
    pub(super) fn mix_deadline(&self, entry: &Entry) -> i64 {
        match entry.wants_mix() && self.settings.limits.mix_retry_ms > 0 {
            true => self.now_ms,
            false => i64::MAX,
        }
    }

    /// Gives the recording out if it is time for that. Returns when it is to be looked at again.
    pub(super) fn look_for_mix(
        &self,
        entry: &Entry,
        seen: &mut Seen,
        told: &Told<'_>,
        flows_until_ms: Option<i64>,
        tick: &mut Tick,
    ) -> i64 {
        let (now_ms, limits) = (self.now_ms, &self.settings.limits);
        if self.mix_deadline(entry) == i64::MAX {
            return i64::MAX;
        }
        let (attempts, last_ms) = told.mix;
        let stopped_ms = match (seen.media, flows_until_ms) {
            (_, Some(until_ms)) => until_ms.min(told.died_ms() + limits.mix_wait_ms),
            (Some(_), None) => now_ms,
            // Nobody said anything of its RTP: somebody still may.
            (None, None) => {
                let awaited_ms = told.died_ms() + limits.rtp_suspect_ms;
                awaited_ms.max(self.watching.media_awaited_ms)
            }
        };
        let asked_ms = last_ms.max(seen.mix_ms);
        let again_ms = match attempts.max(u32::from(seen.mix_ms > 0)) {
            0 => stopped_ms,
            attempts => stopped_ms.max(asked_ms + self.pause_ms(attempts)),
        };
        if again_ms > now_ms {
            return again_ms;
        }
        seen.mix_ms = now_ms;
        let attempt = attempts + 1;
        tick.mix
            .extend(super::mix_job::write(entry).map(|job| MixJob {
                cid: entry.cid,
                attempt,
                job,
            }));
        now_ms + self.pause_ms(attempt)
    }

    /// The pause after so many attempts.
    fn pause_ms(&self, attempts: u32) -> i64 {
        let limits = &self.settings.limits;
        let doublings = attempts.saturating_sub(1).min(32);
        limits
            .mix_retry_ms
            .saturating_mul(1 << doublings)
            .min(limits.mix_retry_max_ms.max(limits.mix_retry_ms))
    }
}

/// What became of an attempt to have a recording mixed, as chunks for the log.
pub fn mixed(cid: EventId, state: MixState, attempt: u32, now_ms: i64) -> Vec<Vec<u8>> {
    let fields = [
        (Field::State, Value::Str(state.name())),
        (Field::Attempt, Value::Int(i64::from(attempt))),
    ];
    let name = format!("mix:{}:{attempt}", state.name());
    chunks(&[said(cid, Kind::Mix, now_ms, &name, &fields)])
}
