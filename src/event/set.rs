//! The events of one call, packed: the unit of RAM, and with its head in front the unit of chunk, log and wire.
//!
//! ```text
//! group     flags u8 │ [cid 16] │ [acallid: text # varint] │ [invitets signed varint] │ [acallidhash signed varint]
//!           │ texts (see `texts`) │ number of events varint │ bytes of events varint │ event … (see `raw`)
//! flags     bit 0…3: which parts of the head are there │ bit 4: the group holds all that its call has
//! ```
//!
//! An event is here once, whatever was pushed: `eventid` decides. Events lie in the order of (time, rank, id) once
//! [`EventSet::sort`] has been called; an event that sorts last keeps that order.

use hashbrown::HashSet;
use smallvec::SmallVec;

use super::bytes::put_varint;
use super::raw::{self, Packed, RawEvent, RawEvents};
use super::texts::{Texts, TextsView};
use super::{Corrupt, Event, EventId, Head, Kind};

/// From how many events on their identities are searched by hash instead of by scan.
const SCAN_LIMIT: usize = 96;

/// What became of an event that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It sorts after all others: fold it in place.
    Last,
    /// It sorts before others: the fold begins anew.
    Earlier,
    /// It was here.
    Duplicate,
}

/// The packed events of one call.
#[derive(Clone, Debug, Default)]
pub struct EventSet {
    cid: Option<EventId>,
    acallid: Option<u32>,
    invitets: Option<i64>,
    acallidhash: Option<i64>,
    texts: Texts,
    events: Vec<u8>,
    count: u32,
    /// How many were pushed out of order since the set was last sorted.
    out_of_order: u32,
    /// Time of the event that lies last, from which the next one counts.
    tail_ts: i64,
    /// The greatest key.
    last: (i64, u8, EventId),
    /// A bit for each identity: most that are new are known to be by it.
    seen: u64,
    ids: Option<Box<HashSet<EventId>>>,
}

/// How the numbers of a group's texts translate to a set's.
pub type Translation = SmallVec<[u32; 64]>;

impl EventSet {
    /// An empty set with this head.
    pub fn new(head: Head<'_>) -> Self {
        let mut set = EventSet::default();
        set.adopt(head);
        set
    }

    /// Takes from another head what is not known yet. What is known stays; from a head that does not agree comes nothing.
    pub fn adopt(&mut self, head: Head<'_>) {
        if self.is_empty() || head.agrees(&self.head()) {
            self.complete(head);
        }
    }

    pub(super) fn complete(&mut self, head: Head<'_>) {
        self.cid = self.cid.or(head.cid);
        self.invitets = self.invitets.or(head.invitets);
        self.acallidhash = self.acallidhash.or(head.acallidhash);
        if let (None, Some(acallid)) = (self.acallid, head.acallid) {
            self.acallid = Some(self.texts.intern(acallid));
        }
    }

    /// What all events share.
    pub fn head(&self) -> Head<'_> {
        let acallid = self.acallid;
        Head {
            cid: self.cid,
            acallid: acallid.and_then(|number| self.texts.get(number as usize)),
            invitets: self.invitets,
            acallidhash: self.acallidhash,
        }
    }

    /// Whether the leg of A is known, Call-ID and time of the INVITE.
    pub fn knows_leg(&self) -> bool {
        self.acallid.is_some() && self.invitets.is_some()
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let ids = self.ids.as_ref().map_or(0, |ids| ids.capacity() * 18 + 64);
        self.texts.heap_bytes() + self.events.capacity() + ids
    }

    /// Adds an event unless it is here.
    pub fn push(&mut self, event: &Event<'_>) -> Pushed {
        self.push_by(event, &mut raw::room())
    }

    /// The same with a place for its bytes that is used again and again.
    pub(super) fn push_by(&mut self, event: &Event<'_>, packed: &mut Packed) -> Pushed {
        let place = self.place(event.key());
        if place != Pushed::Duplicate {
            raw::pack(event, self.tail_ts, &mut self.texts, packed);
            self.append(packed, event.key());
        }
        place
    }

    /// Makes room for some events at once, where the set lives no longer than a batch.
    pub(super) fn reserve(&mut self) {
        self.texts.reserve(32, 512);
        self.events.reserve(512);
    }

    /// Takes over the texts of a group, by the same numbers, and makes room for its events. The set is empty.
    pub(super) fn begin_with(&mut self, texts: &TextsView<'_>, head: Head<'_>, bytes: usize) {
        self.texts.copy_from(texts);
        self.acallid = None;
        self.complete(head);
        self.events.reserve_exact(bytes);
    }

    /// Adds an event of a group of which the set has all texts by the same numbers. The event has been read.
    pub(super) fn push_as_it_is(
        &mut self,
        event: &RawEvent<'_>,
        packed: &mut Packed,
    ) -> Result<Pushed, Corrupt> {
        let place = self.place(event.key());
        if place != Pushed::Duplicate {
            if event.before == self.tail_ts {
                self.append(event.bytes, event.key());
            } else {
                event.write(self.tail_ts, |number| Ok(number as u32), packed)?;
                self.append(packed, event.key());
            }
        }
        Ok(place)
    }

    /// Adds an event of a group unless it is here; texts that the set has keep their numbers in it.
    pub(super) fn push_raw(
        &mut self,
        event: &RawEvent<'_>,
        texts: &TextsView<'_>,
        translation: &mut Translation,
        packed: &mut Packed,
    ) -> Result<Pushed, Corrupt> {
        const UNKNOWN: u32 = u32::MAX;
        let place = self.place(event.key());
        if place == Pushed::Duplicate {
            return Ok(place);
        }
        if translation.is_empty() {
            translation.resize(texts.len(), UNKNOWN);
        }
        let own = &mut self.texts;
        let translated = |number| {
            let known = translation.get_mut(number).ok_or(Corrupt::Strings)?;
            if *known == UNKNOWN {
                *known = own.intern(texts.text(number)?);
            }
            Ok(*known)
        };
        event.write(self.tail_ts, translated, packed)?;
        self.append(packed, event.key());
        Ok(place)
    }

    /// Where an event with this key would go.
    fn place(&mut self, key: (i64, u8, EventId)) -> Pushed {
        if self.contains(&key.2) {
            return Pushed::Duplicate;
        }
        if self.count == 0 || key > self.last {
            self.last = key;
            return Pushed::Last;
        }
        self.out_of_order += 1;
        Pushed::Earlier
    }

    fn append(&mut self, packed: &[u8], (ts, _, id): (i64, u8, EventId)) {
        raw::append(&mut self.events, packed);
        self.count += 1;
        self.seen |= seen_bit(&id);
        self.tail_ts = ts;
        let large = self.len() > SCAN_LIMIT;
        match &mut self.ids {
            Some(ids) => {
                ids.insert(id);
            }
            None if large => {
                let ids = RawEvents::new(&self.events)
                    .flatten()
                    .map(|raw| raw.id)
                    .collect();
                self.ids = Some(Box::new(ids));
            }
            None => {}
        }
    }

    /// Whether an event with this identity is here.
    pub fn contains(&self, id: &EventId) -> bool {
        match &self.ids {
            _ if self.seen & seen_bit(id) == 0 => false,
            Some(ids) => ids.contains(id),
            None => RawEvents::new(&self.events).any(|raw| raw.is_ok_and(|raw| raw.id == *id)),
        }
    }

    /// Whether a text of this content is in the set, in whatever field.
    pub fn has_text(&self, wanted: &str) -> bool {
        self.texts.find(wanted).is_some()
    }

    /// All texts of the set.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter()
    }

    /// The events as they lie; in order after [`EventSet::sort`].
    ///
    /// # Errors
    /// Bytes that did not come from here: the iterator gives the error and ends.
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<Event<'_>, Corrupt>>, Corrupt> {
        let texts = self.texts.view();
        Ok(RawEvents::new(&self.events).map(move |raw| raw.and_then(|raw| raw.view(&texts))))
    }

    /// Tells `each` all events as they lie, one after the other in the same place: faster than [`EventSet::iter`].
    ///
    /// # Errors
    /// Bytes that did not come from here.
    pub fn visit<'s>(&'s self, mut each: impl FnMut(&Event<'s>)) -> Result<(), Corrupt> {
        let texts = self.texts.view();
        let mut event = Event::empty();
        for raw in RawEvents::new(&self.events) {
            raw?.view_into(&texts, &mut event)?;
            each(&event);
        }
        Ok(())
    }

    /// The same for the events of one kind: the others are not read.
    ///
    /// # Errors
    /// Bytes that did not come from here.
    pub fn visit_kind<'s>(
        &'s self,
        kind: Kind,
        mut each: impl FnMut(&Event<'s>),
    ) -> Result<(), Corrupt> {
        let mut texts = None;
        let mut event = Event::empty();
        for raw in RawEvents::new(&self.events) {
            let raw = raw?;
            if raw.kind == kind {
                let texts = texts.get_or_insert_with(|| self.texts.view());
                raw.view_into(texts, &mut event)?;
                each(&event);
            }
        }
        Ok(())
    }

    /// How many events were pushed out of order since the set was last sorted.
    pub fn out_of_order(&self) -> usize {
        self.out_of_order as usize
    }

    /// Puts the events in order.
    ///
    /// # Errors
    /// Bytes that did not come from here.
    pub fn sort(&mut self) -> Result<(), Corrupt> {
        if self.out_of_order == 0 {
            return Ok(());
        }
        let mut order = RawEvents::new(&self.events).collect::<Result<Vec<_>, _>>()?;
        order.sort_by_key(RawEvent::key);
        let mut events = Vec::with_capacity(self.events.len() + order.len());
        let (mut before, mut packed) = (0, raw::room());
        for raw in &order {
            raw.write(before, |number| Ok(number as u32), &mut packed)?;
            raw::append(&mut events, &packed);
            before = raw.ts;
        }
        self.tail_ts = before;
        self.events = events;
        self.out_of_order = 0;
        Ok(())
    }

    /// Appends the set to a chunk; `complete` says that it holds all that its call has.
    pub fn write(&self, complete: bool, out: &mut Vec<u8>) {
        let flags = u8::from(self.cid.is_some())
            | u8::from(self.acallid.is_some()) << 1
            | u8::from(self.invitets.is_some()) << 2
            | u8::from(self.acallidhash.is_some()) << 3
            | u8::from(complete) << 4;
        out.push(flags);
        if let Some(cid) = &self.cid {
            out.extend_from_slice(cid);
        }
        if let Some(number) = self.acallid {
            put_varint(out, u64::from(number));
        }
        for number in [self.invitets, self.acallidhash].into_iter().flatten() {
            raw::put_head_number(out, number);
        }
        self.texts.write(out);
        put_varint(out, u64::from(self.count));
        put_varint(out, self.events.len() as u64);
        out.extend_from_slice(&self.events);
    }

    /// Bytes that [`EventSet::write`] takes, at most.
    pub fn written_bytes(&self) -> usize {
        self.texts.written_bytes() + self.events.len() + 64
    }
}

fn seen_bit(id: &EventId) -> u64 {
    let [.., one, other] = *id;
    1 << ((one ^ other.rotate_left(3)) & 63)
}
