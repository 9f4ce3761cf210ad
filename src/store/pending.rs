//! A record on its way to a sink, as it was issued.

use crate::event::EventId;

/// A record that a sink has not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The call.
    pub cid: EventId,
    /// The revision.
    pub revision: u32,
    /// The domains of the legs, the caller's first.
    pub domains: Vec<String>,
    /// When the call ended.
    pub end_ts: i64,
    /// The record, JSON.
    pub record: Vec<u8>,
    /// The row of the projection, JSON, where the call has one.
    pub projection: Option<Vec<u8>>,
}

impl Pending {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let projection = self.projection.as_ref().map_or(0, Vec::capacity);
        size_of::<Pending>() + 64 * self.domains.len() + self.record.capacity() + projection
    }
}
