//! Plays a scenario in every variant it asks for, each on an empty store, and holds what comes out against it.

mod expect;
mod see;

use std::collections::HashMap;

use callstore::event::EventId;
use serde_json::Value;

use super::format::{Given, Scenario, label};
use crate::player::{Answer, Player, settings};

const BATCH: usize = 1_000;
const STEPS: [&str; 11] = [
    "put",
    "advance",
    "expect",
    "repeat",
    "many",
    "owner_down",
    "node_down",
    "node_up",
    "probe",
    "rescue",
    "report",
];

/// In which way every `put` is played.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Variant {
    AsGiven,
    Twice,
    Reversed,
    Split,
    /// The order of this number.
    Order(usize),
}

/// Plays a file.
pub fn play(name: &str) {
    let scenario = Scenario::load(name);
    for variant in &scenario.variants {
        for variant in variants(variant, &scenario) {
            Run::new(
                &scenario,
                variant,
                format!("{name}: {}, {variant:?}", scenario.title),
            )
            .run();
        }
    }
}

fn variants(name: &str, scenario: &Scenario) -> Vec<Variant> {
    match name {
        "as given" => vec![Variant::AsGiven],
        "twice" => vec![Variant::Twice],
        "reversed" => vec![Variant::Reversed],
        "split" => vec![Variant::Split],
        "permutations" => {
            let puts = scenario
                .steps
                .iter()
                .filter_map(|step| step["put"].as_array());
            let most = puts.map(Vec::len).max().expect("a put");
            assert!(most <= 7, "the permutations of {most} events are too many");
            (0..(1..=most).product()).map(Variant::Order).collect()
        }
        other => panic!("no variant {other}"),
    }
}

struct Run<'s> {
    scenario: &'s Scenario,
    variant: Variant,
    title: String,
    player: Player,
}

impl<'s> Run<'s> {
    fn new(scenario: &'s Scenario, variant: Variant, title: String) -> Run<'s> {
        let mut told = settings();
        let mut aliases = HashMap::new();
        let given = scenario.settings.as_object().into_iter().flatten();
        for (key, value) in given {
            match key.as_str() {
                "cdr_enabled" => told.cdr_enabled = value.as_bool().expect("a truth value"),
                "sorm3_enabled" => told.sorm3_enabled = value.as_bool().expect("a truth value"),
                "event_aliases" => {
                    let pairs = value.as_object().expect("aliases").iter();
                    aliases = pairs
                        .map(|(theirs, ours)| (theirs.clone(), label(ours)))
                        .collect();
                }
                "watch" => {
                    for (name, ms) in value.as_object().expect("limits") {
                        told.limits
                            .set(name, ms.as_i64().expect("ms"))
                            .expect("a limit");
                    }
                }
                other => panic!("{title}: no setting {other}"),
            }
        }
        let player = Player::new(told, scenario.base).with_aliases(aliases);
        Run {
            scenario,
            variant,
            title,
            player,
        }
    }

    fn run(mut self) {
        for (number, step) in self.scenario.steps.iter().enumerate() {
            self.step(step, number + 1);
        }
    }

    fn step(&mut self, step: &Value, number: usize) {
        let keys = step.as_object().expect("a step is an object");
        let named = STEPS.iter().find(|name| keys.contains_key(**name));
        match named.copied() {
            Some("put") => self.put(step, number),
            Some("advance") => {
                let ms = step["advance"].as_i64().expect("ms");
                self.player.advance_to(self.player.now_ms + ms);
            }
            Some("repeat") => self.repeat(&step["repeat"], number),
            Some("many") => self.many(&step["many"], number),
            Some("expect") => self.expect(&step["expect"], number),
            Some(seen) => self.see(seen, step),
            None => panic!("{}: step {number} is unknown: {step}", self.title),
        }
        self.player.check();
    }

    fn put(&mut self, step: &Value, number: usize) {
        let told = step["put"].as_array().expect("put is a list").iter();
        let given: Vec<Given<'_>> = (1..)
            .zip(told)
            .filter(|(_, spec)| spec["only"] != "erlang")
            .map(|(index, spec)| Given {
                spec,
                step: number,
                index,
                shift: 0,
            })
            .collect();
        let events: Vec<Vec<u8>> = given
            .iter()
            .map(|&given| self.scenario.event(given))
            .collect();
        self.follow_clock(&given);
        let owner = step["owner"].as_str().map(packed_owner);
        let answer = self.put_all(events, owner.as_deref());
        if self.variant == Variant::AsGiven {
            let places: Vec<usize> = given.iter().map(|given| given.index).collect();
            self.check_answer(step, &answer, &places, number);
        }
        self.player.settle();
    }

    /// The clock moves on to the latest of the events.
    fn follow_clock(&mut self, given: &[Given<'_>]) {
        let at = |given: &Given<'_>| Some(given.spec["at"].as_i64()? + given.shift);
        if let Some(latest) = given.iter().filter_map(at).max() {
            self.player.advance_to(self.scenario.base + latest);
        }
    }

    fn put_all(&mut self, events: Vec<Vec<u8>>, owner: Option<&str>) -> Answer {
        let lines = |events: &[Vec<u8>]| events.join(&b'\n');
        match self.variant {
            Variant::AsGiven => self.player.put_of(&lines(&events), owner),
            Variant::Twice => {
                let doubled: Vec<Vec<u8>> = events
                    .iter()
                    .flat_map(|event| [event.clone(), event.clone()])
                    .collect();
                self.player.put_of(&lines(&doubled), owner);
                self.player.settle();
                let answer = self.player.put_of(&lines(&events), owner);
                assert_eq!(answer.accepted, 0, "{}: nothing of it is new", self.title);
                answer
            }
            Variant::Reversed => {
                let reversed: Vec<Vec<u8>> = events.into_iter().rev().collect();
                self.player.put_of(&lines(&reversed), owner)
            }
            Variant::Split => {
                for event in &events {
                    self.player.put_of(event, owner);
                    self.player.settle();
                }
                Answer::default()
            }
            Variant::Order(order) => {
                let events = in_order(events, order);
                self.player.put_of(&lines(&events), owner)
            }
        }
    }

    fn check_answer(&self, step: &Value, answer: &Answer, places: &[usize], number: usize) {
        let title = &self.title;
        for (key, actual) in [
            ("accepted", answer.accepted),
            ("duplicate", answer.duplicate),
        ] {
            if let Some(expected) = step[key].as_u64() {
                assert_eq!(actual as u64, expected, "{title}: step {number}, {key}");
            }
        }
        let Some(expected) = step["rejected"].as_array() else {
            assert_eq!(answer.rejected, [], "{title}: step {number}, rejected");
            return;
        };
        let expected = expected
            .iter()
            .filter(|row| places.contains(&(row[0].as_u64().expect("an index") as usize)));
        let expected: Vec<&Value> = expected.collect();
        assert_eq!(
            expected.len(),
            answer.rejected.len(),
            "{title}: {:?}",
            answer.rejected
        );
        for (row, (index, reason)) in expected.into_iter().zip(&answer.rejected) {
            let said = format!("{title}: step {number}, wants {row}, is {index} {reason}");
            assert_eq!(row[0].as_u64(), Some(places[index - 1] as u64), "{said}");
            let kinds = row[1].as_str().expect("a reason");
            assert!(kinds.split('|').any(|kind| kind == reason.kind()), "{said}");
            assert!(
                row[2].is_null() || row[2].as_str() == reason.field(),
                "{said}"
            );
        }
    }

    fn repeat(&mut self, told: &Value, number: usize) {
        let times = told["times"].as_u64().expect("times");
        if let Some(steps) = told["steps"].as_array() {
            for _ in 0..times {
                steps.iter().for_each(|step| self.step(step, number));
            }
            return;
        }
        let every = told["every"].as_i64().expect("every");
        let specs = told["put"].as_array().expect("put");
        let given = (0..times).flat_map(|time| specs.iter().map(move |spec| (time, spec)));
        let given: Vec<Given<'_>> = (1..)
            .zip(given)
            .map(|(index, (time, spec))| Given {
                spec,
                step: number,
                index,
                shift: time as i64 * every,
            })
            .collect();
        self.follow_clock(&given);
        let mut events: Vec<Vec<u8>> = given
            .iter()
            .map(|&given| self.scenario.event(given))
            .collect();
        if self.variant == Variant::Reversed {
            events.reverse();
        }
        for batch in events.chunks(BATCH) {
            self.player.put(&batch.join(&b'\n'));
        }
        self.player.settle();
    }

    fn many(&mut self, told: &Value, number: usize) {
        let specs = told["put"].as_array().expect("put");
        let calls = told["calls"].as_u64().expect("calls");
        // Calls with owners of their own cannot share a batch.
        let owner = told["owner"].as_str();
        let at_once = match owner {
            Some(_) => specs.len(),
            None => BATCH,
        };
        let mut events = Vec::new();
        for call in 1..=calls {
            for (index, spec) in (1..).zip(specs) {
                let mut spec = spec.clone();
                spec["call"] = call.into();
                let index = index + (call as usize - 1) * specs.len();
                let given = Given {
                    spec: &spec,
                    step: number,
                    index,
                    shift: 0,
                };
                self.follow_clock(&[given]);
                events.push(self.scenario.event(given));
            }
        }
        for (call, batch) in (1u64..).zip(events.chunks(at_once)) {
            let owner = owner.map(|owner| {
                let named = self.scenario.fill(&owner.into(), &call.to_string(), None);
                packed_owner(&label(&named))
            });
            self.player.put_of(&batch.join(&b'\n'), owner.as_deref());
        }
        self.player.settle();
    }

    fn dialog(&self, call: &str) -> String {
        label(&self.scenario.fill(&"{dialogid}".into(), call, None))
    }

    fn cid(&self, call: &str) -> EventId {
        let text = label(&self.scenario.fill(&"{cid}".into(), call, None));
        *uuid::Uuid::parse_str(&text).expect("a cid").as_bytes()
    }
}

/// The owner `name@node` or `external:name` as it stands in events.
fn packed_owner(owner: &str) -> String {
    match owner.split_once('@') {
        Some((name, node)) => format!("name:{name} {node}"),
        None => owner.to_owned(),
    }
}

/// The events in the order of this number, of all orders there are.
fn in_order<T>(mut events: Vec<T>, mut order: usize) -> Vec<T> {
    let mut ordered = Vec::with_capacity(events.len());
    while !events.is_empty() {
        let at = order % events.len();
        order /= events.len();
        ordered.push(events.remove(at));
    }
    ordered
}

#[test]
fn all_orders_of_four_are_different() {
    let orders: std::collections::HashSet<Vec<u8>> = (0..24)
        .map(|order| in_order(vec![1, 2, 3, 4], order))
        .collect();
    assert_eq!(orders.len(), 24);
}
