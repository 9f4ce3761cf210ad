//! JSON for the Erlang side, which has none of its own in OTP 25.

use rustler::{Atom, Binary, Encoder, Env, NifResult, Term};

use crate::{atoms, terms};

/// JSON to terms.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_decode<'a>(env: Env<'a>, text: Binary<'a>) -> NifResult<Term<'a>> {
    match serde_json::from_slice::<serde_json::Value>(text.as_slice()) {
        Ok(value) => Ok((atoms::ok(), terms::from_json(env, &value)).encode(env)),
        Err(error) => {
            let reason = match error.classify() {
                serde_json::error::Category::Eof => "truncated",
                _ => "bad_json",
            };
            let reason = Atom::from_str(env, reason)?;
            let offset = offset(text.as_slice(), error.line(), error.column());
            Ok((atoms::error(), (reason, offset)).encode(env))
        }
    }
}

/// The byte at a line and column, both from 1.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let lines = text
        .split(|&byte| byte == b'\n')
        .take(line.saturating_sub(1));
    lines.map(|line| line.len() + 1).sum::<usize>() + column.saturating_sub(1)
}

/// Terms to JSON.
#[rustler::nif(schedule = "DirtyCpu")]
fn json_encode<'a>(env: Env<'a>, term: Term<'a>) -> NifResult<Term<'a>> {
    let mut json = Vec::new();
    match terms::write_json(term, 128, &mut json) {
        Ok(()) => Ok(terms::binary(env, &json)),
        Err(_) => Err(rustler::Error::BadArg),
    }
}
