//! What can be said about a call: types, fields, values, the input of both from JSON and from terms, and the chunk.
//!
//! This is the lowest room: nothing here knows of calls as a whole.

pub mod field;
pub mod kind;
pub mod value;

mod view;

pub use field::Field;
pub use kind::{Class, Kind};
pub use value::Value;
pub use view::{Event, EventId, Fields, Name};
