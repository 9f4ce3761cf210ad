//! Brakes on mass deaths: at most so many synthetic ends in a second and owner that rest on one kind of evidence.
//!
//! Who is to end gets an appointment, so that nothing is looked at again and again while it waits: in the second of the
//! appointment the case is weighed once more. A second kind of evidence lifts the brake, not the alarm: more ends in a
//! second than pass the brake are a mass death, and all its dead are counted. Always holds: no second has more than the
//! limit; appointments of one key are given in the order in which they are asked for. Used by the store. Must never:
//! decide that somebody is dead.

use std::collections::HashMap;

const SECOND_MS: i64 = 1_000;
/// So long after the last appointment the next mass death is another one.
const QUIET_MS: i64 = 60_000;
/// So many ends in a second are a mass death where there is no brake.
const MASS: i64 = 200;

/// How many ends are behind and ahead, per key.
#[derive(Debug, Default)]
pub struct Brakes {
    keys: HashMap<Box<str>, Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// The second that is being filled, and how many ends it has.
    second_ms: i64,
    used: i64,
    /// The second in which ends are found, and how many so far.
    found_ms: i64,
    found: i64,
    mass: Mass,
}

/// A mass death so far.
#[derive(Debug, Default)]
struct Mass {
    /// When it began, and its last appointment; 0 where there is none.
    since_ms: i64,
    until_ms: i64,
    /// How many are dead, how many of them had to wait, and how many dead were told.
    count: usize,
    held: usize,
    told: usize,
}

/// Many dialogs of one owner or node are found dead at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MassDeath {
    /// The node, or the owner outside of Erlang; empty for dialogs without an owner.
    pub of: String,
    /// When it was noticed, which tells it from another one of the same.
    pub since_ms: i64,
    /// How many are dead so far.
    pub count: usize,
    /// How many of them the brakes made wait.
    pub held: usize,
}

impl Bucket {
    fn appoint(&mut self, now_ms: i64, per_s: i64) -> i64 {
        if now_ms >= self.second_ms + SECOND_MS {
            (self.second_ms, self.used) = (now_ms, 0);
        }
        if self.used >= per_s {
            self.second_ms += SECOND_MS;
            self.used = 0;
        }
        self.used += 1;
        self.second_ms.max(now_ms)
    }

    fn count(&mut self, at_ms: i64, now_ms: i64, per_s: i64) {
        if now_ms >= self.found_ms + SECOND_MS {
            (self.found_ms, self.found) = (now_ms, 0);
        }
        self.found += 1;
        let limit = if per_s == 0 { MASS } else { per_s };
        let is_many = self.found > limit || at_ms > now_ms;
        let mass = &mut self.mass;
        if mass.since_ms != 0 && now_ms >= mass.until_ms + QUIET_MS {
            *mass = Mass::default();
        }
        match mass.since_ms {
            0 if !is_many => return,
            0 => (mass.since_ms, mass.count) = (now_ms, self.found as usize),
            _ => mass.count += 1,
        }
        mass.held += usize::from(at_ms > now_ms);
        if is_many {
            mass.until_ms = at_ms;
        }
    }
}

impl Brakes {
    /// When an end of this key may take place: now or later. `per_s` 0 is no brake, and neither is there one for what
    /// rests on several kinds of evidence (`is_sure`).
    pub fn appoint(&mut self, key: &str, now_ms: i64, per_s: i64, is_sure: bool) -> i64 {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), Bucket::default());
        }
        let Some(bucket) = self.keys.get_mut(key) else {
            return now_ms;
        };
        let at_ms = match per_s == 0 || is_sure {
            true => now_ms,
            false => bucket.appoint(now_ms, per_s),
        };
        bucket.count(at_ms, now_ms, per_s);
        at_ms
    }

    /// Lets go of what is long behind.
    pub fn let_go(&mut self, now_ms: i64) {
        self.keys.retain(|_, bucket| {
            let last_ms = bucket.second_ms.max(bucket.found_ms);
            now_ms < last_ms.max(bucket.mass.until_ms) + QUIET_MS
        });
    }

    /// The mass deaths of which more are dead than was told, each with the number of all so far.
    pub fn alarms(&mut self, now_ms: i64) -> Vec<MassDeath> {
        self.let_go(now_ms);
        let masses = self
            .keys
            .iter_mut()
            .map(|(key, bucket)| (key, &mut bucket.mass));
        let grown = masses.filter(|(_, mass)| mass.count > mass.told);
        let told = grown.map(|(key, mass)| {
            mass.told = mass.count;
            MassDeath {
                of: key.to_string(),
                since_ms: mass.since_ms,
                count: mass.count,
                held: mass.held,
            }
        });
        told.collect()
    }

    /// Bytes on the heap, by estimate.
    pub fn heap_bytes(&self) -> usize {
        self.keys.capacity() * (size_of::<Bucket>() + 17)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_the_limit_and_none_is_lost() {
        let mut brakes = Brakes::default();
        let appointments: Vec<i64> = (0..1_000)
            .map(|_| brakes.appoint("n1", 5_000, 200, false))
            .collect();
        for second in 0..5 {
            let at = 5_000 + second * 1_000;
            assert_eq!(appointments.iter().filter(|&&it| it == at).count(), 200);
        }
        // One that comes later takes its place behind them; another key is not held.
        assert_eq!(brakes.appoint("n1", 6_500, 200, false), 10_000);
        assert_eq!(brakes.appoint("n2", 6_500, 200, false), 6_500);
        assert_eq!(brakes.appoint("n1", 6_500, 0, false), 6_500);
        assert_eq!(brakes.appoint("n1", 6_500, 200, true), 6_500);
    }

    /// So many die at a moment; what is told of it: since when, how many, how many of them were held.
    fn die(
        brakes: &mut Brakes,
        times: usize,
        now_ms: i64,
        per_s: i64,
        is_sure: bool,
    ) -> Vec<(i64, usize, usize)> {
        for _ in 0..times {
            brakes.appoint("n1", now_ms, per_s, is_sure);
        }
        let told = brakes.alarms(now_ms);
        told.iter()
            .map(|it| (it.since_ms, it.count, it.held))
            .collect()
    }

    #[test]
    fn a_mass_death_is_one_alarm_whose_count_grows() {
        let mut brakes = Brakes::default();
        let mut die = |times, now_ms| die(&mut brakes, times, now_ms, 20, false);
        assert_eq!(die(10, 1_000), []);
        assert_eq!(die(50, 1_000), [(1_000, 60, 40)]);
        assert_eq!(die(0, 2_000), []);
        assert_eq!(die(50, 3_000), [(1_000, 110, 90)]);
        assert_eq!(die(0, 200_000), []);
        assert_eq!(die(50, 200_000), [(200_000, 50, 30)]);
    }

    #[test]
    fn deaths_that_nothing_holds_are_a_mass_death_all_the_same() {
        let mut brakes = Brakes::default();
        assert_eq!(die(&mut brakes, 20, 1_000, 20, true), []);
        assert_eq!(die(&mut brakes, 1, 1_000, 20, true), [(1_000, 21, 0)]);
        let mut brakes = Brakes::default();
        assert_eq!(die(&mut brakes, 200, 1_000, 0, false), []);
        assert_eq!(die(&mut brakes, 100, 1_500, 0, false), [(1_500, 300, 0)]);
    }

    #[test]
    fn who_dies_now_and_then_is_no_part_of_the_mass_death_of_an_hour_ago() {
        let mut brakes = Brakes::default();
        assert_eq!(die(&mut brakes, 50, 1_000, 20, false), [(1_000, 50, 30)]);
        let mut told = Vec::new();
        for minute in 1..60 {
            told = die(&mut brakes, 1, 1_000 + minute * 50_000, 20, false);
        }
        assert_eq!(told, []);
        let now_ms = 1_000 + 60 * 50_000;
        assert_eq!(die(&mut brakes, 21, now_ms, 20, false), [(now_ms, 21, 1)]);
    }
}
