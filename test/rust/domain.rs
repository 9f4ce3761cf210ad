//! Role instances, their check as a set, the table of responsibility, and where live calls stay.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

mod one_role;
mod placement;
mod responsibility;
mod set_of_roles;

use callstore::domain::{Problem, Reason, Role, Tree, roles_from_value};
use serde_json::{Value, json};

type Expected<'a> = (&'a str, &'a str, Value, Reason);

fn role(name: &str, group: u32, order: i64, domains: &[&str]) -> Value {
    json!({
        "name": name, "roletype": "callstore", "iface": "inner", "group": group, "order": order,
        "include_domains": domains,
    })
}

fn with(mut role: Value, key: &str, value: Value) -> Value {
    role[key] = value;
    role
}

fn without(mut role: Value, key: &str) -> Value {
    role.as_object_mut().unwrap().remove(key);
    role
}

fn read(roles: Value) -> Vec<Role> {
    roles_from_value(&roles).unwrap().0
}

fn below(root: &str) -> Tree {
    Tree::new(Some(root), []).unwrap()
}

fn brief(problems: &[Problem]) -> Vec<Expected<'_>> {
    problems
        .iter()
        .map(|p| {
            (
                p.instance.as_str(),
                p.key.as_str(),
                p.value.clone(),
                p.reason,
            )
        })
        .collect()
}
