//! Domains by number, and what is counted of each: calls by state, started, closed.
//!
//! Invariant, per domain: *started = live + closed*. A subtree is counted by adding its domains.

use std::collections::HashMap;

use super::keys::{Postings, Slot};
use crate::call::State;
use crate::call::life::STATES;

/// The number of a domain.
pub type DomainNo = u32;

/// What is counted of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that began and were not merged into others.
    pub started: u64,
    /// Calls that are over, kept or not.
    pub closed: u64,
    /// Calls that are kept, by state.
    pub by_state: [u32; STATES.len()],
}

impl Counts {
    /// Calls in the live set.
    pub fn live(&self) -> u64 {
        let live = STATES.iter().filter(|state| !state.is_over());
        live.map(|&state| u64::from(self.by_state[state as usize]))
            .sum()
    }
}

/// The numbers of some domains.
pub type Numbers = smallvec::SmallVec<[DomainNo; 12]>;

#[derive(Debug)]
struct Row {
    name: Box<str>,
    parent: Option<DomainNo>,
    own: Counts,
    subtree: Counts,
}

/// All domains that have been seen, and the domains above them.
#[derive(Debug, Default)]
pub struct Domains {
    numbers: HashMap<Box<str>, DomainNo, foldhash::fast::FixedState>,
    rows: Vec<Row>,
    members: Postings,
}

impl Domains {
    /// The number of a domain, in lower case, which is added where it is new; the domains above it have lower numbers.
    pub fn number(&mut self, name: &str) -> DomainNo {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.number(&name.to_ascii_lowercase());
        }
        let parent = name.split_once('.').map(|(_, above)| self.number(above));
        let number = self.rows.len() as DomainNo;
        self.numbers.insert(name.into(), number);
        let (own, subtree) = Default::default();
        self.rows.push(Row {
            name: name.into(),
            parent,
            own,
            subtree,
        });
        number
    }

    /// The name of a domain.
    pub fn name(&self, number: DomainNo) -> &str {
        self.rows.get(number as usize).map_or("", |row| &row.name)
    }

    /// A call that belongs to `members` belongs to `new` from now on, too.
    pub fn join(&mut self, members: &[DomainNo], new: DomainNo, slot: Slot, state: State) {
        self.members.insert(new, slot);
        let begin = |counts: &mut Counts| {
            counts.started += 1;
            counts.by_state[state as usize] += 1;
            counts.closed += u64::from(state.is_over());
        };
        let counted = self.above(members);
        for number in self.above(&[new]) {
            if !counted.contains(&number) {
                self.count(number, true, begin);
            }
        }
        self.count(new, false, begin);
    }

    /// The state of a call that belongs to `members` changes.
    pub fn change(&mut self, members: &[DomainNo], from: State, to: State) {
        self.count_all(members, |counts| {
            counts.by_state[from as usize] -= 1;
            counts.by_state[to as usize] += 1;
            counts.closed += u64::from(to.is_over());
            counts.closed -= u64::from(from.is_over());
        });
    }

    /// A call is kept no longer; `merged` when it went on in another.
    pub fn leave(&mut self, members: &[DomainNo], slot: Slot, state: State, merged: bool) {
        for &number in members {
            self.members.remove(number, slot);
        }
        self.count_all(members, |counts| {
            counts.by_state[state as usize] -= 1;
            if merged {
                counts.started -= 1;
                counts.closed -= u64::from(state.is_over());
            }
        });
    }

    fn count_all(&mut self, members: &[DomainNo], change: impl Fn(&mut Counts)) {
        for &number in members {
            self.count(number, false, &change);
        }
        for number in self.above(members) {
            self.count(number, true, &change);
        }
    }

    fn count(&mut self, number: DomainNo, subtree: bool, change: impl Fn(&mut Counts)) {
        if let Some(row) = self.rows.get_mut(number as usize) {
            change(if subtree {
                &mut row.subtree
            } else {
                &mut row.own
            });
        }
    }

    /// These domains and all above them, each once.
    fn above(&self, members: &[DomainNo]) -> Numbers {
        let mut found = Numbers::new();
        for &member in members {
            let mut next = Some(member);
            while let Some(number) = next.filter(|number| !found.contains(number)) {
                found.push(number);
                next = self.rows.get(number as usize).and_then(|row| row.parent);
            }
        }
        found
    }

    fn find(&self, name: &str) -> Option<DomainNo> {
        self.numbers
            .get(name.to_ascii_lowercase().as_str())
            .copied()
    }

    /// Whether a domain is another or lies below it.
    pub fn is_within(&self, number: DomainNo, root: DomainNo) -> bool {
        self.above(&[number]).contains(&root)
    }

    /// The domains of a subtree (the root of it included), or just one, by number in ascending order.
    pub fn within(&self, name: &str, subtree: bool) -> Vec<DomainNo> {
        match self.find(name) {
            None => Vec::new(),
            Some(root) if !subtree => vec![root],
            Some(root) => {
                let numbers = root..self.rows.len() as DomainNo;
                numbers
                    .filter(|&number| self.is_within(number, root))
                    .collect()
            }
        }
    }

    /// The calls of a domain from a slot on.
    pub fn members(&self, number: DomainNo, from: Slot) -> impl Iterator<Item = Slot> {
        self.members.from(number, from)
    }

    /// What is counted of a domain, or of its subtree, where a call of several domains of it counts once.
    pub fn counts(&self, name: &str, subtree: bool) -> Option<&Counts> {
        let row = self.rows.get(self.find(name)? as usize)?;
        Some(if subtree { &row.subtree } else { &row.own })
    }

    /// What is counted of a domain itself, and of the subtree of each domain right below it.
    pub fn below(&self, name: &str) -> Vec<(&str, &Counts)> {
        let Some(root) = self.find(name) else {
            return Vec::new();
        };
        let own = self
            .rows
            .get(root as usize)
            .map(|row| (row.name.as_ref(), &row.own));
        let children = self.rows.iter().filter(|row| row.parent == Some(root));
        own.into_iter()
            .chain(children.map(|row| (row.name.as_ref(), &row.subtree)))
            .collect()
    }

    /// All domains with what is counted of each by itself.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Counts)> {
        let used = self.rows.iter().filter(|row| row.own.started > 0);
        used.map(|row| (row.name.as_ref(), &row.own))
    }

    /// Bytes on the heap, by estimate.
    pub fn heap_bytes(&self) -> usize {
        let names: usize = self.rows.iter().map(|row| row.name.len() * 2).sum();
        names
            + self.rows.capacity() * size_of::<Row>()
            + self.numbers.capacity() * 24
            + self.members.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtree_is_counted_one_level_down_and_each_call_once() {
        let mut domains = Domains::default();
        for (slot, name) in [
            "era.test",
            "alfa.era.test",
            "sales.Alfa.era.test",
            "xalfa.era.test",
        ]
        .iter()
        .enumerate()
        {
            let number = domains.number(name);
            domains.join(&[], number, slot as Slot, State::Early);
        }
        let (alfa, sales) = (
            domains.number("ALFA.era.test"),
            domains.number("sales.alfa.era.test"),
        );
        domains.change(&[alfa], State::Early, State::Closed);
        domains.join(&[sales], alfa, 2, State::Early);
        let below: Vec<_> = domains
            .below("era.test")
            .into_iter()
            .map(|(name, counts)| (name, counts.started, counts.live(), counts.closed))
            .collect();
        assert_eq!(
            below,
            [
                ("era.test", 1, 1, 0),
                ("alfa.era.test", 2, 1, 1),
                ("xalfa.era.test", 1, 1, 0)
            ]
        );
        assert_eq!(domains.counts("era.test", true).map(Counts::live), Some(3));
        assert_eq!(
            domains.counts("alfa.era.test", false).map(Counts::live),
            Some(1)
        );
        assert_eq!(domains.within("alfa.era.test", true).len(), 2);
        assert_eq!(domains.within("alfa.era.test", false).len(), 1);
        domains.leave(&[sales, alfa], 2, State::Early, true);
        assert_eq!(domains.counts("era.test", true).map(Counts::live), Some(2));
    }
}
