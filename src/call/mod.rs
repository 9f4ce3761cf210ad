//! What is known of a call: the set of its events, and the fold of that set.

pub mod bindings;
pub mod completeness;
pub mod ending;
pub mod forks;
pub mod holds;
pub mod legs;
pub mod life;
pub mod links;
pub mod media;
pub mod recording;
pub mod routing;
pub mod state;
pub mod survival;
pub mod text;
pub mod uri;

mod known;

#[cfg(test)]
pub(crate) mod testing;

pub use crate::event::{Head, record_id};
pub use known::{Call, Durations};
pub use life::{Life, Marks, Side, State};
pub use text::Text;
