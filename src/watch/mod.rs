//! When something is to be asked or decided about a call: limits, and later evidence and verdicts. Pure functions.

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
    /// Life of a call: the owner is asked.
    age_ms = 86_400_000;
}
