//! A set of instances is judged as a whole.

use callstore::domain::{Problem, Reason, Responsibility, Tree, check};
use serde_json::{Value, json};

use super::{Expected, below, brief, read, role, with};

fn problems_of(roles: Value, tree: &Tree) -> Vec<Problem> {
    check(&read(roles), tree).unwrap_err()
}

#[test]
fn a_right_set_has_no_problems() {
    let sets = [
        json!([role("c1", 1, 1, &[]), role("c2", 1, 2, &[])]),
        json!([
            role("c1", 1, 1, &[]),
            role("c2", 2, 1, &["a.era.test"]),
            role("c3", 2, 2, &["A.era.test."])
        ]),
        json!([
            role("c1", 1, 1, &["era.test"]),
            role("c2", 2, 1, &["a.era.test"])
        ]),
        json!([
            role("c1", 1, 1, &["a.era.test", "b.era.test"]),
            role("c2", 1, 2, &["b.era.test", "a.era.test"]),
            role("c3", 2, 1, &[])
        ]),
    ];
    for set in sets {
        assert_eq!(
            check(&read(set.clone()), &below("era.test")),
            Ok(vec![]),
            "{set}"
        );
    }
}

#[test]
fn what_is_wrong_with_a_set_is_told_with_instance_key_and_value() {
    use Reason::{
        DomainTaken, DuplicateName, DuplicateOrder, NotServed, ResponsibilityDiffers, RestTaken,
    };
    let cases: [(Value, Expected<'_>); 7] = [
        (
            json!([role("c1", 1, 1, &[]), role("c1", 1, 2, &[])]),
            ("c1", "name", json!("c1"), DuplicateName),
        ),
        (
            json!([role("c1", 1, 7, &[]), role("c2", 1, 7, &[])]),
            ("c2", "order", json!(7), DuplicateOrder),
        ),
        (
            json!([
                role("c0", 2, 1, &[]),
                role("c1", 1, 1, &["a.era.test"]),
                role("c2", 1, 2, &["b.era.test"])
            ]),
            (
                "c2",
                "include_domains",
                json!(["b.era.test"]),
                ResponsibilityDiffers,
            ),
        ),
        (
            json!([
                role("c0", 3, 1, &[]),
                role("c1", 1, 1, &["a.era.test"]),
                role("c2", 2, 1, &["A.era.test"])
            ]),
            ("c2", "include_domains", json!("a.era.test"), DomainTaken),
        ),
        (
            json!([role("c1", 1, 1, &[]), role("c2", 2, 1, &[])]),
            ("c2", "include_domains", json!([]), RestTaken),
        ),
        (
            json!([
                role("c1", 1, 1, &["x.a.era.test"]),
                role("c2", 2, 1, &["b.era.test"])
            ]),
            ("c2", "include_domains", json!(["b.era.test"]), NotServed),
        ),
        (json!([]), ("", "", Value::Null, NotServed)),
    ];
    for (set, expected) in cases {
        let problems = problems_of(set.clone(), &below("era.test"));
        assert_eq!(brief(&problems), [expected], "{set}");
        assert!(!problems[0].text.is_empty());
    }
}

#[test]
fn all_problems_of_a_set_are_told_at_once() {
    let set = json!([
        role("c1", 1, 1, &["a.era.test"]),
        role("c1", 1, 1, &["b.era.test"]),
        role("c3", 2, 1, &["a.era.test", "b.era.test"]),
    ]);
    let reasons: Vec<_> = problems_of(set, &below("era.test"))
        .iter()
        .map(|p| p.reason)
        .collect();
    use Reason::{DomainTaken, DuplicateName, DuplicateOrder, NotServed, ResponsibilityDiffers};
    assert_eq!(
        reasons,
        [
            DuplicateName,
            DuplicateOrder,
            ResponsibilityDiffers,
            DomainTaken,
            DomainTaken,
            NotServed
        ]
    );
}

#[test]
fn a_domain_taken_by_a_group_of_many_instances_is_told_once() {
    let set = json!([
        role("c0", 3, 1, &[]),
        role("c1", 1, 1, &["a.era.test"]),
        role("c2", 2, 1, &["a.era.test"]),
        role("c3", 2, 2, &["a.era.test"]),
    ]);
    let problems = problems_of(set, &Tree::default());
    assert_eq!(
        brief(&problems),
        [(
            "c2",
            "include_domains",
            json!("a.era.test"),
            Reason::DomainTaken
        )]
    );
}

#[test]
fn disabled_instances_take_no_part() {
    let off = |role| with(role, "enabled", json!(false));
    let set = read(json!([
        role("c1", 1, 1, &[]),
        off(role("c1", 1, 1, &["a.era.test"])),
        off(role("c2", 2, 1, &[])),
    ]));
    let (table, warnings) = Responsibility::compile(&set, below("era.test")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(table.groups().collect::<Vec<_>>(), [1]);
    assert_eq!(table.group_of("a.era.test"), Some(1));
    let problems = problems_of(json!([off(role("c1", 1, 1, &[]))]), &Tree::default());
    assert_eq!(problems[0].reason, Reason::NotServed);
}

#[test]
fn what_is_odd_but_not_wrong_is_a_warning() {
    let era = below("era.test");
    let cases: [(Value, &Tree, Expected<'_>); 4] = [
        (
            json!([
                role("c1", 1, 1, &[]),
                with(role("c2", 1, 2, &[]), "mnesia_storage_mode", json!("ram"))
            ]),
            &era,
            (
                "c2",
                "mnesia_storage_mode",
                json!("ram"),
                Reason::StorageDiffers,
            ),
        ),
        (
            json!([role("c1", 1, 1, &[]), role("c2", 2, 1, &["a.other.test"])]),
            &era,
            (
                "c2",
                "include_domains",
                json!("a.other.test"),
                Reason::OutsideTree,
            ),
        ),
        (
            json!([role("c1", 1, 1, &[]), role("c2", 2, 1, &["era.test"])]),
            &era,
            ("c1", "include_domains", json!([]), Reason::RestUnused),
        ),
        (
            json!([
                role("c1", 1, 1, &["a.era.test"]),
                role("c2", 2, 1, &["era.test"])
            ]),
            &Tree::default(),
            (
                "c2",
                "include_domains",
                json!("era.test"),
                Reason::RootAssumed,
            ),
        ),
    ];
    for (set, tree, expected) in cases {
        let warnings = check(&read(set.clone()), tree).unwrap();
        assert_eq!(brief(&warnings), [expected], "{set}");
    }
}

#[test]
fn without_a_root_domains_that_stand_apart_need_an_owner_of_the_rest() {
    let apart = json!([role("c1", 1, 1, &["a.test"]), role("c2", 2, 1, &["b.test"])]);
    let problems = problems_of(apart, &Tree::default());
    assert_eq!(
        brief(&problems),
        [(
            "c1",
            "include_domains",
            json!(["a.test"]),
            Reason::NotServed
        )]
    );
}
