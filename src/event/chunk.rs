//! The chunk: the unit of log, wire and disk. Some hundred events, grouped by call.
//!
//! ```text
//! 0        4         5            9              13            17
//! ├────────┼─────────┼────────────┼──────────────┼─────────────┼──────────────────────────
//! │ "ECSC" │ version │ crc32c LE  │ events u32LE │ groups u32LE│ group … (see `set`)
//! └────────┴─────────┴────────────┴──────────────┴─────────────┴──────────────────────────
//!                    the checksum covers everything behind itself
//! group    flags u8 │ [cid 16] │ [acallid: string # varint] │ [invitets signed] │ [acallidhash signed]
//!          │ strings: count, bytes │ … │ events: count, bytes │ …
//! ```
//!
//! The bits of `flags` say which parts of the head are there, and (bit 4) that the group holds all that its call has.
//!
//! A chunk is bounded: [`MAX_EVENTS`] and [`MAX_BYTES`]. A reader accepts its own version and the one before it.

use super::bytes::Reader;
use super::set::Group;
use super::{Corrupt, EventSet};

/// The version that is written.
pub const VERSION: u8 = 1;
/// The oldest version that is read.
pub const OLDEST_VERSION: u8 = 1;
/// The most events in a chunk.
pub const MAX_EVENTS: usize = 4096;
/// The most bytes of a chunk. A single set may be larger when it is copied forward: a call is never cut.
pub const MAX_BYTES: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"ECSC";
const HEADER: usize = 17;

/// Writes sets as one chunk.
pub fn write<'s>(sets: impl IntoIterator<Item = &'s EventSet>) -> Vec<u8> {
    write_sets(sets, false)
}

/// Writes sets as one chunk and says of each that it holds all that its call has.
pub fn write_complete<'s>(sets: impl IntoIterator<Item = &'s EventSet>) -> Vec<u8> {
    write_sets(sets, true)
}

fn write_sets<'s>(sets: impl IntoIterator<Item = &'s EventSet>, complete: bool) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    let (mut groups, mut events) = (0u32, 0u32);
    for set in sets {
        set.write(complete, &mut out);
        groups += 1;
        events += set.len() as u32;
    }
    let (header, _) = out.split_at_mut(HEADER);
    header[..4].copy_from_slice(&MAGIC);
    header[4] = VERSION;
    header[9..13].copy_from_slice(&events.to_le_bytes());
    header[13..17].copy_from_slice(&groups.to_le_bytes());
    let checksum = crc32c::crc32c(&out[9..]);
    out[5..9].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// A chunk that has been checked: its groups can be read.
pub struct Chunk<'a> {
    events: usize,
    groups: usize,
    body: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Checks the header and the checksum.
    ///
    /// # Errors
    /// Bytes that are no chunk, of a version that is not read, or changed since they were written.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader(bytes);
        if reader.array()? != MAGIC {
            return Err(Corrupt::Magic);
        }
        let version = reader.byte()?;
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return Err(Corrupt::Version(version));
        }
        let checksum = u32::from_le_bytes(reader.array()?);
        if crc32c::crc32c(reader.0) != checksum {
            return Err(Corrupt::Checksum);
        }
        let events = u32::from_le_bytes(reader.array()?) as usize;
        let groups = u32::from_le_bytes(reader.array()?) as usize;
        Ok(Chunk {
            events,
            groups,
            body: reader.0,
        })
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The groups, one a call.
    pub fn groups(&self) -> impl Iterator<Item = Result<Group<'a>, Corrupt>> + use<'a> {
        let mut reader = Reader(self.body);
        let mut left = self.groups;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let group = Group::read(&mut reader);
            if group.is_err() {
                left = 0;
            }
            Some(group)
        })
    }
}
