//! Looks at calls that are over: whether one that was declared dead lives after all, went on for longer than was
//! known, or has a recording that is to be mixed.
//!
//! Of a dialog that was declared dead its owner is asked some times more, with growing pauses and for a limited time; a
//! mass death does not make that more than so many questions a second. Always holds: what was said in order is not
//! doubted. Only [`Store::tick`] looks. Must never: keep a call from being forgotten
//! for anything but its recording.

use super::Store;
use super::deaths::{Decision, Told};
use super::entry::Entry;
use super::keys::Slot;
use super::looks::Look;
use super::tick::{Probe, Tick};
use crate::call::{Marks, State};
use crate::watch::{Limits, Seen};

/// All questions about the dead are counted together.
const OF_ALL: &str = "";
/// So many of them in a second.
const QUESTIONS_PER_S: i64 = 200;

impl Entry {
    /// Whether anything may still come of a call that is over.
    pub(super) fn is_looked_back_at(&self) -> bool {
        self.state == State::Dead || self.wants_mix()
    }

    /// Whether it was callstore that declared it dead, and nobody said how it ended.
    fn is_presumed_dead(&self) -> bool {
        let marks = self.life.marks;
        self.state == State::Dead
            && marks.any(Marks::SYNTHETIC)
            && !marks.any(Marks::END.with(Marks::STOP))
    }
}

impl Store {
    /// When a call that is over, of which nothing was seen, is to be looked at.
    pub(super) fn back_deadline(&self, entry: &Entry) -> i64 {
        let limits = &self.settings.limits;
        let asks = entry.is_presumed_dead()
            && limits.probe_ms > 0
            && self.now_ms < entry.since_ms + limits.dead_probe_ms;
        let again_ms = match asks {
            true => self.now_ms.max(entry.since_ms + limits.probe_ms),
            false => i64::MAX,
        };
        self.mix_deadline(entry).min(again_ms)
    }

    /// Looks at a call that is over.
    pub(super) fn look_back(&mut self, slot: Slot, tick: &mut Tick) -> Look {
        let Some(entry) = self.calls.get(slot as usize).and_then(Option::as_deref) else {
            return Look::At(i64::MAX);
        };
        if !entry.is_looked_back_at() {
            self.watching.seen.remove(&slot);
            return Look::At(i64::MAX);
        }
        let mut seen = self.watching.seen.remove(&slot).unwrap_or_default();
        let told = Told::of(entry);
        let limits = &self.settings.limits;
        let flows_until_ms = seen
            .media
            .filter(|media| media.flows(self.now_ms, limits))
            .map(|media| media.told_ms + limits.rtp_suspect_ms);
        let heard_ms = seen.media.map_or(0, |media| media.last_ms);
        let decision = |reason, lastproof, evidence| Decision {
            reason,
            evidence,
            lastproof,
            now_ms: self.now_ms,
        };
        let presumed = entry.is_presumed_dead();
        let look = if presumed && seen.alive_ms >= told.detected_ms.max(1) {
            let evidence = seen.to_json(None);
            let found = decision("found_alive", seen.alive_ms, &evidence);
            Look::Decided(Box::new(found.lives(entry, &told)))
        } else if presumed && heard_ms > told.proof_ts && flows_until_ms.is_none() {
            // The conversation went on for longer than was known.
            let evidence = seen.to_json(None);
            let amended = decision("media_stopped", heard_ms, &evidence);
            Look::Decided(Box::new(amended.died(entry, &told)))
        } else {
            let mix_ms = self.look_for_mix(entry, &mut seen, &told, flows_until_ms, tick);
            let mut again_ms = mix_ms.min(flows_until_ms.unwrap_or(i64::MAX));
            if presumed {
                let questions = &mut self.watching.questions;
                let appoint = || questions.appoint(OF_ALL, self.now_ms, QUESTIONS_PER_S, false);
                let asked = ask_again(&mut seen, &told, self.now_ms, limits, appoint, tick);
                again_ms = again_ms.min(asked);
            }
            Look::At(again_ms)
        };
        self.keep(slot, seen, &look);
        look
    }
}

/// Asks for a dialog that was declared dead, if it is time for that: each pause is twice as long as the one before. It
/// begins anew, and at once, when the node is back that the owner was lost with. Returns when it is time again.
fn ask_again(
    seen: &mut Seen,
    told: &Told<'_>,
    now_ms: i64,
    limits: &Limits,
    appoint: impl FnOnce() -> i64,
    tick: &mut Tick,
) -> i64 {
    let is_back = seen.node_back_ms > told.detected_ms;
    let from_ms = told.detected_ms.max(seen.node_back_ms);
    let until_ms = from_ms + limits.dead_probe_ms;
    let (Some(dialog), true) = (told.dialog, limits.probe_ms > 0) else {
        return i64::MAX;
    };
    let is_answered = seen.gone.last_ms > from_ms;
    let lasts_ms = seen.asked_ms - from_ms;
    let due_ms = match (lasts_ms, is_back) {
        (1.., _) | (0, true) => seen.asked_ms + lasts_ms.max(limits.probe_ms),
        (_, true) => from_ms,
        (_, false) => from_ms + limits.probe_ms,
    };
    if is_answered || due_ms > until_ms || now_ms > until_ms {
        return i64::MAX;
    }
    if due_ms > now_ms {
        return due_ms;
    }
    if seen.appointment_ms < from_ms || seen.appointment_ms == told.detected_ms {
        seen.appointment_ms = appoint();
    }
    if seen.appointment_ms > now_ms {
        return match seen.appointment_ms > until_ms {
            true => i64::MAX,
            false => seen.appointment_ms,
        };
    }
    (seen.asked_ms, seen.appointment_ms) = (now_ms, 0);
    tick.probe.push(Probe {
        dialog: dialog.to_owned(),
        owner: told.owner.map(str::to_owned),
    });
    now_ms + (now_ms - from_ms).max(limits.probe_ms)
}
