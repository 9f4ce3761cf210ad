//! The keys of `data` that have a meaning, and how one is found by its bytes: the hottest question at input, some
//! twenty times an event.
//!
//! Called by [`super::input`] only. A name is told by its first and last eight bytes and its length, which for names of
//! up to sixteen bytes is all of it; those words are hashed into a table that is made when this is compiled.

use super::Field;
use super::field::FIELDS;

/// A known key: a part of the head, or a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    EventId,
    EventTs,
    Cid,
    Acallid,
    AcallidHash,
    Invitets,
    Connectionid,
    /// Written out of others by whoever wants it.
    Derived,
    Field(Field),
}

const HEAD: [(&str, Known); 8] = [
    ("eventid", Known::EventId),
    ("eventts", Known::EventTs),
    ("cid", Known::Cid),
    ("acallid", Known::Acallid),
    ("acallidhash", Known::AcallidHash),
    ("invitets", Known::Invitets),
    ("connectionid", Known::Connectionid),
    ("invitedt", Known::Derived),
];

/// One name: its words, itself, what it means.
#[derive(Clone, Copy)]
struct Row {
    words: [u64; 2],
    name: &'static [u8],
    known: Known,
}

const COUNT: usize = HEAD.len() + FIELDS.len();
const PLACES: usize = 1024;
const EMPTY: u8 = u8::MAX;

/// The rows, and where they are by hash: the next free place behind it.
static ROWS: [Row; COUNT] = rows();
static PLACE_OF: [u8; PLACES] = places();

impl Known {
    /// What a key means; `None` for one that is not known.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Option<Known> {
        let words = words(name);
        let mut place = hash(words, name.len());
        loop {
            let row = ROWS.get(usize::from(*PLACE_OF.get(place)?))?;
            let is_it = row.words == words && row.name.len() == name.len();
            if is_it && (name.len() <= 16 || row.name == name) {
                return match row.known {
                    // What callstore says of an owner or a producer, it says itself.
                    Known::Field(Field::Owner | Field::Producer) => None,
                    known => Some(known),
                };
            }
            place = (place + 1) % PLACES;
        }
    }
}

/// The first and the last eight bytes; of a shorter name all of them, in two overlapping pieces.
#[inline]
const fn words(name: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last)];
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return [
            u32::from_le_bytes(*first) as u64,
            u32::from_le_bytes(*last) as u64,
        ];
    }
    if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        return [
            u16::from_le_bytes(*first) as u64,
            u16::from_le_bytes(*last) as u64,
        ];
    }
    match name {
        [byte] => [*byte as u64, 0],
        _ => [0, 0],
    }
}

#[inline]
const fn hash(words: [u64; 2], length: usize) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (words[0] ^ words[1].rotate_left(29) ^ length as u64).wrapping_mul(ODD);
    (mixed >> (64 - PLACES.trailing_zeros())) as usize
}

const fn rows() -> [Row; COUNT] {
    let mut rows = [Row {
        words: [0, 0],
        name: b"",
        known: Known::Derived,
    }; COUNT];
    let mut at = 0;
    while at < COUNT {
        let (name, known) = if at < HEAD.len() {
            HEAD[at]
        } else {
            let (field, name) = FIELDS[at - HEAD.len()];
            (name, Known::Field(field))
        };
        rows[at] = Row {
            words: words(name.as_bytes()),
            name: name.as_bytes(),
            known,
        };
        at += 1;
    }
    rows
}

/// Of two rows of one name the first counts: a part of the head is no field.
const fn places() -> [u8; PLACES] {
    assert!(COUNT < EMPTY as usize, "a row's number takes one byte");
    let rows = rows();
    let mut places = [EMPTY; PLACES];
    let mut at = 0;
    while at < COUNT {
        let mut place = hash(rows[at].words, rows[at].name.len());
        while places[place] != EMPTY {
            place = (place + 1) % PLACES;
        }
        places[place] = at as u8;
        at += 1;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for (name, known) in HEAD {
            assert_eq!(Known::of(name.as_bytes()), Some(known), "{name}");
        }
        for &(field, name) in FIELDS {
            let is_head = HEAD.iter().any(|&(head, _)| head == name);
            let is_own = matches!(field, Field::Owner | Field::Producer);
            let wanted = (!is_own).then_some(Known::Field(field));
            assert!(is_head || Known::of(name.as_bytes()) == wanted, "{name}");
            for other in [format!("{name}x"), format!("x{name}"), name.to_uppercase()] {
                assert_eq!(Known::of(other.as_bytes()), None, "{other}");
            }
        }
    }

    #[test]
    fn long_names_that_differ_in_their_middle_only_are_told_apart() {
        assert!(Known::of(b"referring_connectionid").is_some());
        assert_eq!(Known::of(b"referrinX_Xonnectionid"), None);
        assert_eq!(Known::of(b""), None);
        assert_eq!(Known::of(&[0; 64]), None);
    }
}
