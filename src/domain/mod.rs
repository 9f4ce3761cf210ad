//! Who serves which domain: the tree of tenants, the role instances of a site, and the table that sends a
//! domain to its group.
//!
//! A set of role instances is read ([`roles_from_json`]), checked as a whole ([`check()`]) and compiled into
//! a [`Responsibility`], which exists only for a set that was found right. [`Placement`] keeps live calls
//! with the group they started in when a later configuration moves their domain.
//!
//! Always holds: a domain has at most one group; names compare as DNS names do (ASCII case does not count,
//! RFC 4343); all that is wrong is told at once. Called by whoever routes events and by whoever accepts a
//! configuration. Must never know of events or calls, nor read a clock or a file.

mod check;
mod name;
mod placement;
mod problem;
mod read;
mod responsibility;
mod role;
mod tree;

pub use check::check;
pub use name::Name;
pub use placement::Placement;
pub use problem::{Problem, Reason};
pub use read::{roles_from_json, roles_from_value};
pub use responsibility::Responsibility;
pub use role::{
    GROUP_MAX, GROUP_MIN, PARAMETERS, Parameter, Presence, ROLETYPE, Role, StorageMode,
};
pub use tree::{Ancestors, Tree};

/// The number of a group: a set of role instances with one responsibility, one of them active. From
/// [`GROUP_MIN`] to [`GROUP_MAX`].
pub type Group = u32;
