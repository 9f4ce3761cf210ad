//! What is wrong with a configuration, said so that the reader can mend it: which instance, which key, what
//! stood there, what would be right.
//!
//! Always holds: the reason is one of [`Reason`], for programs; the text is for people and says what would be
//! right. Made by everything in `domain` that reads or checks; whether one is an error or a warning is said
//! by where it is returned. Must never be made for a fault of this code: a problem is the configuration's.

use std::fmt;

use serde_json::Value;

macro_rules! reasons {
    ($($(#[$doc:meta])+ $reason:ident = $kind:literal,)+) => {
        /// Why something is a problem. `as_str` is its lasting name, the same in every interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])+ $reason,)+
        }

        impl Reason {
            /// All reasons, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)+];

            /// The lasting name of the reason: lower case, words joined by `_`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$reason => $kind,)+
                }
            }
        }
    };
}

reasons! {
    /// The text is not JSON. The value is `{"line", "column"}`, both from 1.
    BadJson = "bad_json",
    /// The roles are not a list of objects, or an item of the list is not an object.
    NotARole = "not_a_role",
    /// A required parameter is absent or empty.
    Missing = "missing",
    /// The value has another type than the parameter.
    BadType = "bad_type",
    /// The type is right, the value is not allowed.
    BadValue = "bad_value",
    /// Not a domain name.
    BadDomain = "bad_domain",
    /// Two instances have one name.
    DuplicateName = "duplicate_name",
    /// Two instances of a group have one place in its order.
    DuplicateOrder = "duplicate_order",
    /// An instance names other domains than the rest of its group.
    ResponsibilityDiffers = "responsibility_differs",
    /// A domain is named by two groups.
    DomainTaken = "domain_taken",
    /// A second group has empty `include_domains`.
    RestTaken = "rest_taken",
    /// Part of the tree is served by no group.
    NotServed = "not_served",
    /// An entry of the map of parents is wrong: a circle, or a parent for the root.
    BadParent = "bad_parent",
    /// Warning: a parameter is absent that should be there.
    Absent = "absent",
    /// Warning: the parameter is not known.
    UnknownKey = "unknown_key",
    /// Warning: an instance names a domain twice.
    DomainRepeated = "domain_repeated",
    /// Warning: instances of a group keep their tables in different ways.
    StorageDiffers = "storage_differs",
    /// Warning: a domain is named that is not in the tree.
    OutsideTree = "outside_tree",
    /// Warning: another group names the root, so an empty `include_domains` is left with nothing of the tree.
    RestUnused = "rest_unused",
    /// Warning: no root was given, and the topmost domain that is named was taken for it.
    RootAssumed = "root_assumed",
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Name of the role instance. Where it has none: `#3` for the third of the list; empty if no instance is
    /// at fault.
    pub instance: String,
    /// Name of the parameter; empty if the whole instance, or the whole text, is at fault.
    pub key: String,
    /// What stands there now; null if nothing does.
    pub value: Value,
    /// The reason, for programs.
    pub reason: Reason,
    /// What would be right, for people: one sentence or two.
    pub text: String,
}

impl Problem {
    /// A problem with all its parts.
    #[must_use]
    pub fn new(
        instance: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<Value>,
        reason: Reason,
        text: impl Into<String>,
    ) -> Self {
        Self {
            instance: instance.into(),
            key: key.into(),
            value: value.into(),
            reason,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    /// `callstore1: group = 0: bad_value: group must be …`, the value shortened to 80 characters.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const VALUE_CHARS_MAX: usize = 80;
        if !self.instance.is_empty() {
            write!(out, "{}: ", self.instance)?;
        }
        if !self.key.is_empty() {
            let value = self.value.to_string();
            let shown: String = value.chars().take(VALUE_CHARS_MAX).collect();
            let cut = if shown.len() < value.len() { "…" } else { "" };
            write!(out, "{} = {shown}{cut}: ", self.key)?;
        }
        write!(out, "{}: {}", self.reason, self.text)
    }
}
