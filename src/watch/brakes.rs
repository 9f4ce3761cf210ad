//! Brakes on mass deaths: at most so many synthetic ends in a second and owner that rest on one kind of evidence.
//!
//! Who is to end gets an appointment, so that nothing is looked at again and again while it waits: in the second of the
//! appointment the case is weighed once more. Always holds: no second has more than the limit; appointments of one key
//! are given in the order in which they are asked for. Used by the store. Must never: decide that somebody is dead.

use std::collections::HashMap;

const SECOND_MS: i64 = 1_000;
/// So long after the last appointment the next mass death is another one.
const QUIET_MS: i64 = 60_000;

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
    /// How many had to wait since the mass death began, and how many of them were told.
    held: usize,
    told: usize,
    /// When it began; 0 where none has.
    since_ms: i64,
}

/// Many dialogs of one owner or node are found dead at once, on one kind of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MassDeath {
    /// The node, or the owner outside of Erlang; empty for dialogs without an owner.
    pub of: String,
    /// When it was noticed, which tells it from another one of the same.
    pub since_ms: i64,
    /// How many had to wait so far.
    pub held: usize,
}

impl Brakes {
    /// When an end of this key may take place: now or later. `per_s` 0 is no brake.
    pub fn appoint(&mut self, key: &str, now_ms: i64, per_s: i64) -> i64 {
        if per_s == 0 {
            return now_ms;
        }
        if !self.keys.contains_key(key) {
            self.keys.insert(key.into(), Bucket::default());
        }
        let Some(bucket) = self.keys.get_mut(key) else {
            return now_ms;
        };
        if now_ms >= bucket.second_ms + SECOND_MS {
            (bucket.second_ms, bucket.used) = (now_ms, 0);
        }
        if bucket.used >= per_s {
            bucket.second_ms += SECOND_MS;
            bucket.used = 0;
        }
        bucket.used += 1;
        let at = bucket.second_ms.max(now_ms);
        bucket.held += usize::from(at > now_ms);
        at
    }

    /// The mass deaths of which more had to wait than was told, each with the number of all so far.
    pub fn alarms(&mut self, now_ms: i64) -> Vec<MassDeath> {
        self.keys
            .retain(|_, bucket| now_ms < bucket.second_ms + QUIET_MS);
        let keys = self.keys.iter_mut();
        let grown = keys.filter(|(_, bucket)| bucket.held > bucket.told);
        let told = grown.map(|(key, bucket)| {
            bucket.told = bucket.held;
            if bucket.since_ms == 0 {
                bucket.since_ms = now_ms;
            }
            MassDeath {
                of: key.to_string(),
                since_ms: bucket.since_ms,
                held: bucket.held,
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
            .map(|_| brakes.appoint("n1", 5_000, 200))
            .collect();
        for second in 0..5 {
            let at = 5_000 + second * 1_000;
            assert_eq!(appointments.iter().filter(|&&it| it == at).count(), 200);
        }
        // One that comes later takes its place behind them; another key is not held.
        assert_eq!(brakes.appoint("n1", 6_500, 200), 10_000);
        assert_eq!(brakes.appoint("n2", 6_500, 200), 6_500);
        assert_eq!(brakes.appoint("n1", 6_500, 0), 6_500);
    }

    #[test]
    fn a_mass_death_is_one_alarm_whose_count_grows() {
        let mut brakes = Brakes::default();
        let mut die = |times, now_ms| {
            (0..times).for_each(|_| {
                brakes.appoint("n1", now_ms, 20);
            });
            let told = brakes.alarms(now_ms);
            (told.iter())
                .map(|it| (it.since_ms, it.held))
                .collect::<Vec<_>>()
        };
        assert_eq!(die(10, 1_000), []);
        assert_eq!(die(50, 1_000), [(1_000, 40)]);
        assert_eq!(die(0, 2_000), []);
        assert_eq!(die(50, 3_000), [(1_000, 90)]);
        assert_eq!(die(0, 200_000), []);
        assert_eq!(die(50, 200_000), [(200_000, 30)]);
    }
}
