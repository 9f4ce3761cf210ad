//! What can be said about a call: types, fields, values, the input of both from JSON and from terms, the packed set of
//! a call's events, and the chunk.
//!
//! This is the lowest room: nothing here knows what follows from events.

pub mod bytes;
pub mod chunk;
pub mod cut;
pub mod encode;
pub mod field;
pub mod group;
pub mod input;
pub mod json;
pub mod kind;
pub mod set;
pub mod texts;
pub mod value;

mod draft;
pub(crate) mod head;
mod key;
mod plain;
mod raw;
mod reject;
mod view;

pub use field::Field;
pub use head::{Head, record_id};
pub use kind::{Class, Kind};
pub use set::EventSet;
pub use value::Value;
pub use view::{Event, EventId, Fields, Name};

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// They end too early.
    #[error("the bytes end too early")]
    Short,
    /// An integer is too large for its place.
    #[error("an integer is too large for its place")]
    Number,
    /// The table of strings does not fit its count, or a string is not in it.
    #[error("the table of strings does not fit")]
    Strings,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A field of a later version, in a place where it cannot be passed over.
    #[error("a field of unknown code")]
    Field,
    /// A value of unknown tag.
    #[error("a value of unknown tag")]
    Value,
    /// Not a chunk.
    #[error("not a chunk")]
    Magic,
    /// A chunk of a version that this one cannot read.
    #[error("a chunk of version {0}, which this release does not read")]
    Version(u8),
    /// The checksum does not fit.
    #[error("the checksum does not fit")]
    Checksum,
    /// More than a chunk may hold.
    #[error("more than a chunk may hold")]
    TooLarge,
}

impl Corrupt {
    /// The reason as one word.
    pub const fn kind(self) -> &'static str {
        match self {
            Corrupt::Short => "short",
            Corrupt::Number => "number",
            Corrupt::Strings => "strings",
            Corrupt::Text => "text",
            Corrupt::Field => "field",
            Corrupt::Value => "value",
            Corrupt::Magic => "magic",
            Corrupt::Version(_) => "version",
            Corrupt::Checksum => "checksum",
            Corrupt::TooLarge => "too_large",
        }
    }
}
