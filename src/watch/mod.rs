//! When something is to be asked or decided about a call: limits, evidence, verdicts, brakes. Pure functions over data.
//!
//! Always holds: no answer is *unknown*, never *dead*; what is known to live outweighs what was seen before it. Evidence
//! is kept by the active instance only and never in the log; what is decided on it goes through the log. Used by the
//! store. Must never: read a clock, change a call, or know where calls are kept.

pub mod brakes;
pub mod evidence;
pub mod owner;
pub mod seen;
#[cfg(test)]
mod tests;
pub mod verdict;

pub use brakes::Brakes;
pub use evidence::{Answer, Evidence};
pub use owner::Server;
pub use seen::Seen;
pub use verdict::{Case, Judgement, Verdict, weigh, words};

macro_rules! limits {
    ($( $(#[$doc:meta])* $name:ident = $default:literal; )*) => {
        /// The times and rates by which calls are watched. All times in ms.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Limits { $( $(#[$doc])* pub $name: i64, )* }

        impl Default for Limits {
            fn default() -> Self {
                Limits { $( $name: $default, )* }
            }
        }

        /// Every limit: name and default.
        pub const LIMITS: &[(&str, i64)] = &[ $( (stringify!($name), $default), )* ];

        impl Limits {
            /// Sets one limit by its name.
            ///
            /// # Errors
            /// There is none of this name, or the value is negative.
            pub fn set(&mut self, name: &str, value: i64) -> Result<(), UnknownLimit> {
                if value < 0 {
                    return Err(UnknownLimit(name.to_owned()));
                }
                match name {
                    $( stringify!($name) => self.$name = value, )*
                    _ => return Err(UnknownLimit(name.to_owned())),
                }
                Ok(())
            }
        }
    };
}

/// A limit that does not exist, or a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no limit {0}, or a negative value")]
pub struct UnknownLimit(pub String);

limits! {
    /// How long `dlg_stop` is awaited after the end.
    stop_wait_ms = 5_000;
    /// How long a closed call is kept in full.
    tombstone_ms = 600_000;
    /// How long after that its identity is kept.
    tombstone_id_ms = 3_600_000;
    /// How long a closed call with a recording is kept in full while the links have not come.
    recording_wait_ms = 86_400_000;
    /// Ringing without progress: the owner is asked.
    ringing_ms = 300_000;
    /// Life of a call: the owner is asked. Without any proof of life for so long, and no answer, the call is closed.
    age_ms = 86_400_000;
    /// How often the owner of a dialog is asked whether it lives; 0: never.
    probe_ms = 30_000;
    /// So many questions in a row without an answer are a vote for death.
    probe_misses = 3;
    /// The same answer, or the same absence, told again within this time counts once.
    repeat_ms = 5_000;
    /// RTP silent for so long in conversation: suspicion.
    rtp_suspect_ms = 60_000;
    /// RTP silent for so long in conversation: a vote for death.
    rtp_dead_ms = 300_000;
    /// On hold, limits of silence are so many times as long.
    hold_times = 10;
    /// How long after a death its dialog is asked for some times more, should it live after all, and how long after the
    /// node is back that it was lost with; 0: never.
    dead_probe_ms = 300_000;
    /// How long an end is awaited after the owner has died.
    end_grace_ms = 5_000;
    /// How long an end is awaited after the owner has ended in order, or was gone before anybody looked.
    end_grace_orderly_ms = 60_000;
    /// How long a node may be down, or out of reach, before that says anything.
    node_grace_ms = 5_000;
    /// How long after a take-over reports about RTP are awaited before they are missed.
    takeover_grace_ms = 60_000;
    /// How long a conversation that nobody controls any more is left open while its RTP flows.
    orphan_media_ms = 300_000;
    /// How long a conversation whose owner is out of reach is left open while its RTP flows.
    unreachable_media_ms = 3_600_000;
    /// Synthetic ends in a second, per node or outside owner, that rest on one kind of evidence only; 0: no brake.
    ends_per_s = 200;
    /// How long a rescue of the conversation may take before its dialog is declared dead; 0: none is asked for.
    rescue_ms = 0;
    /// How long the mix of a dead dialog's recording waits at most for its RTP to stop.
    mix_wait_ms = 3_600_000;
    /// How long after one attempt to have a recording mixed the second comes; each further takes twice as long. 0: none.
    mix_retry_ms = 10_000;
    /// The longest time between two such attempts.
    mix_retry_max_ms = 600_000;
}
