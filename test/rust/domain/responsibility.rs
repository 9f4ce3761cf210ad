//! The tree of domains, and the table from a domain to its group.

use std::collections::BTreeMap;

use callstore::domain::{Reason, Responsibility, Tree};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{below, read, role};

#[test]
fn a_domain_goes_to_the_group_of_its_nearest_listed_ancestor() {
    let set = read(json!([
        role("c1", 1, 1, &[]),
        role("c2", 2, 1, &["alfa.era.test", "beta.era.test"]),
        role("c3", 3, 1, &["sales.alfa.era.test"]),
    ]));
    let (table, _) = Responsibility::compile(&set, below("era.test")).unwrap();
    let cases = [
        ("era.test", 1),
        ("gamma.era.test", 1),
        ("alfa.era.test", 2),
        ("ALFA.Era.Test.", 2),
        ("hr.alfa.era.test", 2),
        ("sales.alfa.era.test", 3),
        ("spb.SALES.alfa.era.test", 3),
        ("presales.alfa.era.test", 2),
        ("xalfa.era.test", 1),
        ("alfa.era.test.com", 1),
        ("", 1),
        ("..", 1),
    ];
    for (domain, group) in cases {
        assert_eq!(table.group_of(domain), Some(group), "{domain}");
    }
    assert_eq!(table.nearest("x.Beta.era.test"), Some(("beta.era.test", 2)));
    assert_eq!(table.nearest("era.test"), None);
    assert_eq!(table.rest(), Some(1));
    assert_eq!(table.groups().collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        table.domains(2).collect::<Vec<_>>(),
        ["alfa.era.test", "beta.era.test"]
    );
    assert_eq!(table.domains(1).count() + table.domains(9).count(), 0);
    assert!(table.has_group(3) && !table.has_group(9));
}

#[test]
fn with_a_named_root_what_is_outside_of_it_is_served_by_none() {
    let set = read(json!([role("c1", 1, 1, &["era.test"])]));
    let (table, warnings) = Responsibility::compile(&set, below("ERA.test")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(table.group_of("x.era.test"), Some(1));
    assert_eq!(table.group_of("other.test"), None);
    assert_eq!(table.group_of("test"), None);
    assert_eq!(table.group_of(""), None);
}

#[test]
fn a_text_longer_than_any_name_has_no_ancestors_and_belongs_to_the_rest() {
    let set = read(json!([
        role("c1", 1, 1, &[]),
        role("c2", 2, 1, &["a.era.test"])
    ]));
    let (table, _) = Responsibility::compile(&set, below("era.test")).unwrap();
    let long = "a.".repeat(1_000_000) + "a.era.test";
    assert_eq!(table.tree().ancestors(&long).count(), 1);
    assert_eq!(table.group_of(&long), Some(1));
    let longest = "a.".repeat(121) + "a.era.test";
    assert_eq!(table.group_of(&longest), Some(2));
}

#[test]
fn a_set_with_problems_makes_no_table() {
    let set = read(json!([role("c1", 1, 1, &[]), role("c2", 2, 1, &[])]));
    let problems = Responsibility::compile(&set, Tree::default()).unwrap_err();
    assert_eq!(problems[0].reason, Reason::RestTaken);
}

#[test]
fn ancestors_go_up_to_the_root_by_spelling_or_by_the_map_of_parents() {
    let tree = Tree::new(Some("era.test"), [("Shop.example", "alfa.era.test")]).unwrap();
    let up = |domain: &'static str| tree.ancestors(domain).collect::<Vec<_>>().join(" ");
    assert_eq!(
        up("spb.Alfa.era.test"),
        "spb.Alfa.era.test Alfa.era.test era.test"
    );
    assert_eq!(
        up("x.SHOP.example."),
        "x.SHOP.example SHOP.example alfa.era.test era.test"
    );
    assert_eq!(up("a.b"), "a.b b");
    assert_eq!(up(""), "");
    assert_eq!(tree.parent("ERA.TEST"), None);
    assert!(tree.is_within("x.shop.example", "ALFA.era.test."));
    assert!(tree.is_within("alfa.era.test", "alfa.era.test"));
    assert!(!tree.is_within("alfa.era.test", "x.alfa.era.test"));
    assert!(!tree.is_within("xalfa.era.test", "alfa.era.test"));
}

#[test]
fn a_map_of_parents_that_cannot_be_a_tree_is_refused() {
    let refused = |root: Option<&str>, parents: &[(&str, &str)]| {
        let problems = Tree::new(root, parents.iter().copied()).unwrap_err();
        problems
            .iter()
            .map(|p| (p.value.clone(), p.reason))
            .collect::<Vec<_>>()
    };
    let bad = |parent: &str| (json!(parent), Reason::BadParent);
    assert_eq!(refused(None, &[("a.test", "a.test")]), [bad("a.test")]);
    assert_eq!(
        refused(None, &[("a.x", "b.y"), ("b.y", "a.x")]),
        [bad("b.y"), bad("a.x")]
    );
    assert_eq!(refused(None, &[("x", "a.x")]), [bad("a.x")]);
    assert_eq!(
        refused(None, &[("out.z", "a.x"), ("x", "a.x")]),
        [bad("a.x")]
    );
    assert_eq!(refused(None, &[("a.x", "b"), ("A.x", "c")]), [bad("c")]);
    assert_eq!(refused(Some("era.test"), &[("era.test", "b")]), [bad("b")]);
    assert_eq!(
        refused(Some("no name"), &[]),
        [(json!("no name"), Reason::BadDomain)]
    );
    assert_eq!(
        refused(None, &[("a.x", "")]),
        [(json!(""), Reason::BadDomain)]
    );
}

fn domain() -> impl Strategy<Value = String> {
    prop::collection::vec("[abAB]{1,2}", 1..6).prop_map(|labels| labels.join("."))
}

/// The definition, in the plainest words: step upwards with the map or by dropping a label, and stop at the first listed.
fn naive(
    listed: &BTreeMap<String, u32>,
    parents: &BTreeMap<String, String>,
    domain: &str,
) -> Option<u32> {
    let domain = domain.to_lowercase();
    let parent = || match parents.get(&domain) {
        Some(parent) => Some(parent.clone()),
        None => {
            let labels: Vec<&str> = domain.split('.').skip(1).collect();
            (!labels.is_empty()).then(|| labels.join("."))
        }
    };
    let here = listed.get(&domain).copied();
    here.or_else(|| naive(listed, parents, &parent()?))
}

proptest! {
    #[test]
    fn a_look_up_is_the_nearest_listed_ancestor_by_definition(
        listed in prop::collection::btree_map(domain().prop_map(|d| d.to_lowercase()), 2_u32..6, 0..12),
        parents in prop::collection::btree_map(domain().prop_map(|d| d.to_lowercase()), domain().prop_map(|d| d.to_lowercase()), 0..4),
        asked in prop::collection::vec(domain(), 1..20),
    ) {
        let pairs = parents.iter().map(|(child, parent)| (child.as_str(), parent.as_str()));
        // Most maps are trees; for one with a circle there is nothing to compare.
        let Ok(tree) = Tree::new(None, pairs) else { return Ok(()) };
        let mut of_group: BTreeMap<u32, Vec<&str>> = BTreeMap::from([(1, vec![])]);
        for (name, group) in &listed {
            of_group.entry(*group).or_default().push(name);
        }
        let set: Vec<Value> = of_group
            .iter()
            .map(|(group, domains)| role(&format!("c{group}"), *group, 1, domains))
            .collect();
        let (table, _) = Responsibility::compile(&read(json!(set)), tree).unwrap();
        for domain in &asked {
            let expected = naive(&listed, &parents, domain).unwrap_or(1);
            prop_assert_eq!(table.group_of(domain), Some(expected), "{}", domain);
        }
    }
}
