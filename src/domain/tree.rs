//! The tree of domains. The parent of a domain is what stands after its first dot, unless a map of parents
//! says otherwise; the root has none.
//!
//! Always holds: every walk upwards ends, as [`Tree::new`] refuses a map that leads in a circle; no walk
//! allocates. Called by [`super::Responsibility`], by [`super::check()`] and by whoever asks for the subtree
//! of a domain. Must never hold the list of all domains: tenants come and go without a configuration, the
//! tree is a rule and not a register.

use hashbrown::HashMap;

use super::name::{Folded, NAME_BYTES_MAX};
use super::{Name, Problem, Reason};

/// The rule by which domains form a tree. The default has no known root and goes by the spelling of the names
/// alone.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Option<Name>,
    parents: HashMap<Name, Name>,
}

impl Tree {
    /// A tree below `root` (the master domain), if it is known. `parents` are pairs of a domain and its
    /// parent, for domains whose spelling does not tell it.
    ///
    /// # Errors
    /// All that is wrong: [`Reason::BadDomain`] for what is no domain name, [`Reason::BadParent`] for a
    /// domain with two parents, for a parent of the root and for every domain that is its own ancestor.
    pub fn new<'p>(
        root: Option<&str>,
        parents: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let root = root.and_then(|text| parse("master_domain", text, &mut problems));
        let mut tree = Self {
            root,
            parents: HashMap::new(),
        };
        for (child, parent) in parents {
            let child = parse("parents", child, &mut problems);
            let parent = parse("parents", parent, &mut problems);
            if let (Some(child), Some(parent)) = (child, parent) {
                tree.insert(&child, &parent, &mut problems);
            }
        }
        tree.refuse_circles(&mut problems);
        if problems.is_empty() {
            Ok(tree)
        } else {
            Err(problems)
        }
    }

    /// The root, if it is known.
    #[must_use]
    pub fn root(&self) -> Option<&Name> {
        self.root.as_ref()
    }

    /// The parent of a domain; `None` for the root, for a name of one label and for a text that is longer than
    /// any name, so that no walk is long. Spelled as in `domain`, without a final dot.
    #[must_use]
    pub fn parent<'a>(&'a self, domain: &'a str) -> Option<&'a str> {
        let domain = Folded::new(domain);
        let is_root = self.root.as_ref().is_some_and(|root| domain.is(root));
        if is_root || domain.text().len() > NAME_BYTES_MAX {
            return None;
        }
        if let Some(parent) = self.parents.get(&domain) {
            return Some(parent.as_str());
        }
        let text = domain.text();
        // Labels are short: a plain loop is faster here than a search for a `char`.
        let dot = text.bytes().position(|byte| byte == b'.')?;
        let parent = text.get(dot + 1..)?;
        (!parent.is_empty()).then_some(parent)
    }

    /// The domain itself, its parent, and so on up to the root.
    #[must_use]
    pub fn ancestors<'a>(&'a self, domain: &'a str) -> Ancestors<'a> {
        let domain = Folded::new(domain).text();
        Ancestors {
            tree: self,
            next: (!domain.is_empty()).then_some(domain),
        }
    }

    /// Is `domain` in the subtree of `top`? A domain is in its own subtree.
    #[must_use]
    pub fn is_within(&self, domain: &str, top: &str) -> bool {
        let top = Folded::new(top).text();
        self.ancestors(domain)
            .any(|ancestor| ancestor.eq_ignore_ascii_case(top))
    }

    fn insert(&mut self, child: &Name, parent: &Name, problems: &mut Vec<Problem>) {
        if self.root.as_ref() == Some(child) {
            let text =
                format!("{child} is the root of the tree and has no parent: remove the entry");
            problems.push(bad_parent(parent, text));
            return;
        }
        let known = self
            .parents
            .entry(child.clone())
            .or_insert_with(|| parent.clone());
        if known != parent {
            let text = format!("{child} has the parent {known} already: keep one of the two");
            problems.push(bad_parent(parent, text));
        }
    }

    /// A circle has at least one entry of the map in it, as names get shorter by every step that goes by
    /// spelling. A walk that uses more entries than there are goes in a circle; the entries at fault are
    /// those the walk comes back to.
    fn refuse_circles(&self, problems: &mut Vec<Problem>) {
        let mut in_circle: Vec<(&Name, &Name)> = self
            .parents
            .iter()
            .filter(|(child, parent)| self.leads_to(parent, child))
            .collect();
        in_circle.sort_unstable();
        for (child, parent) in in_circle {
            let text =
                format!("{parent} is in the subtree of {child}: the parent must be outside of it");
            problems.push(bad_parent(parent, text));
        }
    }

    fn leads_to(&self, from: &Name, goal: &Name) -> bool {
        let mut used = 0;
        for step in self.ancestors(from.as_str()) {
            if Folded::new(step).is(goal) {
                return true;
            }
            used += usize::from(self.parents.contains_key(&Folded::new(step)));
            if used > self.parents.len() {
                return false;
            }
        }
        false
    }
}

fn parse(key: &str, text: &str, problems: &mut Vec<Problem>) -> Option<Name> {
    let name = Name::parse(text);
    if name.is_none() {
        let right = format!("{key} must hold domain names, such as sales.alfa.era.test");
        problems.push(Problem::new("", key, text, Reason::BadDomain, right));
    }
    name
}

fn bad_parent(parent: &Name, text: String) -> Problem {
    Problem::new("", "parents", parent.as_str(), Reason::BadParent, text)
}

/// A walk from a domain up to the root. See [`Tree::ancestors`].
#[derive(Clone, Debug)]
pub struct Ancestors<'a> {
    tree: &'a Tree,
    next: Option<&'a str>,
}

impl<'a> Iterator for Ancestors<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let domain = self.next?;
        self.next = self.tree.parent(domain);
        Some(domain)
    }
}
