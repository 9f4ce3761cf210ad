//! Judges a set of role instances as a whole.
//!
//! Rules (role parameters of the platform, and what follows from them): all instances of a group have the
//! same responsibility; the groups together serve the whole tree, every domain once; names are unique, and so
//! is `order` inside a group. Always holds: disabled instances take no part; every problem is told, not only
//! the first, and names an instance that can be changed to mend it. Called by
//! [`super::Responsibility::compile`] and by who only wants to check. Must never change a role.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::role::{INCLUDE_DOMAINS, NAME, ORDER, Parameter, STORAGE, domains_to_json};
use super::{Group, Name, Problem, Reason, Role, Tree};

/// Checks a set of instances against each other and against the tree. What is right comes back with warnings.
///
/// # Errors
/// All problems: [`Reason::DuplicateName`], [`Reason::DuplicateOrder`], [`Reason::ResponsibilityDiffers`],
/// [`Reason::DomainTaken`], [`Reason::RestTaken`], [`Reason::NotServed`].
pub fn check(roles: &[Role], tree: &Tree) -> Result<Vec<Problem>, Vec<Problem>> {
    let set = Set::new(roles, tree);
    let mut found = Found::default();
    set.names_are_unique(&mut found);
    set.groups_are_alike(&mut found);
    set.domains_have_one_group(&mut found);
    set.rest_has_one_group(&mut found);
    set.tree_is_served(&mut found);
    if found.problems.is_empty() {
        Ok(found.warnings)
    } else {
        Err(found.problems)
    }
}

#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Found {
    fn problem(&mut self, at: At<'_>, reason: Reason, text: String) {
        self.problems.push(at.problem(reason, text));
    }

    fn warning(&mut self, at: At<'_>, reason: Reason, text: String) {
        self.warnings.push(at.problem(reason, text));
    }
}

/// The place of a problem: a parameter of an instance, with what stands there.
struct At<'a>(&'a Role, Parameter, Value);

impl<'a> At<'a> {
    fn domain(role: &'a Role, domain: &Name) -> Self {
        Self(role, INCLUDE_DOMAINS, domain.as_str().into())
    }

    fn domains(role: &'a Role) -> Self {
        Self(
            role,
            INCLUDE_DOMAINS,
            domains_to_json(&role.include_domains),
        )
    }

    fn problem(self, reason: Reason, text: String) -> Problem {
        let Self(role, parameter, value) = self;
        Problem::new(role.name.as_str(), parameter.name, value, reason, text)
    }
}

/// The enabled instances.
struct Set<'a> {
    tree: &'a Tree,
    enabled: Vec<&'a Role>,
    groups: BTreeMap<Group, Vec<&'a Role>>,
}

impl<'a> Set<'a> {
    fn new(roles: &'a [Role], tree: &'a Tree) -> Self {
        let enabled: Vec<&Role> = roles.iter().filter(|role| role.enabled).collect();
        let mut groups: BTreeMap<Group, Vec<&Role>> = BTreeMap::new();
        for role in &enabled {
            groups.entry(role.group).or_default().push(role);
        }
        Self {
            tree,
            enabled,
            groups,
        }
    }

    /// Every domain that an instance names, with the instance.
    fn named(&self) -> impl Iterator<Item = (&'a Name, &'a Role)> + '_ {
        let of = |role: &'a Role| role.include_domains.iter().map(move |name| (name, role));
        self.enabled.iter().copied().flat_map(of)
    }

    /// Of each group with an instance that names nothing, the first such instance.
    fn rest_owners(&self) -> Vec<&'a Role> {
        let names_nothing = |role: &&&'a Role| role.include_domains.is_empty();
        let of = |members: &Vec<&'a Role>| members.iter().find(names_nothing).copied();
        self.groups.values().filter_map(of).collect()
    }

    fn names_are_unique(&self, found: &mut Found) {
        let mut taken: HashMap<&str, &Role> = HashMap::new();
        for role in &self.enabled {
            let first = *taken.entry(&role.name).or_insert(role);
            if !std::ptr::eq(first, *role) {
                let text = format!(
                    "the instance with order {} of group {} is named {} too: \
                     every instance needs a name of its own",
                    first.order, first.group, role.name
                );
                let at = At(role, NAME, role.name.as_str().into());
                found.problem(at, Reason::DuplicateName, text);
            }
        }
    }

    fn groups_are_alike(&self, found: &mut Found) {
        for members in self.groups.values() {
            let Some((first, others)) = members.split_first() else {
                continue;
            };
            let mut orders = BTreeMap::from([(first.order, *first)]);
            for role in others {
                let holder = *orders.entry(role.order).or_insert(role);
                if !std::ptr::eq(holder, *role) {
                    let text = format!(
                        "{} of group {} has order {} too: \
                         every instance of a group needs an order of its own",
                        holder.name, role.group, role.order
                    );
                    let at = At(role, ORDER, role.order.into());
                    found.problem(at, Reason::DuplicateOrder, text);
                }
                same_responsibility(first, role, found);
                same_storage(first, role, found);
            }
        }
    }

    fn domains_have_one_group(&self, found: &mut Found) {
        let mut owners: HashMap<&Name, &Role> = HashMap::new();
        let mut told: BTreeSet<(&Name, Group)> = BTreeSet::new();
        for (domain, role) in self.named() {
            let owner = *owners.entry(domain).or_insert(role);
            if owner.group != role.group && told.insert((domain, role.group)) {
                let text = format!(
                    "{domain} is named by group {} ({}) already: \
                     a domain belongs to one group, remove it from one of the two",
                    owner.group, owner.name
                );
                found.problem(At::domain(role, domain), Reason::DomainTaken, text);
            }
        }
    }

    fn rest_has_one_group(&self, found: &mut Found) {
        let owners = self.rest_owners();
        let Some((first, others)) = owners.split_first() else {
            return;
        };
        for role in others {
            let text = format!(
                "include_domains of group {} ({}) is empty too: \
                 one group owns the rest of the tree, name the domains of the other",
                first.group, first.name
            );
            found.problem(At::domains(role), Reason::RestTaken, text);
        }
    }

    fn tree_is_served(&self, found: &mut Found) {
        if self.enabled.is_empty() {
            let text = "no instance of callstore is enabled: \
                        one with empty include_domains serves the whole tree";
            let problem = Problem::new("", "", Value::Null, Reason::NotServed, text);
            found.problems.push(problem);
        }
        let rest = self.rest_owners().first().copied();
        match (self.tree.root(), rest) {
            (Some(root), _) => self.root_is_served(root, rest, found),
            (None, None) => self.assume_root(found),
            (None, Some(_)) => {}
        }
    }

    fn root_is_served(&self, root: &Name, rest: Option<&Role>, found: &mut Found) {
        for (domain, role) in self.named() {
            if !self.tree.is_within(domain.as_str(), root.as_str()) {
                let text = format!("{domain} is not in the tree: it should be below {root}");
                found.warning(At::domain(role, domain), Reason::OutsideTree, text);
            }
        }
        let namer = self.named().find(|(domain, _)| *domain == root);
        match (namer, rest, self.topmost()) {
            (None, None, Some((_, topmost))) => {
                let text = format!(
                    "no group serves {root}: \
                     leave include_domains of one group empty, or name {root} in one group"
                );
                found.problem(At::domains(topmost), Reason::NotServed, text);
            }
            (Some((_, namer)), Some(rest), _) => {
                let text = format!(
                    "group {} ({}) names the root {root}, \
                     which leaves nothing of the tree to an empty include_domains",
                    namer.group, namer.name
                );
                found.warning(At::domains(rest), Reason::RestUnused, text);
            }
            _ => {}
        }
    }

    /// No root is known and nobody owns the rest: right if one domain is above all others that are named.
    fn assume_root(&self, found: &mut Found) {
        let Some((top, topmost)) = self.topmost() else {
            return;
        };
        let outside =
            |(domain, _): &(&Name, _)| !self.tree.is_within(domain.as_str(), top.as_str());
        if let Some((apart, _)) = self.named().find(outside) {
            let text = format!(
                "no group serves what is above {top} and {apart}: leave include_domains \
                 of one group empty, or name the master domain in one group"
            );
            found.problem(At::domains(topmost), Reason::NotServed, text);
        } else {
            let text = format!(
                "{top} is taken for the root of the tree, as no master domain is given: \
                 if there are domains outside of it, leave include_domains of one group empty"
            );
            found.warning(At::domain(topmost, top), Reason::RootAssumed, text);
        }
    }

    /// The named domain with the fewest ancestors, and the first instance that names it.
    fn topmost(&self) -> Option<(&'a Name, &'a Role)> {
        self.named()
            .min_by_key(|(domain, _)| self.tree.ancestors(domain.as_str()).count())
    }
}

fn same_responsibility(first: &Role, role: &Role, found: &mut Found) {
    let expected: BTreeSet<&Name> = first.include_domains.iter().collect();
    let named: BTreeSet<&Name> = role.include_domains.iter().collect();
    if expected != named {
        let text = format!(
            "{} of group {} names {}: all instances of a group name the same domains",
            first.name,
            role.group,
            domains_to_json(&first.include_domains)
        );
        found.problem(At::domains(role), Reason::ResponsibilityDiffers, text);
    }
}

fn same_storage(first: &Role, role: &Role, found: &mut Found) {
    if first.storage != role.storage {
        let text = format!(
            "{} of group {} has {}: all instances of a group should keep their table in one way",
            first.name,
            role.group,
            json!(first.storage.as_str())
        );
        let at = At(role, STORAGE, role.storage.as_str().into());
        found.warning(at, Reason::StorageDiffers, text);
    }
}
