//! What is known of a call: the set of its events, and the fold of that set.

pub mod life;

pub use crate::event::{Head, record_id};
pub use life::{Life, Marks, Side, State};
