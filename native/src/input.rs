//! Events as Erlang terms: maps with binary or atom keys, told to the core key by key, binaries borrowed.

use callstore::event::Value;
use callstore::event::input::{Arena, Given, Input, MAX_DEPTH, Reject};
use rustler::types::map::MapIterator;
use rustler::{Binary, Term, TermType};

use crate::terms;

/// Reads one event into an input that has been cleared. What does not lie in the term as text goes to the arena.
pub fn read<'i, 'a: 'i>(
    event: Term<'a>,
    arena: &'i Arena,
    input: &mut Input<'i>,
) -> Result<(), Reject> {
    let pairs = MapIterator::new(event).ok_or(Reject::NotAnObject)?;
    let mut found = None;
    for (key, value) in pairs {
        match key_bytes(key, arena)? {
            b"data" => found = Some(value),
            key => input.envelope(key, given(value, key, arena)?),
        }
    }
    let fields = found.and_then(MapIterator::new).ok_or(Reject::NoData)?;
    for (key, value) in fields {
        let key = key_bytes(key, arena)?;
        if let Ok(binary) = Binary::from_term(value) {
            input.text(key, text(binary, key)?)?;
        } else if let Ok(number) = value.decode() {
            input.int(key, number)?;
        } else {
            input.field(key, given(value, key, arena)?)?;
        }
    }
    Ok(())
}

#[inline]
fn text<'a>(binary: Binary<'a>, key: &[u8]) -> Result<&'a str, Reject> {
    std::str::from_utf8(binary.as_slice()).map_err(|_| Reject::NotUtf8(clip(key)))
}

/// A key: a binary, or an atom.
#[inline]
fn key_bytes<'i, 'a: 'i>(key: Term<'a>, arena: &'i Arena) -> Result<&'i [u8], Reject> {
    if let Ok(binary) = Binary::from_term(key) {
        return Ok(binary.as_slice());
    }
    match key.atom_to_string() {
        Ok(text) => Ok(arena.alloc_str(&text).as_bytes()),
        Err(_) => Err(Reject::BadField("key".into())),
    }
}

fn given<'i, 'a: 'i>(value: Term<'a>, key: &[u8], arena: &'i Arena) -> Result<Given<'i>, Reject> {
    if let Ok(binary) = Binary::from_term(value) {
        return Ok(Some(Value::Str(text(binary, key)?)));
    }
    let bad = || Reject::BadField(clip(key));
    match value.get_type() {
        TermType::Integer => {
            let number = value.decode().map_err(|_| bad())?;
            Ok(Some(Value::Int(number)))
        }
        TermType::Float => {
            let number = value.decode().map_err(|_| bad())?;
            Ok(Some(Value::Float(number)))
        }
        TermType::Atom => match value.atom_to_string().as_deref() {
            Ok("true") => Ok(Some(Value::Bool(true))),
            Ok("false") => Ok(Some(Value::Bool(false))),
            Ok("null" | "nil") => Ok(None),
            Ok(text) => Ok(Some(Value::Str(arena.alloc_str(text)))),
            Err(_) => Err(bad()),
        },
        TermType::List | TermType::Map => nested(value, key, arena),
        _ => Err(bad()),
    }
}

/// A list of characters is text; any other list and a map is kept as JSON.
fn nested<'i>(value: Term<'_>, key: &[u8], arena: &'i Arena) -> Result<Given<'i>, Reject> {
    if let Some(text) = terms::characters(value) {
        return Ok(Some(Value::Str(arena.alloc_str(&text))));
    }
    let mut json = Vec::new();
    match terms::write_json(value, MAX_DEPTH, &mut json) {
        Ok(()) => match std::str::from_utf8(&json) {
            Ok(text) => Ok(Some(Value::Json(arena.alloc_str(text)))),
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
