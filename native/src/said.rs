//! What rows of the log said: noted while they are folded, told as terms where somebody listens.

use callstore::store::{Wanted, tell};
use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};

use crate::atoms;
use crate::store::{Handle, bad_chunk, fold_all, timeslice};
use crate::term_out::TermOut;
use crate::terms;

/// `{ok, Applied, {Count, Marks}, IsDue}`: as apply, what the row says, and whether records are to be issued.
fn apply_noted<'a>(
    env: Env<'a>,
    handle: &Handle,
    row: Binary<'a>,
    chunks: Vec<Binary<'a>>,
    now_ms: i64,
) -> Term<'a> {
    let Ok(mut store) = handle.write() else {
        return (atoms::error(), atoms::poisoned()).encode(env);
    };
    store.begin_said();
    let folded = fold_all(&mut store, row, &chunks, now_ms);
    let said = store
        .take_said()
        .map(|(count, marks)| (count, terms::binary(env, marks)));
    match (folded, said) {
        (Ok(applied), Ok(said)) => (atoms::ok(), applied, said, store.has_due()).encode(env),
        (Err(fault), _) | (_, Err(fault)) => bad_chunk(env, fault),
    }
}

/// Folds the chunks of a row and notes what they say; for small ones.
#[rustler::nif]
fn apply_said<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    row: Binary<'a>,
    chunks: Vec<Binary<'a>>,
    now_ms: i64,
) -> Term<'a> {
    let bytes = chunks.iter().map(|chunk| chunk.len()).sum();
    let applied = apply_noted(env, &handle, row, chunks, now_ms);
    rustler::schedule::consume_timeslice(env, timeslice(bytes));
    applied
}

/// Folds the chunks of a row and notes what they say; for large ones.
#[rustler::nif(schedule = "DirtyCpu")]
fn apply_said_dirty<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    row: Binary<'a>,
    chunks: Vec<Binary<'a>>,
    now_ms: i64,
) -> Term<'a> {
    apply_noted(env, &handle, row, chunks, now_ms)
}

fn wanted(filter: Term<'_>) -> NifResult<Wanted> {
    let types: Term<'_> = filter.map_get(atoms::events())?;
    let types = match types.decode::<Atom>() {
        Ok(all) if all == atoms::all() => None,
        Ok(_) => return Err(rustler::Error::BadArg),
        Err(_) => Some(types.decode::<Vec<String>>()?.into_iter().collect()),
    };
    let domain = filter.map_get(atoms::domain()).ok();
    let domain = domain.map(|domain| domain.decode()).transpose()?;
    Ok(Wanted { types, domain })
}

/// What a row said to those who want it: `[{Number, Event}]`, numbers from 1.
#[rustler::nif(schedule = "DirtyCpu")]
fn said<'a>(
    env: Env<'a>,
    marks: Binary<'a>,
    chunks: Vec<Binary<'a>>,
    group: u32,
    filter: Term<'a>,
) -> NifResult<Term<'a>> {
    let wanted = wanted(filter)?;
    let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_slice()).collect();
    let mut out = TermOut::new(env);
    let mut events: Vec<Term<'a>> = Vec::new();
    let told = tell(marks.as_slice(), &chunks, &wanted, |number, whom, it| {
        it.write(whom, group, &mut out);
        events.push((number, out.finish()).encode(env));
    });
    told.map_err(|_| rustler::Error::BadArg)?;
    Ok(events.encode(env))
}
