//! What a call is called by: its own name, which its set bears, and the others under which events of it came.
//!
//! A name is a `cid` with or without the leg of A; where a leg is said alone, what stands in for its `cid`. An event that
//! was said under another name than the call's bears that name itself, so all of this can be read from the set, and which
//! of the names is the call's own depends on nothing but the events: one under which a record was issued, so that it gets
//! revisions and never a second identity; else one that the platform gave; else the lowest; of several legs under it the
//! one that was invited first.

use crate::event::head::may_stand_in;
use crate::event::{EventId, Head, Kind};

/// The names other than its own under which events of a call came.
#[derive(Clone, Debug, Default)]
pub struct Names(pub(super) Vec<Alias>);

/// One of them.
#[derive(Clone, Debug)]
pub struct Alias {
    /// What the platform calls it, or what stands in for that.
    pub cid: EventId,
    /// The Call-ID of A.
    pub acallid: Option<Box<str>>,
    /// When it was invited.
    pub invitets: Option<i64>,
    /// The leg was said alone.
    pub nameless: bool,
    /// A record was issued under it.
    pub issued: bool,
}

/// Which of two names is rather a call's own: the lesser.
pub type Rank = (bool, bool, EventId);

/// Which of two legs under one name is rather the call's: the lesser.
pub type LegRank<'a> = (bool, Option<i64>, bool, Option<&'a str>);

/// How well a leg is a call's.
pub fn leg_rank<'a>(acallid: Option<&'a str>, invitets: Option<i64>) -> LegRank<'a> {
    (invitets.is_none(), invitets, acallid.is_none(), acallid)
}

impl Alias {
    fn leg_rank(&self) -> LegRank<'_> {
        leg_rank(self.acallid.as_deref(), self.invitets)
    }

    fn is(&self, head: &Head<'_>, cid: EventId) -> bool {
        let (acallid, invitets) = (self.acallid.as_deref(), self.invitets);
        self.cid == cid && acallid == head.acallid && invitets == head.invitets
    }

    /// As the head of an event.
    pub fn head(&self) -> Head<'_> {
        Head {
            cid: Some(self.cid),
            acallid: self.acallid.as_deref(),
            invitets: self.invitets,
            acallidhash: None,
        }
    }
}

impl Names {
    /// Notes the name under which an event was said; whether that is something new.
    pub fn note(&mut self, head: &Head<'_>, kind: Kind) -> bool {
        let cid = head.identity();
        let issued = kind == Kind::Record;
        let Some(known) = self.0.iter_mut().find(|known| known.is(head, cid)) else {
            self.0.push(Alias {
                cid,
                acallid: head.acallid.map(Box::from),
                invitets: head.invitets,
                nameless: head.is_nameless(),
                issued,
            });
            return true;
        };
        let is_news = issued && !known.issued;
        known.issued |= issued;
        is_news
    }

    /// The first of the names, in the order in which they could be the call's own, that has what is looked for.
    pub fn first<'n, T>(&'n self, part: impl Fn(&'n Alias) -> Option<T>) -> Option<T> {
        let having = self.0.iter().filter(|alias| part(alias).is_some());
        let first =
            having.min_by_key(|alias| (may_stand_in(&alias.cid), alias.cid, alias.leg_rank()));
        first.and_then(part)
    }

    /// How well one of them would be the call's own.
    pub fn rank(&self, cid: EventId, issued: bool) -> Rank {
        let same = |alias: &Alias| alias.cid == cid && alias.issued;
        let issued = issued || self.0.iter().any(same);
        (!issued, may_stand_in(&cid), cid)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let texts = self.0.iter().filter_map(|alias| alias.acallid.as_ref());
        let texts: usize = texts.map(|text| text.len() + 16).sum();
        self.0.capacity() * size_of::<Alias>() + texts + size_of::<Names>() + 32
    }
}
