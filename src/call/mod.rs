//! What is known of a call: the set of its events, and the fold of that set.

mod head;
pub mod life;

pub use head::{Head, record_id};
pub use life::{Life, Marks, Side, State};
