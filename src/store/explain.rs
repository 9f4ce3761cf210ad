//! Why a call is as it is: its events in order, what each changed, where its record is, and how it stands or was
//! judged.

use super::Store;
use super::deaths::dlg_dead_id;
use crate::call::{Life, State};
use crate::event::{Class, Event, EventId, Field, Kind};
use crate::watch::words;

impl Store {
    /// One line an event: when, what, who said it, which state it led to; then where the record is.
    pub fn explain(&self, cid: EventId) -> Option<Vec<String>> {
        let entry = self.slot_of(cid).and_then(|slot| self.entry(slot))?;
        let acallid = entry.head().acallid;
        let mut events: Vec<_> = entry.set.iter().ok()?.flatten().collect();
        events.sort_by_key(|event| event.key());
        let mut life = Life::default();
        let mut lines = Vec::with_capacity(events.len() + 2);
        for event in &events {
            let before = (life != Life::default()).then(|| life.state());
            life.apply(event, acallid);
            let state = life.state();
            let change = match before {
                Some(before) if before == state => String::new(),
                Some(before) => format!(": {} → {}", before.name(), state.name()),
                None => format!(": {}", state.name()),
            };
            let by = match (event.kind.class(), event.str(Field::Producer)) {
                (Class::CallStore, _) => "callstore".to_owned(),
                _ if is_own_death(event) => "callstore".to_owned(),
                (Class::CallEvents, Some(producer)) => producer.to_owned(),
                (Class::CallEvents, None) => "platform".to_owned(),
            };
            let mut line = format!("{} {} by {by}{change}", moment(event.ts), event.type_name());
            for field in EXPLAINED {
                if let Some(value) = event.text(field) {
                    line.push_str(&format!(" {}={value}", field.name()));
                }
            }
            let decided = matches!(event.kind, Kind::Verdict | Kind::CallClosed);
            if let Some(words) = event.str(Field::Reason).filter(|_| decided).and_then(words) {
                line.push_str(&format!(" ({words})"));
            }
            lines.push(line);
        }
        lines.push(format!(
            "{} events, {} of them facts",
            events.len(),
            entry.life.facts
        ));
        lines.push(self.where_is_the_record(entry));
        if let Some((judged, evidence)) = self.judged(cid) {
            let verdict = match entry.state {
                State::Closed => entry.state.name(),
                _ => judged.verdict.name(),
            };
            let (words, reason) = (judged.words, judged.reason);
            lines.push(format!("watch: {verdict}, {words} ({reason}) {evidence}"));
        }
        Some(lines)
    }

    fn where_is_the_record(&self, entry: &super::Entry) -> String {
        let life = &entry.life;
        if life.revision == 0 {
            return match life.is_due() {
                true => "record: about to be issued".to_owned(),
                false if entry.state.is_over() => "record: none is made".to_owned(),
                false => "record: none yet, the call lives".to_owned(),
            };
        }
        let sinks = self
            .settings
            .sinks
            .iter()
            .enumerate()
            .map(|(number, name)| match entry.accepted(number) {
                0 => format!("{name} has none"),
                revision => format!("{name} has revision {revision}"),
            });
        let sinks = sinks.collect::<Vec<_>>().join(", ");
        let next = if life.is_issued() {
            ""
        } else {
            ", the next is due"
        };
        format!("record: revision {} issued{next}; {sinks}", life.revision)
    }
}

/// Whether callstore completed the events of the dialog with this one.
fn is_own_death(event: &Event<'_>) -> bool {
    let dialog = event.str(Field::Dialogid).unwrap_or_default();
    event.kind == Kind::DlgDead && event.id == dlg_dead_id(dialog)
}

/// What of an event's fields says why.
const EXPLAINED: [Field; 12] = [
    Field::Stopreason,
    Field::Stopside,
    Field::Sipcode,
    Field::Reason,
    Field::State,
    Field::Evidence,
    Field::Revision,
    Field::Sink,
    Field::Cid,
    Field::Lastproof,
    Field::Attempt,
    Field::Newowner,
];

/// A moment as people read it: UTC, ms.
fn moment(ts: i64) -> String {
    let (days, ms) = (ts.div_euclid(86_400_000), ts.rem_euclid(86_400_000));
    // Days to a date: H. Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
    let (second, milli) = (ms / 1000 % 60, ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn moments_read_as_dates() {
        assert_eq!(super::moment(1_795_378_165_279), "2026-11-22T20:09:25.279Z");
        assert_eq!(super::moment(951_782_400_000), "2000-02-29T00:00:00.000Z");
    }
}
