//! Why an event was not taken.
//!
//! A reason is one word and at most a field; the edge makes an atom or a pair of it, never a sentence.

/// Why an event was rejected. The others of its batch are taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// Not an object, or not a map.
    #[error("not an object")]
    NotAnObject,
    /// Not JSON, from this byte of the event's own text on; its first is 1.
    #[error("not JSON at byte {0}")]
    Json(usize),
    /// `data` is missing or no object.
    #[error("no data")]
    NoData,
    /// A field that every event needs is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Neither `cid` nor `acallid` with `invitets`.
    #[error("no identity: neither cid nor acallid with invitets")]
    NoIdentity,
    /// A field's value is of the wrong form.
    #[error("{0} has a value of the wrong form")]
    BadField(String),
    /// A text, or the event, is larger than allowed.
    #[error("{0} is too large")]
    TooLarge(String),
    /// More fields than allowed.
    #[error("too many fields")]
    TooManyFields,
    /// A value lies too deep.
    #[error("{0} is nested too deep")]
    TooDeep(String),
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
}

impl Reject {
    /// Where the text of an event stops being JSON.
    pub(super) fn json(text: &[u8], error: &serde_json::Error) -> Reject {
        let before = text.split_inclusive(|&byte| byte == b'\n');
        let before: usize = before
            .take(error.line().saturating_sub(1))
            .map(<[u8]>::len)
            .sum();
        Reject::Json((before + error.column()).min(text.len()).max(1))
    }

    /// The reason as one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Reject::NotAnObject => "not_an_object",
            Reject::Json(_) => "bad_json",
            Reject::NoData => "no_data",
            Reject::Missing(_) => "missing",
            Reject::NoIdentity => "no_identity",
            Reject::BadField(_) => "bad_field",
            Reject::TooLarge(_) => "too_large",
            Reject::TooManyFields => "too_many_fields",
            Reject::TooDeep(_) => "too_deep",
            Reject::NotUtf8(_) => "not_utf8",
        }
    }

    /// The field that the reason is about.
    pub fn field(&self) -> Option<&str> {
        match self {
            Reject::Missing(field) => Some(field),
            Reject::BadField(field)
            | Reject::TooLarge(field)
            | Reject::TooDeep(field)
            | Reject::NotUtf8(field) => Some(field),
            _ => None,
        }
    }
}
