//! The texts of a call's events, each once, numbered in order of appearance.
//!
//! ```text
//! in a chunk   count varint │ length varint … │ total varint │ bytes, one text behind the other, UTF-8
//! ```
//!
//! In RAM the same bytes, and beside them of every text its end and 16 bits of its hash, while the set is small.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::Corrupt;
use super::bytes::{Reader, put_varint};

/// From how many texts on they are searched by hash.
const SCAN_LIMIT: usize = 96;

/// The texts of one call, in RAM.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: String,
    ends: Ends,
    hashed: Option<Box<HashTable<u32>>>,
}

#[derive(Clone, Debug)]
enum Ends {
    /// Low half: the end. High half: bits of the hash.
    Narrow(Vec<u32>),
    /// The end.
    Wide(Vec<u32>),
}

impl Default for Ends {
    fn default() -> Self {
        Ends::Narrow(Vec::new())
    }
}

impl Ends {
    fn len(&self) -> usize {
        match self {
            Ends::Narrow(ends) | Ends::Wide(ends) => ends.len(),
        }
    }

    #[inline]
    fn get(&self, number: usize) -> Option<usize> {
        match self {
            Ends::Narrow(ends) => ends.get(number).map(|&end| (end & 0xffff) as usize),
            Ends::Wide(ends) => ends.get(number).map(|&end| end as usize),
        }
    }

    fn push(&mut self, end: usize, hash: u64) {
        match self {
            Ends::Narrow(ends) if end <= 0xffff => {
                if ends.len() == ends.capacity() {
                    ends.reserve_exact(if ends.is_empty() {
                        20
                    } else {
                        8 + ends.len() / 4
                    });
                }
                ends.push(end as u32 | bits(hash));
            }
            Ends::Narrow(ends) => {
                let mut wide: Vec<u32> = ends.iter().map(|&end| end & 0xffff).collect();
                wide.push(end as u32);
                *self = Ends::Wide(wide);
            }
            Ends::Wide(ends) => ends.push(end as u32),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Ends::Narrow(ends) | Ends::Wide(ends) => ends.capacity() * 4,
        }
    }
}

/// The bits of a hash that stand beside an end.
fn bits(hash: u64) -> u32 {
    (hash >> 32) as u32 & 0xffff_0000
}

impl Texts {
    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A text.
    #[inline]
    pub fn get(&self, number: usize) -> Option<&str> {
        let start = match number.checked_sub(1) {
            Some(before) => self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..self.ends.get(number)?)
    }

    /// The number of a text.
    pub fn find(&self, wanted: &str) -> Option<u32> {
        self.find_hashed(wanted, hash(wanted))
    }

    fn find_hashed(&self, wanted: &str, key: u64) -> Option<u32> {
        let is = |number: u32| self.get(number as usize) == Some(wanted);
        match (&self.hashed, &self.ends) {
            (Some(hashed), _) => hashed.find(key, |&number| is(number)).copied(),
            (None, Ends::Narrow(ends)) => scan(ends, bits(key), is),
            (None, Ends::Wide(ends)) => (0..ends.len() as u32).find(|&number| is(number)),
        }
    }

    /// Makes room for a batch's worth of texts at once, where the set does not live long.
    pub(super) fn reserve(&mut self, texts: usize, bytes: usize) {
        self.bytes.reserve(bytes);
        if let Ends::Narrow(ends) = &mut self.ends {
            ends.reserve(texts);
        }
    }

    /// The number of a text, which is added where it is new.
    pub fn intern(&mut self, text: &str) -> u32 {
        let key = hash(text);
        if let Some(number) = self.find_hashed(text, key) {
            return number;
        }
        let number = self.len() as u32;
        let (length, more) = (self.bytes.len(), text.len());
        if length + more > self.bytes.capacity() {
            self.bytes.reserve_exact(step(length, more));
        }
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len(), key);
        if let Some(hashed) = &mut self.hashed {
            let (bytes, ends) = (&self.bytes, &self.ends);
            hashed.insert_unique(key, number, |&number| hash(slice(bytes, ends, number)));
        } else if self.len() > SCAN_LIMIT {
            self.hash_all();
        }
        number
    }

    fn hash_all(&mut self) {
        let mut hashed = HashTable::with_capacity(self.len() * 2);
        let (bytes, ends) = (&self.bytes, &self.ends);
        for number in 0..self.len() as u32 {
            let key = hash(slice(bytes, ends, number));
            hashed.insert_unique(key, number, |&number| hash(slice(bytes, ends, number)));
        }
        self.hashed = Some(Box::new(hashed));
    }

    /// Becomes a copy of the texts of a group.
    pub fn copy_from(&mut self, group: &TextsView<'_>) {
        self.bytes = String::with_capacity(group.iter().map(str::len).sum());
        self.ends = Ends::default();
        for text in group.iter() {
            self.bytes.push_str(text);
            self.ends.push(self.bytes.len(), hash(text));
        }
        self.hashed = None;
        if self.len() > SCAN_LIMIT {
            self.hash_all();
        }
    }

    /// All texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        (0..self.len()).map(move |number| {
            let end = self.ends.get(number).unwrap_or(start);
            let text = self.bytes.get(start..end);
            start = end;
            text.unwrap_or_default()
        })
    }

    /// All texts, for looking them up.
    pub fn view(&self) -> TextsView<'_> {
        TextsView(self.iter().collect())
    }

    /// Appends the texts to a chunk.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, self.len() as u64);
        let mut start = 0;
        for number in 0..self.len() {
            let end = self.ends.get(number).unwrap_or(start);
            put_varint(out, (end - start) as u64);
            start = end;
        }
        put_varint(out, self.bytes.len() as u64);
        out.extend_from_slice(self.bytes.as_bytes());
    }

    /// Bytes that [`Texts::write`] takes, at most.
    pub fn written_bytes(&self) -> usize {
        self.bytes.len() + self.len() * 3 + 8
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let hashed = self
            .hashed
            .as_ref()
            .map_or(0, |table| table.capacity() * 5 + 64);
        self.bytes.capacity() + self.ends.heap_bytes() + hashed
    }
}

/// Texts by number.
pub trait Lookup<'a> {
    /// The text with this number.
    ///
    /// # Errors
    /// There is none.
    fn text(&self, number: usize) -> Result<&'a str, Corrupt>;
}

/// The texts of a call or of a group of a chunk, each where it lies.
#[derive(Clone, Debug)]
pub struct TextsView<'a>(SmallVec<[&'a str; 64]>);

impl<'a> TextsView<'a> {
    /// Reads what [`Texts::write`] wrote.
    ///
    /// # Errors
    /// Anything else.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let count = reader.size()?;
        if count > reader.0.len() {
            return Err(Corrupt::Strings);
        }
        let mut lengths = *reader;
        let mut total = 0usize;
        for _ in 0..count {
            total = total.checked_add(reader.size()?).ok_or(Corrupt::Number)?;
        }
        if u32::try_from(total).is_err() {
            return Err(Corrupt::Number);
        }
        if reader.size()? != total {
            return Err(Corrupt::Strings);
        }
        let bytes = reader.take(total)?;
        let mut rest = std::str::from_utf8(bytes).map_err(|_| Corrupt::Text)?;
        let mut texts = SmallVec::with_capacity(count);
        for _ in 0..count {
            let text;
            (text, rest) = rest
                .split_at_checked(lengths.size()?)
                .ok_or(Corrupt::Text)?;
            texts.push(text);
        }
        Ok(TextsView(texts))
    }

    /// The text with this number.
    ///
    /// # Errors
    /// There is none.
    #[inline]
    pub fn text(&self, number: usize) -> Result<&'a str, Corrupt> {
        self.0.get(number).copied().ok_or(Corrupt::Strings)
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().copied()
    }
}

/// The first of the ends with these bits of the hash that is the one. Eight are looked at without a branch: most of them
/// are unlike.
fn scan(ends: &[u32], bits: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
    let is_alike = |end: u32| end & 0xffff_0000 == bits;
    let mut number = 0;
    for eight in ends.chunks(8) {
        if eight.iter().fold(false, |any, &end| any | is_alike(end)) {
            for (at, &end) in eight.iter().enumerate() {
                if is_alike(end) && is(number + at as u32) {
                    return Some(number + at as u32);
                }
            }
        }
        number += 8;
    }
    None
}

fn slice<'a>(bytes: &'a str, ends: &Ends, number: u32) -> &'a str {
    let number = number as usize;
    let start = number
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .unwrap_or(0);
    let end = ends.get(number).unwrap_or(start);
    bytes.get(start..end).unwrap_or_default()
}

fn hash(text: &str) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// Makes room for `more` bytes.
pub(super) fn grow(bytes: &mut Vec<u8>, more: usize) {
    if bytes.len() + more > bytes.capacity() {
        bytes.reserve_exact(step(bytes.len(), more));
    }
}

/// For how many bytes room is made where `more` are wanted: small steps while small, so that many small sets waste
/// little; an eighth when large.
fn step(length: usize, more: usize) -> usize {
    more.max(length / 8).max(96)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_one_number_each_however_many() -> Result<(), Corrupt> {
        let mut texts = Texts::default();
        for number in 0..20_000 {
            assert_eq!(texts.intern(&format!("text {number}")), number);
        }
        assert_eq!(texts.intern("text 77"), 77);
        let mut out = Vec::new();
        texts.write(&mut out);
        let mut reader = Reader(&out);
        let group = TextsView::read(&mut reader)?;
        assert_eq!((group.len(), group.text(19_999)?), (20_000, "text 19999"));
        assert_eq!(texts.view().text(19_999)?, "text 19999");
        let mut copy = Texts::default();
        copy.copy_from(&group);
        assert_eq!(copy.find("text 12345"), Some(12345));
        assert_eq!(group.text(20_000), Err(Corrupt::Strings));
        Ok(())
    }
}
