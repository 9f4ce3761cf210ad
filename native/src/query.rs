//! Questions to a store: one call, pages, counts, explanations.

use callstore::call::State;
use callstore::call::life::STATES;
use callstore::event::EventId;
use callstore::event::value::lenient_uuid;
use callstore::store::{Counts, Cursor, Filter, Lookup, Store};
use rustler::types::map::MapIterator;
use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};

use crate::atoms;
use crate::outbox::cid_term;
use crate::store::Handle;
use crate::term_out::TermOut;
use crate::terms;

/// Which call a key names.
fn find(store: &Store, key: (Atom, &str)) -> NifResult<Option<EventId>> {
    let (kind, text) = key;
    let by_cid =
        |text: &str| lenient_uuid(text.as_bytes()).and_then(|cid| store.find(Lookup::Cid(cid)));
    if kind == atoms::cid() {
        Ok(by_cid(text))
    } else if kind == atoms::dialogid() {
        Ok(store.find(Lookup::Dialog(text)))
    } else if kind == atoms::callid() {
        Ok(store.find(Lookup::CallId(text)))
    } else if kind == atoms::connectionid() {
        Ok(by_cid(text.split_once('.').map_or(text, |(cid, _)| cid)))
    } else {
        Err(rustler::Error::BadArg)
    }
}

/// One call.
#[rustler::nif]
fn call<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    key: (Atom, &str),
    _now_ms: i64,
) -> NifResult<Term<'a>> {
    let store = handle.read()?;
    let mut out = TermOut::new(env);
    match find(&store, key)?.filter(|&cid| store.write_call(cid, &mut out)) {
        Some(_) => Ok((atoms::ok(), out.finish()).encode(env)),
        None => Ok(atoms::not_found().encode(env)),
    }
}

/// The filter as the API names it. An unknown key or a value of the wrong form is a caller's mistake.
fn filter(given: Term<'_>) -> NifResult<Filter> {
    let mut filter = Filter {
        subtree: true,
        ..Filter::default()
    };
    for (key, value) in MapIterator::new(given).ok_or(rustler::Error::BadArg)? {
        let name = key.atom_to_string()?;
        match name.as_str() {
            "domain" => filter.domain = Some(value.decode()?),
            "subtree" => filter.subtree = value.decode()?,
            "user" => filter.user = Some(value.decode()?),
            "number" => filter.number = Some(value.decode()?),
            "binding" => filter.binding = Some(value.decode()?),
            "since_ms" => filter.since_ms = Some(value.decode()?),
            "owner" => filter.owner = Some(value.decode()?),
            "state" => {
                let text: String = value.decode().or_else(|_| value.atom_to_string())?;
                filter.state = Some(State::of_name(&text).ok_or(rustler::Error::BadArg)?);
            }
            // Which store to ask is decided by who asks.
            "group" => {}
            _ => return Err(rustler::Error::BadArg),
        }
    }
    Ok(filter)
}

fn cursor(given: Term<'_>) -> NifResult<Cursor> {
    if given.is_atom() {
        return Ok(Cursor::default());
    }
    let bytes: [u8; 8] = Binary::from_term(given)?
        .as_slice()
        .try_into()
        .map_err(|_| rustler::Error::BadArg)?;
    let number = u64::from_be_bytes(bytes);
    Ok(Cursor {
        list: (number >> 32) as u32,
        slot: number as u32,
    })
}

/// A page of calls.
#[rustler::nif]
fn calls<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    given: Term<'a>,
    limit: usize,
    from: Term<'a>,
    _now_ms: i64,
) -> NifResult<Term<'a>> {
    let (filter, from) = (filter(given)?, cursor(from)?);
    let store = handle.read()?;
    let page = store.calls(&filter, limit, from);
    let mut out = TermOut::new(env);
    let mut items = Vec::with_capacity(page.cids.len());
    for cid in page.cids {
        if store.write_call(cid, &mut out) {
            items.push(out.finish());
        }
    }
    rustler::schedule::consume_timeslice(env, 10);
    let next = match page.next {
        Some(next) => {
            let number = u64::from(next.list) << 32 | u64::from(next.slot);
            terms::binary(env, &number.to_be_bytes())
        }
        None => atoms::done().encode(env),
    };
    Ok((items, next).encode(env))
}

/// How many calls there are.
#[rustler::nif]
fn count(handle: ResourceArc<Handle>, given: Term<'_>) -> NifResult<u64> {
    let filter = filter(given)?;
    Ok(handle.read()?.count(&filter))
}

/// Counts of a domain and the subtrees below it.
#[rustler::nif]
fn counts<'a>(env: Env<'a>, handle: ResourceArc<Handle>, domain: &str) -> NifResult<Term<'a>> {
    let store = handle.read()?;
    let rows = store.counts(domain);
    let keys: Vec<_> = rows
        .iter()
        .map(|(name, _)| terms::binary(env, name.as_bytes()))
        .collect();
    let values: Vec<_> = rows
        .iter()
        .map(|(_, counts)| by_state(env, counts))
        .collect();
    Ok(terms::map(env, &keys, &values))
}

fn by_state<'a>(env: Env<'a>, counts: &Counts) -> Term<'a> {
    let live = STATES.iter().filter(|state| !state.is_over());
    let found: Vec<_> = live
        .filter(|&&state| counts.by_state[state as usize] > 0)
        .collect();
    let keys: Vec<_> = found
        .iter()
        .map(|state| terms::binary(env, state.name().as_bytes()))
        .collect();
    let values: Vec<_> = found
        .iter()
        .map(|&&state| counts.by_state[state as usize].encode(env))
        .collect();
    terms::map(env, &keys, &values)
}

/// Why a call is as it is.
#[rustler::nif(schedule = "DirtyCpu")]
fn explain<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    key: (Atom, &str),
    _now_ms: i64,
) -> NifResult<Term<'a>> {
    let store = handle.read()?;
    let Some((cid, lines)) = find(&store, key)?.and_then(|cid| Some((cid, store.explain(cid)?)))
    else {
        return Ok(atoms::not_found().encode(env));
    };
    let mut head = vec![cid_term(env, cid)];
    head.extend(lines.iter().map(|line| terms::binary(env, line.as_bytes())));
    Ok((atoms::ok(), head).encode(env))
}
