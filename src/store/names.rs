//! What a call is called by: its own name, which its set bears, and the others under which events of it came.
//!
//! A name is a `cid` with or without the leg of A; where a leg is said alone, what stands in for its `cid`. An event that
//! was said under another name than the call's bears that name itself, so all of this can be read from the set, and which
//! of the names is the call's own depends on nothing but the events: one under which a record was issued, so that it gets
//! revisions and never a second identity; else one that the platform gave; else the lowest; of several legs under it the
//! one that was invited first.

use super::entry::Entry;
use crate::event::head::may_stand_in;
use crate::event::{Corrupt, Event, EventId, EventSet, Head, Kind};

/// The names other than its own under which events of a call came.
#[derive(Debug, Default)]
pub struct Names(Vec<Alias>);

#[derive(Debug)]
struct Alias {
    cid: EventId,
    acallid: Option<Box<str>>,
    invitets: Option<i64>,
    /// The leg was said alone.
    nameless: bool,
    /// A record was issued under it.
    issued: bool,
}

/// Which of two names is rather a call's own: the lesser.
pub type Rank = (bool, bool, EventId);

/// Which of two legs under one name is rather the call's: the lesser.
type LegRank<'a> = (bool, Option<i64>, bool, Option<&'a str>);

fn leg_rank<'a>(acallid: Option<&'a str>, invitets: Option<i64>) -> LegRank<'a> {
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

    fn head(&self) -> Head<'_> {
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
    fn note(&mut self, head: &Head<'_>, kind: Kind) -> bool {
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
    fn first<'n, T>(&'n self, part: impl Fn(&'n Alias) -> Option<T>) -> Option<T> {
        let having = self.0.iter().filter(|alias| part(alias).is_some());
        let first =
            having.min_by_key(|alias| (may_stand_in(&alias.cid), alias.cid, alias.leg_rank()));
        first.and_then(part)
    }

    fn rank(&self, cid: EventId, issued: bool) -> Rank {
        let same = |alias: &Alias| alias.cid == cid && alias.issued;
        let issued = issued || self.0.iter().any(same);
        (!issued, may_stand_in(&cid), cid)
    }

    fn heap_bytes(&self) -> usize {
        let texts = self.0.iter().filter_map(|alias| alias.acallid.as_ref());
        let texts: usize = texts.map(|text| text.len() + 16).sum();
        self.0.capacity() * size_of::<Alias>() + texts + size_of::<Names>() + 32
    }
}

impl Entry {
    /// The call's name, and what else is known of its leg under other names.
    pub(super) fn head(&self) -> Head<'_> {
        let own = self.set.head();
        let names = self.names.as_deref();
        let acallid = || names.and_then(|names| names.first(|it| it.acallid.as_deref()));
        let invitets = || names.and_then(|names| names.first(|it| it.invitets));
        Head {
            cid: Some(self.cid),
            acallid: own.acallid.or_else(acallid),
            invitets: own.invitets.or_else(invitets),
            acallidhash: own.acallidhash,
        }
    }

    /// Whether the call is or was called by this `cid`.
    pub(super) fn answers_to(&self, cid: EventId) -> bool {
        self.cid == cid || self.aliases().any(|alias| alias.cid == cid)
    }

    /// Whether some event came under this leg; `alone`: under the leg only.
    pub(super) fn has_leg(&self, leg: (&str, i64), alone: bool) -> bool {
        let own = self.set.head();
        own.leg() == Some(leg) && (!alone || own.is_nameless())
            || self
                .aliases()
                .any(|alias| alias.head().leg() == Some(leg) && (!alone || alias.nameless))
    }

    /// The `cid` of every other name.
    pub(super) fn other_cids(&self) -> impl Iterator<Item = EventId> {
        self.aliases().map(|alias| alias.cid)
    }

    fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.names.iter().flat_map(|names| names.0.iter())
    }

    /// Notes that an event came under another name; whether that is something new.
    pub(super) fn note_name(&mut self, head: &Head<'_>, kind: Kind) -> bool {
        self.names.get_or_insert_default().note(head, kind)
    }

    /// How well the call's own name is one: the lesser, the better.
    pub(super) fn rank(&self) -> Rank {
        let issued = self.life.revision > 0;
        match &self.names {
            Some(names) => names.rank(self.cid, issued),
            None => (!issued, may_stand_in(&self.cid), self.cid),
        }
    }

    /// Whether an event is callstore's word about what was issued under another name.
    pub(super) fn is_of_other_record(&self, event: &Event<'_>) -> bool {
        matches!(event.kind, Kind::Record | Kind::Accepted)
            && Head::tagged(event).is_some_and(|head| head.identity() != self.cid)
    }

    /// Gives the call that of its names which is to be its own. Returns whether that is another one.
    ///
    /// # Errors
    /// The set is corrupt.
    pub(super) fn choose_name(&mut self) -> Result<bool, Corrupt> {
        let own = self.set.head();
        let Some(names) = &self.names else {
            return Ok(false);
        };
        let best = names.0.iter().map(|alias| names.rank(alias.cid, false));
        let cid = match best.min().filter(|best| *best < self.rank()) {
            Some((_, _, cid)) => cid,
            None => self.cid,
        };
        let legs = names.0.iter().filter(|alias| alias.cid == cid);
        let own_leg = (cid == self.cid).then_some(own);
        let heads = legs.map(Alias::head).chain(own_leg);
        let best = heads.min_by_key(|head| leg_rank(head.acallid, head.invitets));
        let Some(best) = best.filter(|best| {
            (best.acallid, best.invitets) != (own.acallid, own.invitets) || cid != self.cid
        }) else {
            return Ok(false);
        };
        let mut set = EventSet::new(Head {
            cid: Some(cid),
            ..best
        });
        let mut names = Names::default();
        for event in self.set.iter()? {
            let mut event = event?;
            let said = Head::untag(&mut event).unwrap_or(own);
            said.tag(&set.head(), &mut event);
            set.adopt(said);
            set.push(&event);
            if let Some(other) = Head::tagged(&event) {
                names.note(&other, event.kind);
            }
        }
        let is_renamed = cid != self.cid;
        self.cid = cid;
        self.set = set;
        self.names = Some(Box::new(names));
        Ok(is_renamed)
    }

    /// What the record of a call of several names is made of: its events without the names under which they came, and without what was
    /// issued under others.
    pub(super) fn told(&self) -> Result<impl Iterator<Item = Event<'_>>, Corrupt> {
        let events = self.set.iter()?.flatten();
        let events = events.filter(|event| !self.is_of_other_record(event));
        Ok(events.map(|mut event| {
            Head::untag(&mut event);
            event
        }))
    }

    /// Bytes that the names take.
    pub(super) fn names_bytes(&self) -> usize {
        self.names.as_ref().map_or(0, |names| names.heap_bytes())
    }
}
