//! Questions: one call by what it is called by, pages of calls, counts. Every key that has an index is looked up in it.

use super::filing::{CALL_IDS, subscriber};
use super::keys::{Lookup, Slot};
use super::{Entry, Store};
use crate::call::State;
use crate::call::life::STATES;
use crate::event::{EventId, Field, Value};
use crate::record::{self, Out};

/// Which calls are asked for; what is not set does not matter. All that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A domain.
    pub domain: Option<String>,
    /// Whether the domains below it count, too.
    pub subtree: bool,
    /// A subscriber that takes part, `number@domain`.
    pub user: Option<String>,
    /// A number that takes part, of whatever domain.
    pub number: Option<String>,
    /// A state; without one, calls that are not over.
    pub state: Option<State>,
    /// A label.
    pub binding: Option<String>,
    /// Who serves it, as callstore packs it.
    pub owner: Option<String>,
    /// Calls that began at this moment or later, ms.
    pub since_ms: Option<i64>,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Which of several lists.
    pub list: u32,
    /// The first slot that has not been looked at.
    pub slot: u32,
}

/// A page of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The calls.
    pub cids: Vec<EventId>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Cursor>,
}

/// How many calls are looked at for one page before it ends, found or not.
const LOOK_LIMIT: usize = 10_000;

impl Store {
    /// The call that is called so.
    pub fn find(&self, lookup: Lookup<'_>) -> Option<EventId> {
        let found = self.keys.identity(lookup.key());
        let entries = found.filter_map(|slot| self.entry(slot));
        entries
            .filter(|entry| entry.is_called(lookup))
            .min_by_key(|entry| (entry.state.is_over(), entry.cid))
            .map(|entry| entry.cid)
    }

    /// Writes what is known of a call: its record as far as it goes, its state and its owner. `false` where there is none.
    pub fn write_call(&self, cid: EventId, out: &mut impl Out) -> bool {
        let entry = self.slot_of(cid).and_then(|slot| self.entry(slot));
        let Some((entry, call)) = entry.and_then(|entry| Some((entry, entry.call()?))) else {
            return false;
        };
        let context = self.context("", 0, entry.life.revision);
        record::write_live(&call, &context, entry.state, out);
        true
    }

    /// A page of calls.
    pub fn calls(&self, filter: &Filter, limit: usize, from: Cursor) -> Page {
        let mut page = Page::default();
        let mut looked = 0;
        let lists = self.lists(filter);
        for (number, list) in lists.iter().enumerate().skip(from.list as usize) {
            let first = if number as u32 == from.list {
                from.slot
            } else {
                0
            };
            for slot in self.slots(list, first) {
                looked += 1;
                if page.cids.len() >= limit || looked > LOOK_LIMIT {
                    page.next = Some(Cursor {
                        list: number as u32,
                        slot,
                    });
                    return page;
                }
                let entry = self.entry(slot).filter(|entry| self.matches(entry, filter));
                if let Some(entry) = entry.filter(|entry| !listed_before(entry, &lists, number)) {
                    page.cids.push(entry.cid);
                }
            }
        }
        page
    }

    /// How many calls there are; from the counters where they know, else by looking at the calls of the best index.
    pub fn count(&self, filter: &Filter) -> u64 {
        let counted = Filter {
            domain: filter.domain.clone(),
            subtree: filter.subtree,
            state: filter.state,
            ..Filter::default()
        };
        if *filter != counted {
            let lists = self.lists(filter);
            let numbered = lists.iter().enumerate();
            let found = numbered.flat_map(|(number, list)| {
                let entries = self.slots(list, 0).filter_map(|slot| self.entry(slot));
                let lists = &lists;
                entries.filter(move |entry| {
                    self.matches(entry, filter) && !listed_before(entry, lists, number)
                })
            });
            return found.count() as u64;
        }
        let by_state = |counts: &super::Counts| match filter.state {
            Some(state) => u64::from(counts.by_state[state as usize]),
            None => counts.live(),
        };
        match (&filter.domain, filter.state) {
            (Some(domain), _) => self
                .domains
                .counts(domain, filter.subtree)
                .map_or(0, by_state),
            (None, Some(state)) => u64::from(self.states.count(state)),
            (None, None) => self.live(),
        }
    }

    /// What is counted of a domain itself and of each subtree right below it.
    pub fn counts(&self, domain: &str) -> Vec<(&str, &super::Counts)> {
        self.domains.below(domain)
    }

    /// The lists of slots that together hold all calls of a filter.
    fn lists(&self, filter: &Filter) -> Vec<List> {
        if let Some(owner) = &filter.owner {
            return vec![List::Key(Lookup::Owner(owner).key())];
        }
        if let Some(user) = &filter.user {
            return vec![List::Key(Lookup::User(user).key())];
        }
        if let Some(binding) = &filter.binding {
            return vec![List::Key(Lookup::Binding(binding).key())];
        }
        if let Some(domain) = &filter.domain {
            let numbers = self.domains.within(domain, filter.subtree);
            return numbers.into_iter().map(List::Domain).collect();
        }
        if let Some(state) = filter.state {
            return vec![List::State(state)];
        }
        STATES
            .into_iter()
            .filter(|state| !state.is_over())
            .map(List::State)
            .collect()
    }

    fn slots(&self, list: &List, from: Slot) -> Box<dyn Iterator<Item = Slot> + '_> {
        match *list {
            List::Key(key) => Box::new(self.keys.common(key, from)),
            List::Domain(number) => Box::new(self.domains.members(number, from)),
            List::State(state) => Box::new(self.states.from(state, from)),
        }
    }

    fn matches(&self, entry: &Entry, filter: &Filter) -> bool {
        let state = match filter.state {
            Some(state) => entry.state == state,
            None => !entry.state.is_over(),
        };
        let within = |domain: &String| {
            let wanted = self.domains.within(domain, false);
            wanted.first().is_some_and(|&root| {
                entry.domains.iter().any(|&number| {
                    number == root || filter.subtree && self.domains.is_within(number, root)
                })
            })
        };
        state
            && filter
                .since_ms
                .is_none_or(|since| entry.life.first_ts >= since)
            && filter.domain.as_ref().is_none_or(within)
            && filter
                .user
                .as_ref()
                .is_none_or(|user| entry.is_called(Lookup::User(user)))
            && filter
                .number
                .as_ref()
                .is_none_or(|number| entry.has_number(number))
            && filter
                .binding
                .as_ref()
                .is_none_or(|label| entry.is_called(Lookup::Binding(label)))
            && filter
                .owner
                .as_ref()
                .is_none_or(|owner| entry.is_called(Lookup::Owner(owner)))
    }
}

/// One list of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Key(super::keys::Key),
    Domain(u32),
    State(State),
}

/// A call of several domains is listed under the first of them only.
fn listed_before(entry: &Entry, lists: &[List], number: usize) -> bool {
    let earlier = lists.get(..number).unwrap_or_default();
    entry.domains.len() > 1
        && matches!(lists.get(number), Some(List::Domain(_)))
        && entry
            .domains
            .iter()
            .any(|&domain| earlier.contains(&List::Domain(domain)))
}

impl Entry {
    /// Whether the call is called so in truth, not only by its hash.
    pub(super) fn is_called(&self, lookup: Lookup<'_>) -> bool {
        match lookup {
            Lookup::Cid(cid) => self.answers_to(cid),
            Lookup::Dialog(dialog) => self.has(&[Field::Dialogid], dialog),
            Lookup::CallId(callid) => {
                self.set.head().acallid == Some(callid) || self.has(&CALL_IDS, callid)
            }
            Lookup::Media(context) => self.has(&[Field::Mgctxid], context),
            Lookup::User(user) => self.has_user(user),
            Lookup::Binding(label) => self
                .call()
                .is_some_and(|call| call.bindings.labels().any(|set| set == label)),
            Lookup::Owner(owner) => self.owner().as_deref() == Some(owner),
        }
    }

    fn has(&self, fields: &[Field], text: &str) -> bool {
        self.set.has_text(text)
            && self.any(|field, value| fields.contains(&field) && value == Value::Str(text))
    }

    fn has_user(&self, user: &str) -> bool {
        let mut texts = self.party_texts();
        texts.any(|text| subscriber(text) == Some(user)) || self.is_from(user)
    }

    fn has_number(&self, number: &str) -> bool {
        let of = |text: &str| {
            subscriber(text).and_then(|party| party.split_once('@')?.0.into()) == Some(number)
        };
        self.party_texts().any(of) || self.has(&[Field::Fromusername, Field::Callednum], number)
    }

    fn is_from(&self, user: &str) -> bool {
        user.rsplit_once('@').is_some_and(|(name, domain)| {
            self.has(&[Field::Fromusername], name) && self.has(&[Field::Fromdomain], domain)
        })
    }

    /// The texts of the set that are URIs of parties, by their form.
    fn party_texts(&self) -> impl Iterator<Item = &str> {
        self.set.texts().filter(|text| text.contains("sip"))
    }

    /// Who serves the call: the owner that was said last.
    pub(super) fn owner(&self) -> Option<String> {
        let mut owner = None;
        for event in self.set.iter().ok()?.flatten() {
            let said = event
                .get(Field::Newowner)
                .or_else(|| event.get(Field::Owner));
            if let Some(Value::Str(text)) = said {
                owner = Some(text.to_owned());
            }
        }
        owner
    }
}
