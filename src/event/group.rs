//! The events of one call as they lie in a chunk: a set that is read where it is, and added to one in RAM.
//!
//! Called by [`super::chunk`], whose body is one of these behind the other, and by whoever folds a chunk.

use super::bytes::Reader;
use super::raw::{self, RawEvents};
use super::set::{EventSet, Pushed, Translation};
use super::texts::TextsView;
use super::{Corrupt, Event, Head, Kind};

/// A set as it lies in a chunk.
#[derive(Debug)]
pub struct Group<'a> {
    /// What all events share.
    pub head: Head<'a>,
    /// Number of events.
    pub count: usize,
    /// Whether these are all events that the call had when the group was written.
    pub complete: bool,
    texts: TextsView<'a>,
    events: &'a [u8],
}

impl<'a> Group<'a> {
    /// Reads the group at the front of a chunk's body.
    ///
    /// # Errors
    /// Bytes that [`EventSet::write`] does not write.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let flags = reader.byte()?;
        let has = |bit: u8| flags >> bit & 1 == 1;
        let cid = if has(0) { Some(reader.array()?) } else { None };
        let acallid = if has(1) { Some(reader.size()?) } else { None };
        let invitets = if has(2) { Some(reader.signed()?) } else { None };
        let acallidhash = if has(3) { Some(reader.signed()?) } else { None };
        let texts = TextsView::read(reader)?;
        let acallid = acallid.map(|number| texts.text(number)).transpose()?;
        let count = reader.size()?;
        let size = reader.size()?;
        let events = reader.take(size)?;
        let head = Head {
            cid,
            acallid,
            invitets,
            acallidhash,
        };
        Ok(Group {
            head,
            count,
            complete: has(4),
            texts,
            events,
        })
    }

    /// Whether any event of a kind of which this is true is not in a set.
    pub fn adds(&self, set: &EventSet, counts: impl Fn(Kind) -> bool) -> bool {
        let events = RawEvents::new(self.events).flatten();
        events
            .into_iter()
            .any(|raw| counts(raw.kind) && !set.contains(&raw.id))
    }

    /// Tells `each` all events as they lie, one after the other in the same place.
    ///
    /// # Errors
    /// Bytes that [`EventSet::write`] does not write.
    pub fn visit(&self, mut each: impl FnMut(&Event<'a>)) -> Result<(), Corrupt> {
        let mut event = Event::empty();
        for raw in RawEvents::new(self.events) {
            raw?.view_into(&self.texts, &mut event)?;
            each(&event);
        }
        Ok(())
    }

    /// Adds all events to a set. `each` is told, in the order in which they lie, what became of every event.
    ///
    /// # Errors
    /// Bytes that [`EventSet::write`] does not write.
    pub fn push_into(
        &self,
        set: &mut EventSet,
        mut each: impl FnMut(&EventSet, &Event<'a>, Pushed),
    ) -> Result<(), Corrupt> {
        let mut translation = Translation::new();
        let begins = set.is_empty();
        if begins {
            set.begin_with(&self.texts, self.head, self.events.len());
        }
        let differs = !self.head.agrees(&set.head());
        if !differs {
            set.complete(self.head);
        }
        let (mut event, mut packed) = (Event::empty(), raw::room());
        for raw in RawEvents::new(self.events) {
            let raw = raw?;
            raw.view_into(&self.texts, &mut event)?;
            let pushed = if differs {
                self.head.tag(&set.head(), &mut event);
                set.push_by(&event, &mut packed)
            } else if begins {
                set.push_as_it_is(&raw, &mut packed)?
            } else {
                set.push_raw(&raw, &self.texts, &mut translation, &mut packed)?
            };
            each(set, &event, pushed);
        }
        Ok(())
    }
}
