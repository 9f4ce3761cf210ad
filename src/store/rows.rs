//! The rows of the log and how many kept calls have events in each: what can be deleted, and from where.
//!
//! Rows are deleted oldest first only. So a call whose later events are gone has lost the earlier ones before, and what
//! is left of it after a restart cannot look alive.

use std::collections::{HashMap, VecDeque};

/// The number of a row, ascending, wrapping.
pub type RowNo = u32;

#[derive(Debug)]
struct Row {
    key: Box<[u8]>,
    calls: u32,
    bytes: u32,
    gone: bool,
}

/// All rows that have been folded and not been deleted.
#[derive(Debug, Default)]
pub struct Rows {
    first: RowNo,
    rows: VecDeque<Row>,
    numbers: HashMap<Box<[u8]>, RowNo, foldhash::fast::FixedState>,
    bytes: u64,
}

impl Rows {
    /// The number of a row, which is added where it is new; its size grows by `bytes`.
    pub fn number(&mut self, key: &[u8], bytes: usize) -> RowNo {
        self.bytes += bytes as u64;
        if let Some(&number) = self.numbers.get(key) {
            if let Some(row) = self.get_mut(number) {
                row.bytes += bytes as u32;
            }
            return number;
        }
        let number = self.first.wrapping_add(self.rows.len() as RowNo);
        self.numbers.insert(key.into(), number);
        self.rows.push_back(Row {
            key: key.into(),
            calls: 0,
            bytes: bytes as u32,
            gone: false,
        });
        number
    }

    fn get_mut(&mut self, number: RowNo) -> Option<&mut Row> {
        self.rows.get_mut(number.wrapping_sub(self.first) as usize)
    }

    /// One more call has events in a row.
    pub fn hold(&mut self, number: RowNo) {
        if let Some(row) = self.get_mut(number) {
            row.calls += 1;
        }
    }

    /// A call needs its events in a row no longer.
    pub fn release(&mut self, number: RowNo) {
        if let Some(row) = self.get_mut(number) {
            row.calls = row.calls.saturating_sub(1);
        }
    }

    /// A row was deleted from the log.
    pub fn drop_row(&mut self, key: &[u8]) {
        if let Some(number) = self.numbers.remove(key)
            && let Some(row) = self.get_mut(number)
        {
            row.gone = true;
            let bytes = u64::from(row.bytes);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        while self.rows.front().is_some_and(|row| row.gone) {
            self.rows.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// The keys of the oldest rows that nobody needs, up to the first that somebody does.
    pub fn deletable(&self) -> Vec<&[u8]> {
        let free = self
            .rows
            .iter()
            .take_while(|row| row.gone || row.calls == 0);
        free.filter(|row| !row.gone)
            .map(|row| row.key.as_ref())
            .collect()
    }

    /// Whether a row is among the oldest `share` of the log's rows, by number.
    pub fn is_old(&self, number: RowNo, share: usize) -> bool {
        (number.wrapping_sub(self.first) as usize) < share
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of all rows in the log.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes on the heap, by estimate.
    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.numbers.capacity() * 26
            + self.numbers.len() * 2 * 40
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_deleted_oldest_first() {
        let mut rows = Rows::default();
        let numbers: Vec<RowNo> = (0..4u8).map(|key| rows.number(&[key], 10)).collect();
        rows.hold(numbers[1]);
        assert_eq!(rows.deletable(), [&[0u8][..]]);
        rows.release(numbers[1]);
        rows.hold(numbers[3]);
        assert_eq!(rows.deletable().len(), 3);
        for key in 0..3u8 {
            rows.drop_row(&[key]);
        }
        assert_eq!((rows.len(), rows.bytes()), (1, 10));
        assert_eq!(rows.number(&[3], 5), numbers[3]);
        assert!(rows.deletable().is_empty());
    }
}
