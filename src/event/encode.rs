//! From the events of one `put` to one chunk per group of instances: the producers' side of the way.
//!
//! Runs in the producer's process. Events of one call are put together, so that its head and its texts are written once.

use std::collections::HashMap;

use super::chunk::{self, MAX_BYTES, MAX_EVENTS};
use super::input::{Arena, Common, Input, Reject, Taken};
use super::raw::{self, Packed};
use super::set::Pushed;
use super::{EventId, EventSet, Head, cut, json};

/// Which group serves a call, by what an event says.
pub trait Route {
    /// The group for the call of this event.
    fn group(&mut self, taken: &Taken<'_>) -> u32;
}

impl<F: FnMut(&Taken<'_>) -> u32> Route for F {
    fn group(&mut self, taken: &Taken<'_>) -> u32 {
        self(taken)
    }
}

/// One chunk for one group.
#[derive(Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The group.
    pub group: u32,
    /// The chunk.
    pub chunk: Vec<u8>,
    /// The number of events that went into it, those included that the batch held more than once.
    pub events: usize,
}

/// Chunks in the making.
pub struct Encoder<'c, R> {
    common: Common<'c>,
    route: R,
    sets: Vec<(u32, EventSet)>,
    by_call: HashMap<Key, usize, foldhash::fast::FixedState>,
    packed: Packed,
    repeated: Vec<u32>,
    rejected: Vec<(usize, Reject)>,
    seen: usize,
}

/// A call within one group: by `cid`, or by `acallid` and `invitets`.
#[derive(Hash, PartialEq, Eq)]
enum Key {
    Cid(u32, EventId),
    Leg(u32, String, i64),
}

impl Key {
    fn of(group: u32, head: &Head<'_>) -> Key {
        match head.cid {
            Some(cid) => Key::Cid(group, cid),
            None => Key::Leg(
                group,
                head.acallid.unwrap_or_default().to_owned(),
                head.invitets.unwrap_or_default(),
            ),
        }
    }
}

impl<'c, R: Route> Encoder<'c, R> {
    /// No events yet.
    pub fn new(common: Common<'c>, route: R) -> Self {
        Encoder {
            common,
            route,
            sets: Vec::new(),
            by_call: HashMap::default(),
            packed: raw::room(),
            repeated: Vec::new(),
            rejected: Vec::new(),
            seen: 0,
        }
    }

    /// Adds what was read of the next event, or the reason why it could not be read.
    pub fn push<'i>(&mut self, input: Result<&mut Input<'i>, Reject>)
    where
        'c: 'i,
    {
        self.seen += 1;
        let Encoder {
            common,
            route,
            sets,
            by_call,
            packed,
            repeated,
            ..
        } = self;
        let added = input.and_then(|input| {
            input.take(common, |taken| {
                let group = route.group(taken);
                if add(sets, by_call, packed, group, taken) == Pushed::Duplicate {
                    repeated.push(group);
                }
            })
        });
        if let Err(reason) = added {
            self.rejected.push((self.seen, reason));
        }
    }

    /// Adds all events of a JSON text.
    pub fn push_json(&mut self, text: &[u8]) {
        let arena = Arena::new();
        let mut input = Input::default();
        for object in cut::objects(text) {
            input.clear();
            match object.and_then(|object| json::read(object, &arena, &mut input)) {
                Ok(()) => self.push(Ok(&mut input)),
                Err(reason) => self.push(Err(reason)),
            }
        }
    }

    /// The chunks, and the rejected events by their 1-based index.
    pub fn finish(self) -> (Vec<Encoded>, Vec<(usize, Reject)>) {
        let mut groups: Vec<u32> = self.sets.iter().map(|&(group, _)| group).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut chunks = Vec::with_capacity(groups.len());
        for group in groups {
            let sets = self
                .sets
                .iter()
                .filter(|&&(of, _)| of == group)
                .map(|(_, set)| set);
            let mut repeated = self.repeated.iter().filter(|&&of| of == group).count();
            for (chunk, events) in in_chunks(sets) {
                let events = events + std::mem::take(&mut repeated);
                chunks.push(Encoded {
                    group,
                    chunk,
                    events,
                });
            }
        }
        (chunks, self.rejected)
    }
}

fn add(
    sets: &mut Vec<(u32, EventSet)>,
    by_call: &mut HashMap<Key, usize, foldhash::fast::FixedState>,
    packed: &mut Packed,
    group: u32,
    taken: &Taken<'_>,
) -> Pushed {
    let at = *by_call
        .entry(Key::of(group, &taken.head))
        .or_insert_with(|| {
            let mut set = EventSet::default();
            set.reserve();
            set.adopt(taken.head);
            sets.push((group, set));
            sets.len() - 1
        });
    let Some((_, set)) = sets.get_mut(at) else {
        return Pushed::Duplicate;
    };
    let known = set.head();
    if known == taken.head {
        return set.push_by(&taken.event, packed);
    }
    // Two events of one cid that disagree about the rest of the head: what differs goes with its event.
    let mut event = taken.event.clone();
    set.adopt(taken.head);
    taken.head.tag(&set.head(), &mut event);
    set.push_by(&event, packed)
}

/// Sets as chunks within the bounds of a chunk: `(chunk, events)`. A set larger than a chunk stays whole.
pub fn in_chunks<'s>(sets: impl IntoIterator<Item = &'s EventSet>) -> Vec<(Vec<u8>, usize)> {
    let mut chunks = Vec::new();
    let mut gathered: Vec<&EventSet> = Vec::new();
    let (mut events, mut bytes) = (0, 0);
    for set in sets {
        let full = events + set.len() > MAX_EVENTS || bytes + set.written_bytes() > MAX_BYTES;
        if full && !gathered.is_empty() {
            chunks.push((chunk::write(gathered.drain(..)), events));
            (events, bytes) = (0, 0);
        }
        events += set.len();
        bytes += set.written_bytes();
        gathered.push(set);
    }
    if !gathered.is_empty() {
        chunks.push((chunk::write(gathered), events));
    }
    chunks
}
