//! Holds what came out against what a scenario expects: where do they differ?
//!
//! Null matches null only, an object matches by the keys it has, a list element by element; `$` keys are matchers.

use serde_json::Value;

/// Adds a line for every difference.
pub fn differences(path: &str, expected: &Value, actual: Option<&Value>, found: &mut Vec<String>) {
    let Some(actual) = actual else {
        found.push(format!("{path}: wants {expected}, is not there"));
        return;
    };
    let mut differs = || found.push(format!("{path}: wants {expected}, is {actual}"));
    match (expected, actual) {
        (Value::Object(wanted), _) if wanted.keys().any(|key| key.starts_with('$')) => {
            if !wanted
                .iter()
                .all(|(matcher, wanted)| matches(matcher, wanted, actual))
            {
                differs();
            }
        }
        (Value::Object(wanted), Value::Object(there)) => {
            for (key, wanted) in wanted {
                differences(&format!("{path}.{key}"), wanted, there.get(key), found);
            }
        }
        (Value::Array(wanted), Value::Array(there)) if wanted.len() == there.len() => {
            for (number, (wanted, there)) in wanted.iter().zip(there).enumerate() {
                differences(&format!("{path}[{number}]"), wanted, Some(there), found);
            }
        }
        _ if expected == actual => {}
        _ => differs(),
    }
}

fn like(expected: &Value, actual: &Value) -> bool {
    let mut found = Vec::new();
    differences("", expected, Some(actual), &mut found);
    found.is_empty()
}

fn matches(matcher: &str, wanted: &Value, actual: &Value) -> bool {
    let some = |wanted: &Value| {
        actual
            .as_array()
            .is_some_and(|list| list.iter().any(|element| like(wanted, element)))
    };
    match matcher {
        "$some" => some(wanted),
        "$all" => wanted.as_array().expect("a list").iter().all(some),
        "$at_least" => actual.as_i64() >= Some(wanted.as_i64().expect("a number")),
        "$at_most" => actual
            .as_i64()
            .is_some_and(|actual| actual <= wanted.as_i64().expect("a number")),
        "$any" => !actual.is_null(),
        other => panic!("no matcher {other}"),
    }
}

#[test]
fn differences_are_found() {
    let at = |expected: &str, actual: &str| {
        let (expected, actual): (Value, Value) = (
            serde_json::from_str(expected).expect("JSON"),
            serde_json::from_str(actual).expect("JSON"),
        );
        like(&expected, &actual)
    };
    assert!(at(r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
    assert!(!at(r#"{"a":null}"#, r#"{"b":2}"#));
    assert!(!at(r#"{"a":null}"#, r#"{"a":0}"#));
    assert!(!at(r#"[{"a":1}]"#, r#"[{"a":1},{"a":2}]"#));
    assert!(!at(r#"{"a":[{"b":1}]}"#, r#"{"a":[{"b":2}]}"#));
    assert!(at(r#"{"$some":{"b":2}}"#, r#"[{"a":1},{"b":2}]"#));
    assert!(!at(r#"{"$all":[{"b":2},{"b":3}]}"#, r#"[{"a":1},{"b":2}]"#));
    assert!(at(r#"{"$at_least":0}"#, "0"));
    assert!(!at(r#"{"$at_least":0}"#, "-1"));
    assert!(!at(r#"{"$at_least":0}"#, "null"));
    assert!(!at(r#"{"$any":true}"#, "null"));
}
