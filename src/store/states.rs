//! Which calls are in which state: a bit per call and state.

use super::keys::Slot;
use crate::call::State;
use crate::call::life::STATES;

/// The calls of every state.
#[derive(Debug, Default)]
pub struct States {
    bits: [Vec<u64>; STATES.len()],
    counts: [u32; STATES.len()],
}

impl States {
    /// A call is in a state from now on.
    pub fn insert(&mut self, state: State, slot: Slot) {
        let words = &mut self.bits[state as usize];
        let word = slot as usize / 64;
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        if let Some(word) = words.get_mut(word) {
            *word |= 1 << (slot % 64);
        }
        self.counts[state as usize] += 1;
    }

    /// A call is in a state no longer.
    pub fn remove(&mut self, state: State, slot: Slot) {
        if let Some(word) = self.bits[state as usize].get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
        self.counts[state as usize] -= 1;
    }

    /// How many calls are in a state.
    pub fn count(&self, state: State) -> u32 {
        self.counts[state as usize]
    }

    /// The calls in a state from a slot on, in order.
    pub fn from(&self, state: State, from: Slot) -> impl Iterator<Item = Slot> {
        let first = from as usize / 64;
        let words = self.bits[state as usize].iter().enumerate().skip(first);
        words.flat_map(move |(number, &word)| {
            let masked = if number == first {
                word & (u64::MAX << (from % 64))
            } else {
                word
            };
            let base = (number * 64) as Slot;
            std::iter::successors(Some(masked), |word| Some(word & word.wrapping_sub(1)))
                .take_while(|&word| word != 0)
                .map(move |word| base + word.trailing_zeros())
        })
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bits.iter().map(|words| words.capacity() * 8).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_state_come_in_order_from_any_place() {
        let mut states = States::default();
        for slot in [0, 1, 63, 64, 130, 500] {
            states.insert(State::Held, slot);
        }
        states.remove(State::Held, 64);
        let from = |slot| states.from(State::Held, slot).collect::<Vec<_>>();
        assert_eq!(from(0), [0, 1, 63, 130, 500]);
        assert_eq!(from(63), [63, 130, 500]);
        assert_eq!(from(131), [500]);
        assert_eq!(states.count(State::Held), 5);
    }
}
