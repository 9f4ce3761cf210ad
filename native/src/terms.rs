//! Between terms and JSON, both ways.

use rustler::types::map::MapIterator;
use rustler::{Binary, Encoder, Env, NewBinary, Term, TermType};

use crate::atoms;

/// Why a term has no JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotJson {
    /// Lists and maps lie too deep in one another.
    Deep,
    /// More than a value may have.
    Large,
    /// A term without JSON form, or a text that is not UTF-8.
    Term,
}

/// The most bytes of JSON that are written for one value.
const MAX_JSON_BYTES: usize = 64 << 20;

/// Writes a term as JSON: maps, proper lists, binaries, atoms, numbers.
pub fn write_json(term: Term<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), NotJson> {
    if out.len() > MAX_JSON_BYTES {
        return Err(NotJson::Large);
    }
    if let Ok(binary) = Binary::from_term(term) {
        let text = std::str::from_utf8(binary.as_slice()).map_err(|_| NotJson::Term)?;
        return write_text(text, out);
    }
    match term.get_type() {
        TermType::Integer => {
            let number: i64 = term.decode().map_err(|_| NotJson::Term)?;
            out.extend_from_slice(number.to_string().as_bytes());
            Ok(())
        }
        TermType::Float => {
            let number: f64 = term.decode().map_err(|_| NotJson::Term)?;
            serde_json::to_writer(out, &number).map_err(|_| NotJson::Term)
        }
        TermType::Atom => match term.atom_to_string().as_deref() {
            Ok(word @ ("true" | "false" | "null")) => {
                out.extend_from_slice(word.as_bytes());
                Ok(())
            }
            Ok("undefined" | "nil") => {
                out.extend_from_slice(b"null");
                Ok(())
            }
            Ok(text) => write_text(text, out),
            Err(_) => Err(NotJson::Term),
        },
        TermType::List if depth == 0 => Err(NotJson::Deep),
        TermType::Map if depth == 0 => Err(NotJson::Deep),
        TermType::List => write_list(term, depth - 1, out),
        TermType::Map => write_map(term, depth - 1, out),
        _ => Err(NotJson::Term),
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), NotJson> {
    serde_json::to_writer(out, text).map_err(|_| NotJson::Term)
}

fn write_list(list: Term<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), NotJson> {
    out.push(b'[');
    let (mut rest, mut first) = (list, true);
    while let Ok((head, tail)) = rest.list_get_cell() {
        if !first {
            out.push(b',');
        }
        first = false;
        write_json(head, depth, out)?;
        rest = tail;
    }
    out.push(b']');
    if rest.is_empty_list() {
        Ok(())
    } else {
        Err(NotJson::Term)
    }
}

fn write_map(map: Term<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), NotJson> {
    out.push(b'{');
    let pairs = MapIterator::new(map).ok_or(NotJson::Term)?;
    for (number, (key, value)) in pairs.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        match (Binary::from_term(key), key.atom_to_string()) {
            (Ok(binary), _) => {
                let text = std::str::from_utf8(binary.as_slice()).map_err(|_| NotJson::Term)?;
                write_text(text, out)?;
            }
            (_, Ok(text)) => write_text(&text, out)?,
            _ => return Err(NotJson::Term),
        }
        out.push(b':');
        write_json(value, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// The text of a list of characters; `None` for any other list and for long ones.
pub fn characters(list: Term<'_>) -> Option<String> {
    let (mut rest, mut text) = (list, String::new());
    while let Ok((head, tail)) = rest.list_get_cell() {
        let code: u32 = head.decode().ok()?;
        let character = char::from_u32(code).filter(|&it| !it.is_control() || it == '\t')?;
        text.push(character);
        if text.len() > 65_536 {
            return None;
        }
        rest = tail;
    }
    rest.is_empty_list().then_some(text)
}

/// A JSON value as a term: objects as maps with binary keys, null as `null`.
pub fn from_json<'a>(env: Env<'a>, value: &serde_json::Value) -> Term<'a> {
    use serde_json::Value;
    match value {
        Value::Null => atoms::null().encode(env),
        Value::Bool(truth) => truth.encode(env),
        Value::String(text) => binary(env, text.as_bytes()),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => number.encode(env),
            (_, Some(number), _) => number.encode(env),
            (_, _, Some(number)) => number.encode(env),
            _ => atoms::null().encode(env),
        },
        Value::Array(items) => {
            let items: Vec<Term<'a>> = items.iter().map(|item| from_json(env, item)).collect();
            items.encode(env)
        }
        Value::Object(fields) => {
            let keys: Vec<_> = fields
                .keys()
                .map(|key| binary(env, key.as_bytes()))
                .collect();
            let values: Vec<_> = fields.values().map(|value| from_json(env, value)).collect();
            map(env, &keys, &values)
        }
    }
}

/// A map; of equal keys the last counts.
pub fn map<'a>(env: Env<'a>, keys: &[Term<'a>], values: &[Term<'a>]) -> Term<'a> {
    Term::map_from_term_arrays(env, keys, values).unwrap_or_else(|_| {
        let pairs = keys.iter().zip(values);
        pairs.fold(Term::map_new(env), |map, (key, value)| {
            map.map_put(*key, *value).unwrap_or(map)
        })
    })
}

/// A binary with this content.
pub fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}
