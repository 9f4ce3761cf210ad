//! One callstore role instance, and the table of its parameters.
//!
//! Always holds: what a parameter is, whether it may be absent and what is right for it stands once, in
//! [`PARAMETERS`]; a [`Role`] has every parameter, checked, with its default filled in. Made by `read`,
//! judged as a set by [`super::check()`]. Must never know another instance.
//!
//! Source: role parameters of the platform.

use serde_json::{Value, json};

use super::{Group, Name};

/// The only role type that is read here.
pub const ROLETYPE: &str = "callstore";
/// The lowest number of a group.
pub const GROUP_MIN: Group = 1;
/// The highest number of a group.
pub const GROUP_MAX: Group = 9_999_999;

/// Whether a parameter may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its absence is an error.
    Required,
    /// Its absence is a warning.
    Expected,
    /// Its absence means this, in JSON or, for what is simply not there, `empty`.
    Default(&'static str),
}

/// A parameter of a role instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key in JSON.
    pub name: &'static str,
    /// Its type, in the words of the platform.
    pub shape: &'static str,
    /// Whether it may be absent.
    pub presence: Presence,
    /// What is right for it, to stand after "must be".
    pub right: &'static str,
}

const fn parameter(
    name: &'static str,
    shape: &'static str,
    presence: Presence,
    right: &'static str,
) -> Parameter {
    Parameter {
        name,
        shape,
        presence,
        right,
    }
}

pub(super) const NAME: Parameter = parameter(
    "name",
    "str",
    Presence::Required,
    "a string of Latin letters and digits that begins with a letter, such as \"callstore1\"",
);
pub(super) const TYPE: Parameter =
    parameter("roletype", "str", Presence::Required, "\"callstore\"");
pub(super) const IFACE: Parameter = parameter(
    "iface",
    "str",
    Presence::Expected,
    "a string, the alias of the interface for traffic between roles",
);
pub(super) const EXT: Parameter = parameter(
    "ext",
    "json",
    Presence::Default("empty"),
    "an object or a list of extra options",
);
pub(super) const ENABLED: Parameter = parameter(
    "enabled",
    "bool",
    Presence::Default("true"),
    "true or false, without quotes",
);
pub(super) const GROUP: Parameter = parameter(
    "group",
    "int",
    Presence::Required,
    "an integer from 1 to 9999999, without quotes",
);
pub(super) const ORDER: Parameter = parameter(
    "order",
    "int",
    Presence::Required,
    "an integer, without quotes: the lowest of a group is active first",
);
pub(super) const INCLUDE_DOMAINS: Parameter = parameter(
    "include_domains",
    "array<str>",
    Presence::Default("[]"),
    "a list of domain names, such as [\"sales.alfa.era.test\"], \
     or [] for all that no other group names",
);
pub(super) const CDR_ENABLED: Parameter = parameter(
    "cdr_enabled",
    "bool",
    Presence::Default("true"),
    "true or false, without quotes",
);
pub(super) const SORM3_ENABLED: Parameter = parameter(
    "sorm3_enabled",
    "bool",
    Presence::Default("false"),
    "true or false, without quotes",
);
pub(super) const STORAGE: Parameter = parameter(
    "mnesia_storage_mode",
    "str",
    Presence::Default("\"disc\""),
    "\"disc\" (in RAM and on disk) or \"ram\" (in RAM only)",
);

/// All parameters of a callstore role instance, in the order of the platform's documentation.
pub const PARAMETERS: [Parameter; 11] = [
    NAME,
    TYPE,
    IFACE,
    EXT,
    ENABLED,
    GROUP,
    ORDER,
    INCLUDE_DOMAINS,
    CDR_ENABLED,
    SORM3_ENABLED,
    STORAGE,
];

/// How the instances of a group keep their table (`mnesia_storage_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageMode {
    /// In RAM and on disk on every instance of the group.
    Disc,
    /// In RAM on every instance: a restart of all at once loses what lives.
    Ram,
}

impl StorageMode {
    /// The value of the parameter.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Ram => "ram",
        }
    }
}

/// One role instance with all its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Latin letters and digits, first a letter.
    pub name: String,
    /// The alias of the interface for traffic between roles.
    pub iface: Option<String>,
    /// Extra options: an object or a list; null if there are none.
    pub ext: Value,
    /// False: the instance takes no part in anything.
    pub enabled: bool,
    /// From [`GROUP_MIN`] to [`GROUP_MAX`].
    pub group: Group,
    /// The lowest of a group is active first.
    pub order: i64,
    /// The domains whose subtrees the group serves, each once, as listed. Empty: what no other group names.
    pub include_domains: Vec<Name>,
    /// Are calls tracked and recorded?
    pub cdr_enabled: bool,
    /// Is the projection of records made? Matters only with `cdr_enabled`.
    pub sorm3_enabled: bool,
    /// How the group's table is kept.
    pub storage: StorageMode,
}

impl Role {
    /// All parameters under the names of [`PARAMETERS`], defaults filled in; absent `iface` and `ext` are
    /// null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            NAME.name: self.name,
            TYPE.name: ROLETYPE,
            IFACE.name: self.iface,
            EXT.name: self.ext,
            ENABLED.name: self.enabled,
            GROUP.name: self.group,
            ORDER.name: self.order,
            INCLUDE_DOMAINS.name: domains_to_json(&self.include_domains),
            CDR_ENABLED.name: self.cdr_enabled,
            SORM3_ENABLED.name: self.sorm3_enabled,
            STORAGE.name: self.storage.as_str(),
        })
    }
}

pub(super) fn domains_to_json(domains: &[Name]) -> Value {
    domains.iter().map(Name::as_str).collect()
}
