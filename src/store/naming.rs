//! What a call kept in the store is called, of all the names under which its events came: see [`super::names`] for the rule.

use super::entry::Entry;
use super::names::{Alias, Names, Rank, leg_rank};
use crate::event::head::may_stand_in;
use crate::event::{Corrupt, Event, EventId, EventSet, Head, Kind};

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
