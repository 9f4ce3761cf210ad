//! Reads role instances from JSON.
//!
//! Always holds: a parameter written as `null`, `""`, `"empty"`, `"undefined"` or `"__empty"` is absent;
//! reading goes on after a problem, so that all are told at once, each with what would be right. Called with
//! the configuration of a site, before [`super::check()`] judges the set. Must never look at more than one
//! instance at a time.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::role::{
    CDR_ENABLED, ENABLED, EXT, GROUP, GROUP_MAX, GROUP_MIN, IFACE, INCLUDE_DOMAINS, NAME, ORDER,
    PARAMETERS, Parameter, Presence, ROLETYPE, Role, SORM3_ENABLED, STORAGE, StorageMode, TYPE,
};
use super::{Group, Name, Problem, Reason};

/// Reads role instances from JSON text: a list of objects, or one object. With the roles come the warnings.
/// The set is not judged: see [`super::check()`].
///
/// # Errors
/// [`Reason::BadJson`] with line and column if the text is not JSON, else as [`roles_from_value`].
pub fn roles_from_json(text: &[u8]) -> Result<(Vec<Role>, Vec<Problem>), Vec<Problem>> {
    match serde_json::from_slice::<Value>(text) {
        Ok(value) => roles_from_value(&value),
        Err(error) => {
            let place = json!({"line": error.line(), "column": error.column()});
            let right = format!("the roles must be JSON text, a list of objects: {error}");
            Err(vec![Problem::new("", "", place, Reason::BadJson, right)])
        }
    }
}

/// Reads role instances from a list of objects, or from one object. With the roles come the warnings.
///
/// A disabled instance takes no part in validation: what is wrong with it is a warning, and if it cannot be
/// read it is left out.
///
/// # Errors
/// All problems of all enabled instances: [`Reason::NotARole`], [`Reason::Missing`], [`Reason::BadType`],
/// [`Reason::BadValue`], [`Reason::BadDomain`].
pub fn roles_from_value(value: &Value) -> Result<(Vec<Role>, Vec<Problem>), Vec<Problem>> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        Value::Object(_) => std::slice::from_ref(value),
        other => {
            let right = "the roles must be a list of objects, one for each instance";
            return Err(vec![Problem::new(
                "",
                "",
                other.clone(),
                Reason::NotARole,
                right,
            )]);
        }
    };
    let (mut roles, mut problems, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for (place, item) in items.iter().enumerate() {
        let nameless = format!("#{}", place + 1);
        let Value::Object(fields) = item else {
            let right = "a role instance must be an object, such as {\"name\": \"callstore1\", …}";
            problems.push(Problem::new(
                nameless,
                "",
                item.clone(),
                Reason::NotARole,
                right,
            ));
            continue;
        };
        let mut reader = Reader::new(fields, nameless);
        roles.extend(reader.role());
        warnings.append(&mut reader.warnings);
        let disabled = fields.get(ENABLED.name) == Some(&Value::Bool(false));
        let found = if disabled {
            &mut warnings
        } else {
            &mut problems
        };
        found.append(&mut reader.problems);
    }
    if problems.is_empty() {
        Ok((roles, warnings))
    } else {
        Err(problems)
    }
}

/// Reads the fields of one object, and gathers what is wrong with them.
struct Reader<'a> {
    fields: &'a Map<String, Value>,
    instance: String,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn new(fields: &'a Map<String, Value>, nameless: String) -> Self {
        let name = present(fields, NAME.name).and_then(Value::as_str);
        Self {
            fields,
            instance: name.map_or(nameless, str::to_owned),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The role, if every parameter could be read.
    fn role(&mut self) -> Option<Role> {
        let name = self.required(&NAME, read_name);
        let roletype = self.required(&TYPE, read_type);
        let iface = self.optional(&IFACE, None, |value| {
            read_str(value).map(|text| Some(text.to_owned()))
        });
        let ext = self.optional(&EXT, Value::Null, read_ext);
        let enabled = self.optional(&ENABLED, true, read_bool);
        let group = self.required(&GROUP, read_group);
        let order = self.required(&ORDER, read_order);
        let include_domains = self.include_domains();
        let cdr_enabled = self.optional(&CDR_ENABLED, true, read_bool);
        let sorm3_enabled = self.optional(&SORM3_ENABLED, false, read_bool);
        let storage = self.optional(&STORAGE, StorageMode::Disc, read_storage);
        self.warn_of_unknown_keys();
        roletype?;
        Some(Role {
            name: name?,
            iface: iface?,
            ext: ext?,
            enabled: enabled?,
            group: group?,
            order: order?,
            include_domains: include_domains?,
            cdr_enabled: cdr_enabled?,
            sorm3_enabled: sorm3_enabled?,
            storage: storage?,
        })
    }

    fn required<T>(
        &mut self,
        parameter: &Parameter,
        read: impl Fn(&'a Value) -> Result<T, Reason>,
    ) -> Option<T> {
        if let Some(value) = present(self.fields, parameter.name) {
            return self.take(parameter, value, read);
        }
        let value = self.fields.get(parameter.name).cloned().unwrap_or_default();
        let right = format!("{} is required: {}", parameter.name, parameter.right);
        self.problems
            .push(self.problem(parameter, value, Reason::Missing, right));
        None
    }

    fn optional<T>(
        &mut self,
        parameter: &Parameter,
        default: T,
        read: impl Fn(&'a Value) -> Result<T, Reason>,
    ) -> Option<T> {
        if let Some(value) = present(self.fields, parameter.name) {
            return self.take(parameter, value, read);
        }
        if parameter.presence == Presence::Expected {
            let value = self.fields.get(parameter.name).cloned().unwrap_or_default();
            let right = format!(
                "{} is absent: it should be {}",
                parameter.name, parameter.right
            );
            self.warnings
                .push(self.problem(parameter, value, Reason::Absent, right));
        }
        Some(default)
    }

    fn take<T>(
        &mut self,
        parameter: &Parameter,
        value: &'a Value,
        read: impl Fn(&'a Value) -> Result<T, Reason>,
    ) -> Option<T> {
        match read(value) {
            Ok(read) => Some(read),
            Err(reason) => {
                let right = must_be(parameter);
                self.problems
                    .push(self.problem(parameter, value.clone(), reason, right));
                None
            }
        }
    }

    /// Every item is read, whether or not one before it was wrong.
    fn include_domains(&mut self) -> Option<Vec<Name>> {
        let items = self.optional(&INCLUDE_DOMAINS, [].as_slice(), read_list)?;
        let read: Vec<_> = items
            .iter()
            .map(|item| self.take(&INCLUDE_DOMAINS, item, read_domain))
            .collect();
        let mut domains = Vec::with_capacity(items.len());
        let mut seen = BTreeSet::new();
        for (item, domain) in items.iter().zip(read) {
            let domain = domain?;
            if seen.insert(domain.clone()) {
                domains.push(domain);
            } else {
                let text = format!("{domain} stands in the list twice: once is enough");
                let value = item.clone();
                let warning = self.problem(&INCLUDE_DOMAINS, value, Reason::DomainRepeated, text);
                self.warnings.push(warning);
            }
        }
        Some(domains)
    }

    fn warn_of_unknown_keys(&mut self) {
        let known = PARAMETERS.map(|parameter| parameter.name);
        for (key, value) in self.fields {
            if !known.contains(&key.as_str()) {
                let text = format!(
                    "{key} is no parameter of this role and is ignored; known are {}",
                    known.join(", ")
                );
                let (instance, key) = (self.instance.as_str(), key.as_str());
                let warning = Problem::new(instance, key, value.clone(), Reason::UnknownKey, text);
                self.warnings.push(warning);
            }
        }
    }

    fn problem(
        &self,
        parameter: &Parameter,
        value: Value,
        reason: Reason,
        right: String,
    ) -> Problem {
        Problem::new(self.instance.clone(), parameter.name, value, reason, right)
    }
}

/// The value under a key, unless it is one of the ways to write that there is none.
fn present<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    fields.get(key).filter(|value| !is_empty(value))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => matches!(text.as_str(), "" | "empty" | "undefined" | "__empty"),
        _ => false,
    }
}

fn must_be(parameter: &Parameter) -> String {
    match parameter.presence {
        Presence::Default(default) => {
            format!(
                "{} must be {}; if absent: {default}",
                parameter.name, parameter.right
            )
        }
        Presence::Required | Presence::Expected => {
            format!("{} must be {}", parameter.name, parameter.right)
        }
    }
}

fn read_str(value: &Value) -> Result<&str, Reason> {
    value.as_str().ok_or(Reason::BadType)
}

fn read_bool(value: &Value) -> Result<bool, Reason> {
    value.as_bool().ok_or(Reason::BadType)
}

fn read_list(value: &Value) -> Result<&[Value], Reason> {
    value.as_array().map(Vec::as_slice).ok_or(Reason::BadType)
}

fn read_name(value: &Value) -> Result<String, Reason> {
    let name = read_str(value)?;
    let begins_right = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins_right && name.chars().all(|c| c.is_ascii_alphanumeric()) {
        Ok(name.to_owned())
    } else {
        Err(Reason::BadValue)
    }
}

fn read_type(value: &Value) -> Result<(), Reason> {
    if read_str(value)? == ROLETYPE {
        Ok(())
    } else {
        Err(Reason::BadValue)
    }
}

fn read_ext(value: &Value) -> Result<Value, Reason> {
    match value {
        Value::Object(_) | Value::Array(_) => Ok(value.clone()),
        _ => Err(Reason::BadType),
    }
}

fn read_order(value: &Value) -> Result<i64, Reason> {
    match value.as_i64() {
        Some(order) => Ok(order),
        None if value.is_u64() => Err(Reason::BadValue),
        None => Err(Reason::BadType),
    }
}

fn read_group(value: &Value) -> Result<Group, Reason> {
    let number = read_order(value)?;
    let group = Group::try_from(number).map_err(|_| Reason::BadValue)?;
    if (GROUP_MIN..=GROUP_MAX).contains(&group) {
        Ok(group)
    } else {
        Err(Reason::BadValue)
    }
}

fn read_domain(value: &Value) -> Result<Name, Reason> {
    let text = read_str(value)?;
    if is_empty(value) {
        return Err(Reason::BadDomain);
    }
    Name::parse(text).ok_or(Reason::BadDomain)
}

fn read_storage(value: &Value) -> Result<StorageMode, Reason> {
    let text = read_str(value)?;
    [StorageMode::Disc, StorageMode::Ram]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or(Reason::BadValue)
}
