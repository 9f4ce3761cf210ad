//! What is written of a call: its record when it is over, the row of the projection, and what is known while it lives.
//!
//! All of it goes through [`Out`], as calls and not as a tree of values, so that the same code makes JSON here and terms
//! at the edge. Nothing here decides anything; what is not known is null.

pub mod cause;
pub mod copm3;

mod json;
mod keys;
mod out;
mod survival;
mod write;

pub use json::JsonOut;
pub use out::Out;
pub use write::{Context, SCHEMA, write, write_live};

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests;
