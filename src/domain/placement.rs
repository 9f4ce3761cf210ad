//! Where a call already lives. When a configuration moves a domain to another group, events of its live calls
//! go on to the group they started in; new calls go to the new one. One of these outlives every
//! [`super::Responsibility`] and is shared by all who route.
//!
//! Always holds: it never has more than [`Placement::capacity`] entries. Two generations: what is used goes
//! to the young one; when that is full it becomes the old one, and what was in the old one and not used since
//! is forgotten. So a call is remembered for at least half of the capacity in other calls since its last
//! event. Called for every event that is routed, from any thread. Must never be the truth: a forgotten call
//! is routed by its domain again.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::Group;

/// A power of two. Two threads that route at once meet in one shard once in sixteen times.
const SHARDS: usize = 16;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// From the hash of a call's identity to the group it lives in. 16 bytes an entry, some more for the table.
#[derive(Debug)]
pub struct Placement {
    shards: [Mutex<Generations>; SHARDS],
    per_generation: usize,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Group>,
    old: HashMap<u64, Group>,
}

impl Placement {
    /// Room for `capacity` calls, at least one in each generation of each shard. No memory is taken before it
    /// is used.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            per_generation: (capacity / (2 * SHARDS)).max(1),
        }
    }

    /// The most entries it will ever hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        2 * SHARDS * self.per_generation
    }

    /// The group an event of this call goes to: where the call lives if that is remembered, else `wanted`,
    /// which is remembered from now on. `call` is a hash of the call's identity; two calls with one hash go
    /// to one group, which is harmless to both.
    pub fn place(&self, call: u64, wanted: Group) -> Group {
        let mut shard = self.shard(call);
        if let Some(&group) = shard.young.get(&call) {
            return group;
        }
        let group = shard.old.remove(&call).unwrap_or(wanted);
        shard.insert(call, group, self.per_generation);
        group
    }

    /// Where the call lives, if that is remembered. Does not count as use.
    #[must_use]
    pub fn get(&self, call: u64) -> Option<Group> {
        let shard = self.shard(call);
        shard
            .young
            .get(&call)
            .or_else(|| shard.old.get(&call))
            .copied()
    }

    /// The call lives in `group`, whatever was known before: for calls that a group finds in its log, and for
    /// those that were moved.
    pub fn settle(&self, call: u64, group: Group) {
        let mut shard = self.shard(call);
        shard.old.remove(&call);
        shard.insert(call, group, self.per_generation);
    }

    /// The call is over. Says whether it was known.
    pub fn forget(&self, call: u64) -> bool {
        let mut shard = self.shard(call);
        shard
            .young
            .remove(&call)
            .or(shard.old.remove(&call))
            .is_some()
    }

    /// Forgets the calls of groups for which `stays` says no: groups that a configuration has taken away.
    pub fn retain_groups(&self, mut stays: impl FnMut(Group) -> bool) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.young.retain(|_, group| stays(*group));
            shard.old.retain(|_, group| stays(*group));
        }
    }

    /// How many calls are remembered now.
    #[must_use]
    pub fn len(&self) -> usize {
        let in_shard = |shard: &Generations| shard.young.len() + shard.old.len();
        self.shards.iter().map(|shard| in_shard(&lock(shard))).sum()
    }

    /// Is no call remembered?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "SHARD_BITS bits are less than SHARDS"
    )]
    fn shard(&self, call: u64) -> MutexGuard<'_, Generations> {
        // Mixed once more: the hash may be weak in its upper bits.
        let mixed = call.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let number = usize::try_from(mixed >> (u64::BITS - SHARD_BITS)).unwrap_or(0);
        lock(&self.shards[number])
    }
}

/// A panic elsewhere leaves a shard with entries missing at worst, and a missing entry is allowed: a poisoned
/// lock is taken all the same.
fn lock(shard: &Mutex<Generations>) -> MutexGuard<'_, Generations> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Generations {
    /// The caller has made sure that the call is not in the old generation.
    fn insert(&mut self, call: u64, group: Group, per_generation: usize) {
        if self.young.len() >= per_generation && !self.young.contains_key(&call) {
            mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(call, group);
    }
}
