//! Events as Erlang terms: maps with binary or atom keys, told to the core key by key, binaries borrowed.

use std::borrow::Cow;

use callstore::event::input::{Given, Input, MAX_DEPTH, Reject};
use rustler::types::map::MapIterator;
use rustler::{Binary, Term, TermType};

use crate::terms;

/// Reads one event into an input that has been cleared.
pub fn read<'a>(event: Term<'a>, input: &mut Input<'a>) -> Result<(), Reject> {
    let pairs = MapIterator::new(event).ok_or(Reject::NotAnObject)?;
    let mut found = None;
    for (key, value) in pairs {
        let key = key_bytes(key)?;
        match key.as_ref() {
            b"data" => found = Some(value),
            _ => input.envelope(&key, given(value, &key)?),
        }
    }
    let fields = found.and_then(MapIterator::new).ok_or(Reject::NoData)?;
    for (key, value) in fields {
        let key = key_bytes(key)?;
        let given = given(value, &key)?;
        input.field(key, given)?;
    }
    Ok(())
}

/// A key: a binary, or an atom.
fn key_bytes(key: Term<'_>) -> Result<Cow<'_, [u8]>, Reject> {
    if let Ok(binary) = Binary::from_term(key) {
        return Ok(Cow::Borrowed(binary.as_slice()));
    }
    match key.atom_to_string() {
        Ok(text) => Ok(Cow::Owned(text.into_bytes())),
        Err(_) => Err(Reject::BadField("key".into())),
    }
}

fn given<'a>(value: Term<'a>, key: &[u8]) -> Result<Given<'a>, Reject> {
    if let Ok(binary) = Binary::from_term(value) {
        return match std::str::from_utf8(binary.as_slice()) {
            Ok(text) => Ok(Given::Text(Cow::Borrowed(text))),
            Err(_) => Err(Reject::NotUtf8(clip(key))),
        };
    }
    match value.get_type() {
        TermType::Integer => match value.decode::<i64>() {
            Ok(number) => Ok(Given::Int(number)),
            Err(_) => Err(Reject::BadField(clip(key))),
        },
        TermType::Float => value
            .decode::<f64>()
            .map(Given::Float)
            .map_err(|_| Reject::BadField(clip(key))),
        TermType::Atom => match value.atom_to_string().as_deref() {
            Ok("true") => Ok(Given::Bool(true)),
            Ok("false") => Ok(Given::Bool(false)),
            Ok("null" | "nil") => Ok(Given::Null),
            Ok(text) => Ok(Given::Text(Cow::Owned(text.to_owned()))),
            Err(_) => Err(Reject::BadField(clip(key))),
        },
        TermType::List | TermType::Map => nested(value, key),
        _ => Err(Reject::BadField(clip(key))),
    }
}

/// A list of characters is text; any other list and a map is kept as JSON.
fn nested<'a>(value: Term<'a>, key: &[u8]) -> Result<Given<'a>, Reject> {
    if let Some(text) = terms::characters(value) {
        return Ok(Given::Text(Cow::Owned(text)));
    }
    let mut json = Vec::new();
    match terms::write_json(value, MAX_DEPTH, &mut json) {
        Ok(()) => match String::from_utf8(json) {
            Ok(text) => Ok(Given::Json(Cow::Owned(text))),
            Err(_) => Err(Reject::NotUtf8(clip(key))),
        },
        Err(terms::NotJson::Deep) => Err(Reject::TooDeep(clip(key))),
        Err(terms::NotJson::Large) => Err(Reject::TooLarge(clip(key))),
        Err(terms::NotJson::Term) => Err(Reject::BadField(clip(key))),
    }
}

fn clip(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(64).collect()
}
