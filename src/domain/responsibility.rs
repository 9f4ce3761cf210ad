//! The table that sends a domain to the group that serves it: the group of its nearest listed ancestor, else
//! the group that owns the rest.
//!
//! Always holds: it was compiled from a set of instances without problems, so a domain has one group at most;
//! a look-up allocates nothing and costs one probe per label. Called for every event that is routed. Never
//! changes: another configuration is another table.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use super::name::Folded;
use super::{Group, Name, Problem, Role, Tree, check};

/// Which group serves which domain.
#[derive(Clone, Debug)]
pub struct Responsibility {
    tree: Tree,
    listed: HashMap<Name, Group>,
    rest: Option<Group>,
    /// The same, by group, for listing.
    groups: BTreeMap<Group, Vec<Name>>,
}

impl Responsibility {
    /// Checks the instances as a whole and compiles them. Beside the table come the warnings of the check.
    /// Disabled instances take no part.
    ///
    /// # Errors
    /// The problems of [`super::check()`], all of them.
    pub fn compile(roles: &[Role], tree: Tree) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let warnings = check(roles, &tree)?;
        let mut table = Self {
            tree,
            listed: HashMap::new(),
            rest: None,
            groups: BTreeMap::new(),
        };
        for role in roles.iter().filter(|role| role.enabled) {
            if role.include_domains.is_empty() {
                table.rest = Some(role.group);
            }
            for domain in &role.include_domains {
                table.listed.insert(domain.clone(), role.group);
            }
            let mut domains = role.include_domains.clone();
            domains.sort_unstable();
            table.groups.insert(role.group, domains);
        }
        Ok((table, warnings))
    }

    /// The group that serves a domain, in any spelling; `None` if none does, which happens only outside the
    /// tree of the root.
    #[must_use]
    pub fn group_of(&self, domain: &str) -> Option<Group> {
        self.nearest(domain).map(|(_, group)| group).or(self.rest)
    }

    /// The nearest listed ancestor of a domain (it may be the domain itself) and the group that names it.
    /// `None` if it belongs to the rest.
    #[must_use]
    pub fn nearest(&self, domain: &str) -> Option<(&str, Group)> {
        self.tree.ancestors(domain).find_map(|ancestor| {
            let (name, group) = self.listed.get_key_value(&Folded::new(ancestor))?;
            Some((name.as_str(), *group))
        })
    }

    /// The group with empty `include_domains`, which serves what no group names.
    #[must_use]
    pub fn rest(&self) -> Option<Group> {
        self.rest
    }

    /// All groups, ascending.
    pub fn groups(&self) -> impl Iterator<Item = Group> + '_ {
        self.groups.keys().copied()
    }

    /// Is there such a group?
    #[must_use]
    pub fn has_group(&self, group: Group) -> bool {
        self.groups.contains_key(&group)
    }

    /// The domains that a group names, ascending; none if it owns the rest or does not exist.
    pub fn domains(&self, group: Group) -> impl Iterator<Item = &str> + '_ {
        self.groups
            .get(&group)
            .into_iter()
            .flatten()
            .map(Name::as_str)
    }

    /// The tree that look-ups walk.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }
}
