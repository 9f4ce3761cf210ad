//! Log size follows live calls, not history: what can be deleted, and what is to be copied forward so that more can.

use super::Store;
use crate::event::chunk;

/// A log below this size is left alone.
const SMALL_LOG_BYTES: u64 = 4 << 20;
/// The log may be this much larger than what is kept in RAM before live calls are copied out of old rows.
const SLACK: u64 = 2;

/// What is to be done to the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trim {
    /// Rows that nobody needs, oldest first. To delete one again does no harm.
    pub delete: Vec<Vec<u8>>,
    /// Complete copies of calls that stand in old rows; when they come back through the log, these rows are free.
    pub forward: Vec<Vec<u8>>,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of the calls that are kept.
    pub kept_bytes: u64,
}

impl Store {
    /// What is to be done to the log now; copies at most about `max_bytes`.
    pub fn trim(&mut self, max_bytes: usize) -> Trim {
        let delete: Vec<Vec<u8>> = self
            .rows
            .deletable()
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect();
        let (log_bytes, kept_bytes) = (self.rows.bytes(), self.entry_bytes as u64);
        let large = log_bytes > SMALL_LOG_BYTES + SLACK * kept_bytes;
        let forward = if large && delete.is_empty() {
            self.forward(max_bytes)
        } else {
            Vec::new()
        };
        Trim {
            delete,
            forward,
            log_bytes,
            kept_bytes,
        }
    }

    /// The calls that stand in the older half of the log, those in the oldest rows first.
    fn forward(&mut self, max_bytes: usize) -> Vec<Vec<u8>> {
        let half = self.rows.len().div_ceil(2);
        let mut sets = Vec::new();
        let (mut bytes, mut chunks) = (0, Vec::new());
        let mut gathered = 0;
        let old = |entry: &&super::Entry| entry.rows.iter().any(|&row| self.rows.is_old(row, half));
        for entry in self.entries().filter(old) {
            if gathered >= max_bytes {
                break;
            }
            gathered += entry.set.written_bytes();
            bytes += entry.set.written_bytes();
            sets.push(&entry.set);
            if bytes > chunk::MAX_BYTES / 2 {
                chunks.push(chunk::write_complete(sets.drain(..)));
                bytes = 0;
            }
        }
        if !sets.is_empty() {
            chunks.push(chunk::write_complete(sets));
        }
        chunks
    }

    /// Rows were deleted from the log.
    pub fn drop_rows<'k>(&mut self, keys: impl IntoIterator<Item = &'k [u8]>) {
        for key in keys {
            self.rows.drop_row(key);
        }
    }
}
