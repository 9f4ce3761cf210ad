//! One instance: what is read, what is refused, what is warned of.

use std::collections::BTreeSet;

use callstore::domain::{
    Name, PARAMETERS, Presence, Problem, Reason, roles_from_json, roles_from_value,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{brief, read, role, with, without};

#[test]
fn the_documented_example_is_read_with_its_defaults_and_one_warning() {
    let text = br#"{"name":"callstore1","roletype":"callstore","group":11010,"order":1,"include_domains":[]}"#;
    let (roles, warnings) = roles_from_json(text).unwrap();
    let expected = json!({
        "name": "callstore1", "roletype": "callstore", "iface": null, "ext": null, "enabled": true,
        "group": 11010, "order": 1, "include_domains": [], "cdr_enabled": true,
        "sorm3_enabled": false, "mnesia_storage_mode": "disc",
    });
    assert_eq!(roles[0].to_json(), expected);
    let iface = ("callstore1", "iface", Value::Null, Reason::Absent);
    assert_eq!(brief(&warnings), [iface]);
}

#[test]
fn the_table_of_parameters_tells_the_defaults_that_are_filled_in() {
    let bare = without(role("callstore1", 1, 1, &[]), "include_domains");
    let filled = read(json!([bare]))[0].to_json();
    for parameter in PARAMETERS {
        if let Presence::Default(default) = parameter.presence {
            let default = serde_json::from_str(default).unwrap_or(Value::Null);
            assert_eq!(filled[parameter.name], default, "{}", parameter.name);
        }
    }
}

#[test]
fn a_role_that_is_written_out_reads_the_same() {
    let full = json!([{
        "name": "c2", "roletype": "callstore", "iface": "inner", "ext": [{"a": 1}], "enabled": true,
        "group": 9_999_999, "order": -1, "include_domains": ["B.test", "a.test."],
        "cdr_enabled": false, "sorm3_enabled": true, "mnesia_storage_mode": "ram",
    }]);
    let roles = read(full);
    let domains: Vec<_> = roles[0].include_domains.iter().map(Name::as_str).collect();
    assert_eq!(domains, ["b.test", "a.test"]);
    assert_eq!(read(json!([roles[0].to_json()])), roles);
}

#[test]
fn every_parameter_wrong_in_turn_is_told_with_instance_key_value_and_what_is_right() {
    use Reason::{BadDomain, BadType, BadValue};
    let wrong = [
        ("name", json!("1call"), BadValue, "begins with a letter"),
        ("name", json!("call-store"), BadValue, "letters and digits"),
        ("name", json!("колл"), BadValue, "Latin"),
        ("name", json!(17), BadType, "string"),
        ("roletype", json!("b2b"), BadValue, "\"callstore\""),
        ("roletype", json!(["callstore"]), BadType, "\"callstore\""),
        ("iface", json!(1), BadType, "alias of the interface"),
        ("ext", json!("x"), BadType, "object or a list"),
        ("enabled", json!("true"), BadType, "true or false"),
        ("enabled", json!(1), BadType, "true or false"),
        ("group", json!(0), BadValue, "from 1 to 9999999"),
        ("group", json!(-5), BadValue, "from 1 to 9999999"),
        ("group", json!(10_000_000), BadValue, "from 1 to 9999999"),
        (
            "group",
            json!(4_294_967_297_u64),
            BadValue,
            "from 1 to 9999999",
        ),
        ("group", json!(u64::MAX), BadValue, "from 1 to 9999999"),
        ("group", json!(1.5), BadType, "integer"),
        ("group", json!("11010"), BadType, "without quotes"),
        ("order", json!("1"), BadType, "integer"),
        ("order", json!(u64::MAX), BadValue, "integer"),
        (
            "include_domains",
            json!("era.test"),
            BadType,
            "a list of domain names",
        ),
        (
            "include_domains",
            json!({}),
            BadType,
            "a list of domain names",
        ),
        ("cdr_enabled", json!("yes"), BadType, "true or false"),
        ("sorm3_enabled", json!(0), BadType, "true or false"),
        ("mnesia_storage_mode", json!("disk"), BadValue, "\"disc\""),
        ("mnesia_storage_mode", json!(true), BadType, "\"disc\""),
    ];
    for (key, value, reason, right) in wrong {
        let item = with(role("callstore1", 11010, 1, &[]), key, value.clone());
        let problems = roles_from_value(&json!([item])).unwrap_err();
        let instance = match (key, value.as_str()) {
            ("name", Some(name)) => name,
            ("name", None) => "#1",
            _ => "callstore1",
        };
        assert_eq!(brief(&problems), [(instance, key, value.clone(), reason)]);
        let text = &problems[0].text;
        assert!(
            text.contains(key) && text.contains(right),
            "{key} = {value}: {text}"
        );
    }
    for item in [
        json!("a b"),
        json!(""),
        json!("empty"),
        json!(null),
        json!(1),
        json!("a..b"),
    ] {
        let reason = if item.is_string() { BadDomain } else { BadType };
        let item_list = json!(["ok.test", item]);
        let one = with(
            role("callstore1", 11010, 1, &[]),
            "include_domains",
            item_list,
        );
        let problems = roles_from_value(&json!([one])).unwrap_err();
        assert_eq!(
            brief(&problems),
            [("callstore1", "include_domains", item, reason)]
        );
    }
}

#[test]
fn every_required_parameter_absent_or_empty_in_turn_is_told() {
    for parameter in PARAMETERS
        .iter()
        .filter(|p| p.presence == Presence::Required)
    {
        let key = parameter.name;
        let instance = if key == "name" { "#2" } else { "callstore1" };
        let right = role("other", 1, 1, &[]);
        let absent = without(role("callstore1", 1, 2, &[]), key);
        let problems = roles_from_value(&json!([right, absent])).unwrap_err();
        assert_eq!(
            brief(&problems),
            [(instance, key, Value::Null, Reason::Missing)]
        );
        assert!(problems[0].text.contains(parameter.right));
        for empty in [
            json!(null),
            json!(""),
            json!("empty"),
            json!("undefined"),
            json!("__empty"),
        ] {
            let item = with(role("callstore1", 1, 2, &[]), key, empty.clone());
            let problems = roles_from_value(&json!([right, item])).unwrap_err();
            assert_eq!(brief(&problems), [(instance, key, empty, Reason::Missing)]);
        }
    }
}

#[test]
fn an_empty_optional_parameter_has_its_default() {
    for parameter in PARAMETERS
        .iter()
        .filter(|p| p.presence != Presence::Required)
    {
        let absent = read(json!([without(role("c1", 1, 1, &[]), parameter.name)]));
        for empty in [
            json!(null),
            json!(""),
            json!("empty"),
            json!("undefined"),
            json!("__empty"),
        ] {
            let item = with(role("c1", 1, 1, &[]), parameter.name, empty);
            assert_eq!(read(json!([item])), absent, "{}", parameter.name);
        }
    }
}

#[test]
fn all_problems_of_all_instances_are_told_at_once() {
    let first = with(
        with(role("c1", 0, 1, &["a b", "c d"]), "order", json!("x")),
        "ext",
        json!(1),
    );
    let second = without(role("c2", 1, 1, &[]), "roletype");
    let problems = roles_from_value(&json!([first, 7, second])).unwrap_err();
    let expected = [
        ("c1", "ext", json!(1), Reason::BadType),
        ("c1", "group", json!(0), Reason::BadValue),
        ("c1", "order", json!("x"), Reason::BadType),
        ("c1", "include_domains", json!("a b"), Reason::BadDomain),
        ("c1", "include_domains", json!("c d"), Reason::BadDomain),
        ("#2", "", json!(7), Reason::NotARole),
        ("c2", "roletype", Value::Null, Reason::Missing),
    ];
    assert_eq!(brief(&problems), expected);
}

#[test]
fn an_unknown_key_and_a_repeated_domain_are_warnings() {
    let item = with(
        role("c1", 1, 1, &["a.test", "A.test"]),
        "inclde",
        json!([1]),
    );
    let (roles, warnings) = roles_from_value(&json!([item])).unwrap();
    assert_eq!(roles[0].include_domains.len(), 1);
    let expected = [
        (
            "c1",
            "include_domains",
            json!("A.test"),
            Reason::DomainRepeated,
        ),
        ("c1", "inclde", json!([1]), Reason::UnknownKey),
    ];
    assert_eq!(brief(&warnings), expected);
    assert!(warnings[1].text.contains("include_domains"));
}

#[test]
fn a_disabled_instance_that_is_wrong_is_a_warning_and_left_out() {
    let disabled = with(role("c2", 0, 1, &[]), "enabled", json!(false));
    let (roles, warnings) = roles_from_value(&json!([role("c1", 1, 1, &[]), disabled])).unwrap();
    assert_eq!(roles.len(), 1);
    assert_eq!(
        brief(&warnings),
        [("c2", "group", json!(0), Reason::BadValue)]
    );
}

#[test]
fn text_that_is_no_json_is_told_with_line_and_column() {
    let cases: [(&[u8], Value); 4] = [
        (b"[\n  {\"name\": }]", json!({"line": 2, "column": 12})),
        (b"[{\"name\":\"c1\"", json!({"line": 1, "column": 13})),
        (b"", json!({"line": 1, "column": 0})),
        (b"[\"\xff\"]", json!({"line": 1, "column": 3})),
    ];
    for (text, place) in cases {
        let problems = roles_from_json(text).unwrap_err();
        assert_eq!(
            brief(&problems),
            [("", "", place, Reason::BadJson)],
            "{}",
            problems[0].text
        );
    }
    let deep = [b'['; 100_000];
    assert_eq!(
        roles_from_json(&deep).unwrap_err()[0].reason,
        Reason::BadJson
    );
    let problems = roles_from_json(b"17").unwrap_err();
    assert_eq!(brief(&problems), [("", "", json!(17), Reason::NotARole)]);
}

#[test]
fn reasons_have_names_of_their_own_and_problems_read_as_one_line() {
    let names: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), Reason::ALL.len());
    let long = "x".repeat(1000);
    let problem = Problem::new("c1", "ext", long, Reason::BadType, "ext must be an object");
    let line = problem.to_string();
    assert!(
        line.starts_with("c1: ext = \"xxx") && line.ends_with("…: bad_type: ext must be an object")
    );
    assert!(line.len() < 200);
}

proptest! {
    #[test]
    fn reading_never_panics_and_names_the_reason_of_every_refusal(
        key in prop::sample::select(PARAMETERS.map(|p| p.name).to_vec()),
        value in prop_oneof![
            Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from), ".{0,12}".prop_map(Value::from),
            prop::collection::vec(".{0,12}", 0..3).prop_map(Value::from),
        ],
    ) {
        let item = with(role("c1", 1, 1, &[]), key, value);
        match roles_from_value(&json!([item])) {
            Ok((roles, _)) => prop_assert_eq!(roles.len(), 1),
            Err(problems) => for problem in problems {
                prop_assert_eq!(&problem.key, key);
                prop_assert!(problem.text.contains(key));
            },
        }
    }
}
