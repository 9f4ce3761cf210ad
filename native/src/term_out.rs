//! A record as a term.
//!
//! Erlang sorts the keys of every map that is made, and that costs more than all else about it. All maps of one kind have
//! the same keys, so here they are made once and put in order once, and every further map of that kind comes in order.

use std::collections::HashMap;

use callstore::record::Out;
use rustler::{Encoder, Env, Term};

use crate::atoms;
use crate::terms::{binary, from_json, map};

/// Writes records as terms, one after the other.
pub struct TermOut<'a> {
    env: Env<'a>,
    kinds: Vec<MapKind<'a>>,
    /// Names as keys, by where they lie: the same name at two places is made twice.
    names: HashMap<usize, Term<'a>, foldhash::fast::FixedState>,
    open: Vec<Frame<'a>>,
    spare: Vec<Frame<'a>>,
    done: Option<Term<'a>>,
}

/// An object or an array that has begun.
#[derive(Default)]
struct Frame<'a> {
    names: Vec<&'static str>,
    /// Keys that are facts of a call, and how many names came before each.
    facts: Vec<(usize, Term<'a>)>,
    values: Vec<Term<'a>>,
}

/// The maps whose keys were written in the same places of the program.
struct MapKind<'a> {
    names: Vec<&'static str>,
    /// The keys in Erlang's order, and which of the values belongs to each.
    keys: Vec<Term<'a>>,
    order: Vec<usize>,
}

impl<'a> MapKind<'a> {
    fn new(env: Env<'a>, names: &[&'static str]) -> Self {
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&at| names.get(at));
        let in_order = order.iter().filter_map(|&at| names.get(at));
        MapKind {
            names: names.to_vec(),
            keys: in_order.map(|name| binary(env, name.as_bytes())).collect(),
            order,
        }
    }

    fn is_of(&self, names: &[&'static str]) -> bool {
        let pairs = || self.names.iter().zip(names);
        self.names.len() == names.len() && pairs().all(|(own, name)| std::ptr::eq(*own, *name))
    }
}

impl<'a> TermOut<'a> {
    /// Nothing written yet.
    pub fn new(env: Env<'a>) -> Self {
        TermOut {
            env,
            kinds: Vec::new(),
            names: HashMap::default(),
            open: Vec::new(),
            spare: Vec::new(),
            done: None,
        }
    }

    /// What was written; the next begins anew.
    pub fn finish(&mut self) -> Term<'a> {
        self.open.clear();
        self.done
            .take()
            .unwrap_or_else(|| atoms::null().encode(self.env))
    }

    fn begin(&mut self) {
        let frame = self.spare.pop().unwrap_or_default();
        self.open.push(frame);
    }

    fn put(&mut self, term: Term<'a>) {
        match self.open.last_mut() {
            Some(frame) => frame.values.push(term),
            None => self.done = Some(term),
        }
    }

    fn end(&mut self, build: impl FnOnce(&mut Self, &Frame<'a>) -> Term<'a>) {
        if let Some(mut frame) = self.open.pop() {
            let term = build(self, &frame);
            frame.names.clear();
            frame.facts.clear();
            frame.values.clear();
            self.spare.push(frame);
            self.put(term);
        }
    }

    fn object(&mut self, frame: &Frame<'a>) -> Term<'a> {
        if !frame.facts.is_empty() {
            return self.object_of_facts(frame);
        }
        let found = self.kinds.iter().position(|kind| kind.is_of(&frame.names));
        let at = found.unwrap_or_else(|| {
            self.kinds.push(MapKind::new(self.env, &frame.names));
            self.kinds.len() - 1
        });
        let Some(kind) = self.kinds.get(at) else {
            return Term::map_new(self.env);
        };
        let in_order = kind.order.iter().filter_map(|&at| frame.values.get(at));
        let mut values: Vec<&Term<'a>> = Vec::with_capacity(frame.values.len());
        values.extend(in_order);
        Term::map_from_arrays(self.env, &kind.keys, &values)
            .unwrap_or_else(|_| self.object_of_facts(frame))
    }

    /// An object that is not like others: with keys that are facts, or with one key twice.
    fn object_of_facts(&mut self, frame: &Frame<'a>) -> Term<'a> {
        let env = self.env;
        let mut facts = frame.facts.iter().peekable();
        let mut keys = Vec::with_capacity(frame.values.len());
        for (at, name) in frame.names.iter().enumerate() {
            while let Some((_, fact)) = facts.next_if(|(before, _)| *before <= at) {
                keys.push(*fact);
            }
            let known = self.names.entry(name.as_ptr().addr());
            keys.push(*known.or_insert_with(|| binary(env, name.as_bytes())));
        }
        keys.extend(facts.map(|(_, fact)| *fact));
        map(env, &keys, &frame.values)
    }
}

impl Out for TermOut<'_> {
    fn begin_object(&mut self) {
        self.begin();
    }

    fn end_object(&mut self) {
        self.end(TermOut::object);
    }

    fn begin_array(&mut self) {
        self.begin();
    }

    fn end_array(&mut self) {
        self.end(|out, frame| frame.values.as_slice().encode(out.env));
    }

    fn key(&mut self, name: &'static str) {
        if let Some(frame) = self.open.last_mut() {
            frame.names.push(name);
        }
    }

    fn key_of(&mut self, name: &str) {
        let term = binary(self.env, name.as_bytes());
        if let Some(frame) = self.open.last_mut() {
            frame.facts.push((frame.names.len(), term));
        }
    }

    fn str(&mut self, text: &str) {
        self.put(binary(self.env, text.as_bytes()));
    }

    fn int(&mut self, number: i64) {
        self.put(number.encode(self.env));
    }

    fn float(&mut self, number: f64) {
        self.put(number.encode(self.env));
    }

    fn bool(&mut self, truth: bool) {
        self.put(truth.encode(self.env));
    }

    fn null(&mut self) {
        self.put(atoms::null().encode(self.env));
    }

    fn raw_json(&mut self, json: &str) {
        let term = match serde_json::from_str(json) {
            Ok(value) => from_json(self.env, &value),
            Err(_) => binary(self.env, json.as_bytes()),
        };
        self.put(term);
    }

    fn owner(&mut self, packed: &str) {
        let term = crate::owner::term(self.env, packed);
        self.put(term.unwrap_or_else(|| binary(self.env, packed.as_bytes())));
    }
}
