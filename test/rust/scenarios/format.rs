//! Reads the files of `test/scenarios/` and writes their short hand out: events as a producer would give them.
//!
//! Always holds: what a file says is used or refused, never passed over; the same file gives the same bytes. Used by the
//! player of scenarios. `test/scenarios/README.md` describes the format; the Erlang runner reads the same files.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Where the scenarios are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test/scenarios")
}

/// One scenario, as far as it can be known without playing it.
pub struct Scenario {
    pub title: String,
    pub variants: Vec<String>,
    pub base: i64,
    pub settings: Value,
    pub steps: Vec<Value>,
    calls: Value,
    shorthand: Value,
    /// Events that were written out already, by place and shift.
    written: RefCell<HashMap<(usize, usize, i64), Vec<u8>>>,
}

/// An event of a file and its place there.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    pub spec: &'a Value,
    /// Number of the step, from 1.
    pub step: usize,
    /// Place in the list, from 1; repetitions count on.
    pub index: usize,
    /// Moved on by so many ms.
    pub shift: i64,
}

const KEYS: [&str; 7] = [
    "title", "as", "variants", "base", "settings", "calls", "steps",
];
const RESERVED: [&str; 7] = ["call", "at", "type", "fork", "id", "sets", "owner"];

impl Scenario {
    /// Reads a file of the folder.
    pub fn load(name: &str) -> Scenario {
        let own = read(name);
        for key in own.as_object().expect("a scenario is an object").keys() {
            assert!(KEYS.contains(&key.as_str()), "{name}: unknown key {key}");
        }
        let told = match own["as"].as_str() {
            Some(other) => read(other),
            None => own.clone(),
        };
        let shorthand = read("shorthand.json");
        let texts = |list: &Value| -> Vec<String> {
            let list = list.as_array().expect("variants is a list");
            list.iter()
                .map(|text| text.as_str().expect("a variant's name").to_owned())
                .collect()
        };
        Scenario {
            title: own["title"].as_str().expect("title").to_owned(),
            variants: match &own["variants"] {
                Value::Null => ["as given", "twice", "split"].map(str::to_owned).to_vec(),
                list => texts(list),
            },
            base: told["base"]
                .as_i64()
                .or(shorthand["base"].as_i64())
                .expect("base"),
            settings: told["settings"].clone(),
            steps: told["steps"].as_array().expect("steps").clone(),
            calls: told["calls"].clone(),
            shorthand,
            written: RefCell::default(),
        }
    }

    /// The event as JSON text on one line.
    pub fn event(&self, given: Given<'_>) -> Vec<u8> {
        let place = (given.step, given.index, given.shift);
        if let Some(written) = self.written.borrow().get(&place) {
            return written.clone();
        }
        let mut out = Vec::new();
        write(&self.written_out(given), &mut out);
        self.written.borrow_mut().insert(place, out.clone());
        out
    }

    fn written_out(&self, given: Given<'_>) -> Value {
        let spec = given.spec.as_object().expect("an event is an object");
        if let Some(raw) = spec.get("raw") {
            return self.fill(raw, "1", Some(given));
        }
        let call = label(&spec.get("call").cloned().unwrap_or(1.into()));
        let kind = spec["type"].as_str().expect("type");
        let row = &self.shorthand["types"][kind];
        let sets = match spec.get("sets") {
            Some(sets) => sets,
            None if row.is_array() => &row[0],
            None => panic!("type {kind} is not in shorthand.json and says no sets"),
        };
        let mut fields = Map::new();
        for set in sets.as_array().expect("sets") {
            let set = &self.shorthand["sets"][set.as_str().expect("a set's name")];
            fields.extend(set.as_object().expect("a set of fields").clone());
        }
        if let Some(own) = row[1].as_object() {
            fields.extend(own.clone());
        }
        let told = spec
            .iter()
            .filter(|(key, _)| !RESERVED.contains(&key.as_str()));
        fields.extend(told.map(|(key, value)| (key.clone(), value.clone())));
        let mut envelope = self.shorthand["envelope"].clone();
        envelope["data"] = Value::Object(fields);
        self.fill(&envelope, &call, Some(given))
    }

    /// The value with its names and times put in.
    pub fn fill(&self, value: &Value, call: &str, given: Option<Given<'_>>) -> Value {
        match value {
            Value::String(text) => self.fill_text(text, call, given),
            Value::Array(list) => Value::Array(
                list.iter()
                    .map(|value| self.fill(value, call, given))
                    .collect(),
            ),
            Value::Object(object) => {
                let filled = object.iter().map(|(key, value)| {
                    let Value::String(key) = self.fill_text(key, call, given) else {
                        panic!("{key} is no key");
                    };
                    (key, self.fill(value, call, given))
                });
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }

    fn fill_text(&self, text: &str, call: &str, given: Option<Given<'_>>) -> Value {
        if let Some(ms) = text.strip_prefix('@').and_then(|ms| ms.parse::<i64>().ok()) {
            return (self.base + ms).into();
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                break;
            };
            let value = self.value_of(name, call, given);
            if before.is_empty() && behind.is_empty() && out.is_empty() {
                return value;
            }
            out.push_str(before);
            out.push_str(&label(&value));
            rest = behind;
        }
        Value::String(out + rest)
    }

    fn value_of(&self, name: &str, call: &str, given: Option<Given<'_>>) -> Value {
        if let Some((other, name)) = name.split_once('.') {
            return self.value_of(name, other, None);
        }
        let own = &self.calls[call];
        let part = |of: &str, at: usize| {
            let whole = label(&self.value_of(of, call, given));
            Value::from(whole.split('@').nth(at).expect("user@domain"))
        };
        let fork = || {
            let told = given
                .map(|given| &given.spec["fork"])
                .filter(|fork| fork.is_string());
            told.cloned()
                .unwrap_or_else(|| self.usual("fork", call, None))
        };
        match name {
            "n" => format!("{call:0>2}").into(),
            "n12" => format!("{call:0>12}").into(),
            "invitets" => (self.base + own["invite_at"].as_i64().unwrap_or(0)).into(),
            "auser" => part("a", 0),
            "adomain" => part("a", 1),
            "buser" => part("b", 0),
            "bdomain" => part("b", 1),
            "fork" => fork(),
            "device" => match &own["forks"][&label(&fork())] {
                Value::Null => self.value_of("b", call, given),
                device => device.clone(),
            },
            "type" => given.expect("an event").spec["type"].clone(),
            "eventts" => {
                let given = given.expect("an event");
                let at = given.spec["at"].as_i64().expect("at");
                (self.base + at + given.shift).into()
            }
            "eventid" => {
                let given = given.expect("an event");
                match &given.spec["id"] {
                    Value::Null => {
                        let place = format!("{:04}{:08}", given.step, given.index);
                        format!("e0000000-0000-4000-8000-{place}").into()
                    }
                    id => id.clone(),
                }
            }
            _ => self.usual(name, call, given),
        }
    }

    /// A value of the call as its scenario gives it, or as calls usually have it.
    fn usual(&self, name: &str, call: &str, given: Option<Given<'_>>) -> Value {
        let told = match &self.calls[call][name] {
            Value::Null => &self.shorthand["call"][name],
            told => told,
        };
        assert!(!told.is_null(), "nothing is called {{{name}}}");
        self.fill(told, call, given)
    }
}

/// A call's label, or any scalar, as text.
pub fn label(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn read(name: &str) -> Value {
    let path = folder().join(name);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes JSON, and what no JSON file should hold.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) if object.keys().any(|key| key.starts_with('$')) => {
            write_monster(object, out);
        }
        Value::Object(object) => {
            out.push(b'{');
            for (number, (key, value)) in object.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                out.extend(Value::from(key.as_str()).to_string().bytes());
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
        Value::Array(list) => {
            out.push(b'[');
            for (number, value) in list.iter().enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        scalar => out.extend(scalar.to_string().bytes()),
    }
}

fn write_monster(object: &Map<String, Value>, out: &mut Vec<u8>) {
    let (kind, told) = object.iter().next().expect("one key");
    match kind.as_str() {
        "$repeat" => {
            let times = told[1].as_u64().expect("times") as usize;
            let text = told[0].as_str().expect("text").repeat(times);
            out.extend(Value::from(text).to_string().bytes());
        }
        "$nest" => {
            let depth = told.as_u64().expect("depth") as usize;
            out.extend("[".repeat(depth).bytes());
            out.extend("]".repeat(depth).bytes());
        }
        "$bytes" => {
            let bytes = told.as_array().expect("bytes").iter();
            out.push(b'"');
            out.extend(bytes.map(|byte| byte.as_u64().expect("a byte") as u8));
            out.push(b'"');
        }
        other => panic!("{other} cannot be said in JSON"),
    }
}
