//! What a row of the log said to those who listen: which of its events were new, which calls opened, changed, closed.
//!
//! The fold knows it in passing and notes it in few bytes beside the row, the *marks*; who wants the events reads them
//! later, elsewhere, out of the marks and the chunks of the row ([`super::tell`]). Bytes between copies of one version,
//! never on disc:
//!
//! ```text
//! marks     version u8 │ item …
//! item 1    of whom: cid 16 │ flags u8 │ [acallid: length, bytes] │ [invitets signed]
//!           │ [acallidhash signed] │ domains: count, (length, bytes)…
//!           what follows is about this call; its leg is here where the group does not say it
//! item 2    opened: state before u8 (0xff: none) │ state now u8 │ time signed
//! item 3    events: chunk varint │ group varint │ a bit per event of the group, padded to bytes: whether it is said
//! item 4    changed, as opened          item 5    closed, as opened
//! item 6    went on in another call: as opened │ cid 16 of that
//! item 7    group: chunk varint │ group varint: where the head of `of whom` is completed from
//! ```
//!
//! Always holds: nothing is noted unless [`Store::begin_said`] was called; a row that is folded again says nothing.
//! Used by `apply` and `join`. Must never: change what is folded.

use super::Store;
use super::domains::Domains;
use super::entry::Entry;
use crate::call::State;
use crate::event::bytes::{put_signed, put_varint};
use crate::event::group::Group;
use crate::event::{Class, Corrupt, EventId, Kind};

pub(super) const VERSION: u8 = 1;
pub(super) const OF: u8 = 1;
pub(super) const OPENED: u8 = 2;
pub(super) const EVENTS: u8 = 3;
pub(super) const CHANGED: u8 = 4;
pub(super) const CLOSED: u8 = 5;
pub(super) const ABSORBED: u8 = 6;
pub(super) const GROUP: u8 = 7;
pub(super) const NO_STATE: u8 = 0xff;
pub(super) const HAS_ACALLID: u8 = 1;
pub(super) const HAS_INVITETS: u8 = 2;
pub(super) const HAS_HASH: u8 = 4;

/// Whether an event of the log is told to those who listen: what the platform said, and what callstore did with a call.
pub(super) const fn is_told(kind: Kind) -> bool {
    matches!(kind.class(), Class::CallEvents) || matches!(kind, Kind::Record | Kind::Mix)
}

/// The marks of a row in the making.
#[derive(Debug, Default)]
pub struct Said {
    wanted: bool,
    marks: Vec<u8>,
    count: u32,
    chunks: u32,
    group: u32,
    bits: Vec<u8>,
    events: u32,
    told: u32,
}

impl Said {
    /// A chunk of the row begins.
    pub(super) fn begin_chunk(&mut self) {
        self.chunks += 1;
    }

    /// A group of the chunk begins.
    pub(super) fn begin_group(&mut self, number: usize) {
        self.group = number as u32;
        self.bits.clear();
        (self.events, self.told) = (0, 0);
    }

    /// The next event of the group.
    #[inline]
    pub(super) fn event(&mut self, is_new: bool, kind: Kind) {
        if !self.wanted {
            return;
        }
        let (byte, bit) = (self.events as usize / 8, self.events % 8);
        if byte == self.bits.len() {
            self.bits.push(0);
        }
        if let Some(byte) = self.bits.get_mut(byte).filter(|_| is_new && is_told(kind)) {
            *byte |= 1 << bit;
            self.told += 1;
        }
        self.events += 1;
    }

    /// The group is folded; `was` is the state of its call before it, `None` where the call is new.
    pub(super) fn group(
        &mut self,
        entry: &Entry,
        was: Option<State>,
        group: &Group<'_>,
        domains: &Domains,
    ) {
        let is_moved = was != Some(entry.state);
        if !self.wanted || !is_moved && self.told == 0 {
            return;
        }
        let is_named = group.head.acallid.is_some() && group.head.invitets.is_some();
        self.of(entry, entry.cid, !is_named, domains);
        let chunk = self.chunks.saturating_sub(1);
        if was.is_none() {
            self.place(GROUP, chunk);
            self.moved(entry, None, OPENED);
        }
        if self.told > 0 {
            self.place(EVENTS, chunk);
            put_varint(&mut self.marks, u64::from(self.events));
            self.marks.extend_from_slice(&self.bits);
            self.count += self.told;
        } else if was.is_some() {
            self.place(GROUP, chunk);
        }
        match was {
            Some(was) => self.step(entry, was),
            None if entry.state.is_over() => self.moved(entry, None, CLOSED),
            None => {}
        }
    }

    /// A call was folded anew, apart from any group.
    pub(super) fn refolded(&mut self, entry: &Entry, was: State, domains: &Domains) {
        if self.wanted && was != entry.state {
            self.of(entry, entry.cid, true, domains);
            self.step(entry, was);
        }
    }

    /// A call went on in another.
    pub(super) fn absorbed(&mut self, entry: &Entry, into: EventId, domains: &Domains) {
        if self.wanted && !entry.state.is_over() {
            self.gone_into(entry, entry.cid, entry.state, into, domains);
        }
    }

    /// A call has another name than it had.
    pub(super) fn renamed(&mut self, entry: &Entry, before: (EventId, State), domains: &Domains) {
        let (cid, was) = before;
        if !self.wanted || was.is_over() && entry.state.is_over() {
            return;
        }
        if !was.is_over() {
            self.gone_into(entry, cid, was, entry.cid, domains);
        }
        self.of(entry, entry.cid, true, domains);
        self.moved(entry, None, OPENED);
        if entry.state.is_over() {
            self.moved(entry, None, CLOSED);
        }
    }

    fn gone_into(
        &mut self,
        entry: &Entry,
        cid: EventId,
        was: State,
        into: EventId,
        domains: &Domains,
    ) {
        self.of(entry, cid, true, domains);
        self.moved(entry, Some(was), ABSORBED);
        self.marks.extend_from_slice(&into);
    }

    fn step(&mut self, entry: &Entry, was: State) {
        match (was.is_over(), entry.state.is_over()) {
            _ if was == entry.state => {}
            (true, false) => self.moved(entry, Some(was), OPENED),
            (false, true) => self.moved(entry, Some(was), CLOSED),
            _ => self.moved(entry, Some(was), CHANGED),
        }
    }

    fn moved(&mut self, entry: &Entry, was: Option<State>, item: u8) {
        self.marks.push(item);
        self.states(entry, was);
        self.count += 1;
    }

    fn states(&mut self, entry: &Entry, was: Option<State>) {
        let was = was.map_or(NO_STATE, |state| state as u8);
        self.marks.extend_from_slice(&[was, entry.state as u8]);
        put_signed(&mut self.marks, entry.life.last_ts);
    }

    fn place(&mut self, item: u8, chunk: u32) {
        self.marks.push(item);
        put_varint(&mut self.marks, u64::from(chunk));
        put_varint(&mut self.marks, u64::from(self.group));
    }

    fn of(&mut self, entry: &Entry, cid: EventId, with_leg: bool, domains: &Domains) {
        let head = entry.set.head();
        let acallid = head.acallid.filter(|_| with_leg);
        let invitets = head.invitets.filter(|_| with_leg);
        let hash = head.acallidhash.filter(|_| with_leg);
        let marks = &mut self.marks;
        marks.push(OF);
        marks.extend_from_slice(&cid);
        let has = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = has(acallid.is_some(), HAS_ACALLID)
            | has(invitets.is_some(), HAS_INVITETS)
            | has(hash.is_some(), HAS_HASH);
        marks.push(flags);
        if let Some(acallid) = acallid {
            put_text(marks, acallid);
        }
        for number in [invitets, hash].into_iter().flatten() {
            put_signed(marks, number);
        }
        put_varint(marks, entry.domains.len() as u64);
        for &number in &entry.domains {
            put_text(marks, domains.name(number));
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

impl Store {
    /// What is folded from now on is noted, until [`Store::take_said`].
    pub fn begin_said(&mut self) {
        let said = &mut self.said;
        said.wanted = true;
        said.marks.clear();
        said.marks.push(VERSION);
        (said.count, said.chunks) = (0, 0);
    }

    /// How many things were said since [`Store::begin_said`], and the marks of them. What waited to be folded is folded.
    ///
    /// # Errors
    /// A set is corrupt.
    pub fn take_said(&mut self) -> Result<(u32, &[u8]), Corrupt> {
        let settled = match self.is_stale() {
            true => self.settle(),
            false => Ok(()),
        };
        self.said.wanted = false;
        settled?;
        Ok((self.said.count, &self.said.marks))
    }
}
