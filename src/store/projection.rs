//! The rows of the projection on their way: a row goes to a sink once, and again only when a revision says another one.
//!
//! The projection is a history without numbers of revisions: a row that comes twice is a conversation that is counted
//! twice. So the event that issues a revision carries the identity of its row, and a revision whose row is the one that
//! the sink had with the revision before goes out without it.

use super::entry::Entry;
use super::pending::Pending;
use super::{Settings, Store};
use crate::call::Call;
use crate::event::head::derived_id;
use crate::event::{EventId, Field, Kind, Value};
use crate::record::{self, JsonOut};

/// The identity of a row by its content.
fn row_id(row: &[u8]) -> EventId {
    derived_id(row)
}

impl Settings {
    /// The row of a call as it is now; none where there was no conversation, or no projection is made.
    pub(super) fn row(&self, call: &Call<'_>) -> Option<Vec<u8>> {
        let mut out = JsonOut::default();
        let has_row = self.sorm3_enabled && record::copm3::write(call, &mut out);
        has_row.then(|| out.into_bytes())
    }
}

impl Store {
    /// What the event that issues a revision of the call says of its row.
    pub(super) fn row_said(&self, entry: &Entry) -> Option<Value<'static>> {
        if !self.settings.sorm3_enabled {
            return None;
        }
        let row = self.settings.row(&entry.call()?)?;
        Some(Value::Uuid(row_id(&row)))
    }
}

impl Entry {
    /// Takes the row out of what goes to a sink, if the sink has it.
    pub(super) fn without_known_row(&self, mut pending: Pending, sink: usize) -> Pending {
        let row = pending.projection.as_deref().map(row_id);
        if row.is_some() && row == self.row_before(pending.revision, sink) {
            pending.projection = None;
        }
        pending
    }

    /// The row that a sink has with the revision before this one: of one that is still on its way, or else of the one it
    /// accepted last.
    fn row_before(&self, revision: u32, sink: usize) -> Option<EventId> {
        let on_their_way = self.overtaken.iter().filter(|it| it.revision < revision);
        if let Some(before) = on_their_way.max_by_key(|it| it.revision) {
            return before.projection.as_deref().map(row_id);
        }
        let accepted = self.accepted(sink);
        let mut row = None;
        let visited = self.set.visit_kind(Kind::Record, |event| {
            let is_it = event.int(Field::Revision) == Some(i64::from(accepted))
                && !self.is_of_other_record(event);
            if let (true, Some(Value::Uuid(id))) = (is_it, event.get(Field::Row)) {
                row = Some(id);
            }
        });
        visited.ok().and(row)
    }
}
