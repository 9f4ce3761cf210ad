//! Deadlines: what is due at a moment costs nothing until then, however many wait.
//!
//! A calendar of buckets. Nothing is ever taken out early: who is told that its time has come asks itself whether that
//! is still so.

use std::collections::BTreeMap;

use super::keys::Slot;

/// The width of a bucket: a deadline is told at most this much late, never early.
const BUCKET_MS: i64 = 64;

/// Slots by time.
#[derive(Debug, Default)]
pub struct Calendar {
    buckets: BTreeMap<i64, Vec<Slot>>,
    len: usize,
}

impl Calendar {
    /// Notes a slot for a moment.
    pub fn note(&mut self, at_ms: i64, slot: Slot) {
        let bucket = at_ms.div_euclid(BUCKET_MS) + 1;
        self.buckets.entry(bucket).or_default().push(slot);
        self.len += 1;
    }

    /// The slots of a bucket whose time has come, the earliest first.
    pub fn pop(&mut self, now_ms: i64) -> Option<Vec<Slot>> {
        let first = self.buckets.first_entry()?;
        if *first.key() * BUCKET_MS > now_ms {
            return None;
        }
        let slots = first.remove();
        self.len -= slots.len();
        Some(slots)
    }

    /// When the next bucket's time comes.
    pub fn next_ms(&self) -> Option<i64> {
        self.buckets
            .first_key_value()
            .map(|(bucket, _)| bucket * BUCKET_MS)
    }

    /// Bytes on the heap, by estimate.
    pub fn heap_bytes(&self) -> usize {
        self.len * 6 + self.buckets.len() * 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_told_early_and_all_in_order() {
        let mut calendar = Calendar::default();
        for (slot, at) in [(1, 1000), (2, 10), (3, 1000), (4, 5000)] {
            calendar.note(at, slot);
        }
        assert_eq!(calendar.pop(9), None);
        assert_eq!(calendar.pop(2000), Some(vec![2]));
        assert_eq!(calendar.pop(2000), Some(vec![1, 3]));
        assert_eq!(calendar.pop(2000), None);
        assert!(
            calendar
                .next_ms()
                .is_some_and(|at| (5000..5000 + 2 * BUCKET_MS).contains(&at))
        );
    }
}
