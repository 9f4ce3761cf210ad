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
//! A chunk is bounded: [`MAX_EVENTS`] and [`MAX_BYTES`]. A reader accepts its own version and the one before it. What is
//! written is the newest version that every node reads ([`write_as`]), so that nodes of two versions serve one log.
//!
//! Version 1 is the first: there is none before it. A made-up version after it stands for the next release where two
//! releases are tested together: the core's own tests read it, and a library that is built with the feature `next_chunk`
//! reads and writes it. No other does.

use std::sync::atomic::{AtomicU8, Ordering};

use super::bytes::Reader;
use super::group::Group;
use super::{Corrupt, EventSet};

/// The newest version that is released.
const RELEASED: u8 = 1;
/// A version that never was, with its counts the other way round.
#[cfg(any(test, feature = "next_chunk"))]
pub(crate) const MADE_UP: u8 = RELEASED + 1;
/// The newest version that is written.
#[cfg(not(feature = "next_chunk"))]
pub const VERSION: u8 = RELEASED;
/// The newest version that is written.
#[cfg(feature = "next_chunk")]
pub const VERSION: u8 = MADE_UP;
/// The oldest version that is read.
pub const OLDEST_VERSION: u8 = 1;
/// The most events in a chunk.
pub const MAX_EVENTS: usize = 4096;
/// The most bytes of a chunk. A single set may be larger when it is copied forward: a call is never cut.
pub const MAX_BYTES: usize = 1 << 20;

/// The newest version that is read.
const NEWEST_READ: u8 = if cfg!(test) { RELEASED + 1 } else { VERSION };
/// Until somebody says that all nodes read a newer one.
static WRITTEN: AtomicU8 = AtomicU8::new(OLDEST_VERSION);

const MAGIC: [u8; 4] = *b"ECSC";
const HEADER: usize = 17;

/// From now on chunks of this process are written in a version that all nodes of the site read. Returns whether there is
/// such a version here; where not, nothing changes.
pub fn write_as(version: u8) -> bool {
    let known = (OLDEST_VERSION..=VERSION).contains(&version);
    if known {
        WRITTEN.store(version, Ordering::Relaxed);
    }
    known
}

/// Writes sets as one chunk.
pub fn write<'s>(sets: impl IntoIterator<Item = &'s EventSet>) -> Vec<u8> {
    write_sets(sets, false)
}

/// Writes sets as one chunk and says of each that it holds all that its call has.
pub fn write_complete<'s>(sets: impl IntoIterator<Item = &'s EventSet>) -> Vec<u8> {
    write_sets(sets, true)
}

fn write_sets<'s>(sets: impl IntoIterator<Item = &'s EventSet>, complete: bool) -> Vec<u8> {
    write_version(WRITTEN.load(Ordering::Relaxed), sets, complete)
}

/// Writes a version that is written here.
pub(crate) fn write_version<'s>(
    version: u8,
    sets: impl IntoIterator<Item = &'s EventSet>,
    complete: bool,
) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    let (mut groups, mut events) = (0u32, 0u32);
    for set in sets {
        out.reserve(set.written_bytes());
        set.write(complete, &mut out);
        groups += 1;
        events += set.len() as u32;
    }
    let (header, _) = out.split_at_mut(HEADER);
    header[..4].copy_from_slice(&MAGIC);
    let counts = match version {
        #[cfg(any(test, feature = "next_chunk"))]
        MADE_UP => [groups, events],
        _ => [events, groups],
    };
    header[4] = version;
    header[9..13].copy_from_slice(&counts[0].to_le_bytes());
    header[13..17].copy_from_slice(&counts[1].to_le_bytes());
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
        Chunk::read_up_to(NEWEST_READ, bytes)
    }

    fn read_up_to(newest: u8, bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader(bytes);
        if reader.array()? != MAGIC {
            return Err(Corrupt::Magic);
        }
        let version = reader.byte()?;
        if !(OLDEST_VERSION..=newest).contains(&version) {
            return Err(Corrupt::Version(version));
        }
        let checksum = u32::from_le_bytes(reader.array()?);
        if crc32c::crc32c(reader.0) != checksum {
            return Err(Corrupt::Checksum);
        }
        let counts = [
            u32::from_le_bytes(reader.array()?) as usize,
            u32::from_le_bytes(reader.array()?) as usize,
        ];
        let [events, groups] = match version {
            #[cfg(any(test, feature = "next_chunk"))]
            MADE_UP => [counts[1], counts[0]],
            _ => counts,
        };
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{Event, Head};

    /// Three events of a call.
    pub(crate) fn call(number: u8) -> EventSet {
        let mut set = EventSet::new(Head {
            cid: Some([number; 16]),
            ..Head::default()
        });
        for step in 0..3 {
            let mut event = Event::empty();
            event.id = [number, step, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            event.ts = 1_795_341_600_000 + i64::from(step);
            set.push(&event);
        }
        set
    }

    #[test]
    fn the_release_before_reads_what_is_written_for_it_and_refuses_the_next_version_by_name() {
        let kept = write_version(VERSION, [&call(1)], false);
        assert!(Chunk::read_up_to(VERSION, &kept).is_ok_and(|chunk| chunk.len() == 3));
        let newer = write_version(MADE_UP, [&call(1)], false);
        let refused = Chunk::read_up_to(VERSION, &newer).err();
        assert_eq!(refused, Some(Corrupt::Version(MADE_UP)));
        let words = refused.map(|reason| (reason.kind(), reason.to_string()));
        let text = "a chunk of version 2, which this release does not read".to_owned();
        assert_eq!(words, Some(("version", text)));
    }

    #[test]
    fn versions_older_than_the_one_before_are_refused() {
        let mut chunk = write_version(VERSION, [&call(1)], false);
        chunk[4] = OLDEST_VERSION - 1;
        assert_eq!(
            Chunk::read(&chunk).err(),
            Some(Corrupt::Version(OLDEST_VERSION - 1))
        );
    }

    #[test]
    fn only_versions_of_this_release_are_written() {
        assert!(!write_as(MADE_UP));
        assert!(!write_as(OLDEST_VERSION - 1));
        assert!(write_as(VERSION));
        assert_eq!(write([&call(1)])[4], VERSION);
    }
}
