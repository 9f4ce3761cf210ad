//! From the events of one `put` to chunks: runs in the producer's process.

use callstore::event::chunk;
use callstore::event::encode::Encoder as ChunkEncoder;
use callstore::event::input::{Arena, Common, Input, Reject, Taken};
use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};

use crate::roles::Router;
use crate::{atoms, terms};

/// What the events of one `put` have in common.
struct Options<'a> {
    owner: Option<&'a str>,
    producer: Option<&'a str>,
}

fn options(options: Term<'_>) -> NifResult<Options<'_>> {
    let text = |key: Atom| {
        options
            .map_get(key)
            .ok()
            .map(|term| term.decode())
            .transpose()
    };
    Ok(Options {
        owner: text(atoms::owner())?,
        producer: text(atoms::producer())?,
    })
}

fn packed<'a>(
    env: Env<'a>,
    router: &Router,
    given: Term<'a>,
    fill: impl FnOnce(&mut ChunkEncoder<'_, &mut dyn FnMut(&Taken<'_>) -> u32>),
) -> NifResult<Term<'a>> {
    let options = options(given)?;
    let common = Common {
        aliases: (!router.aliases.is_empty()).then_some(&router.aliases),
        owner: options.owner,
        producer: options.producer,
    };
    let mut route = |taken: &Taken<'_>| router.group(taken);
    let route: &mut dyn FnMut(&Taken<'_>) -> u32 = &mut route;
    let mut encoder = ChunkEncoder::new(common, route);
    fill(&mut encoder);
    let (chunks, rejected) = encoder.finish();
    let chunks: Vec<Term<'a>> = chunks
        .iter()
        .map(|it| (it.group, terms::binary(env, &it.chunk), it.events).encode(env))
        .collect();
    let rejected: Vec<Term<'a>> = rejected
        .iter()
        .map(|(index, reason)| (index, reason_term(env, reason)).encode(env))
        .collect();
    Ok((chunks, rejected).encode(env))
}

/// `Kind`, or `{Kind, Field}`, or `{bad_json, Offset}`.
fn reason_term<'a>(env: Env<'a>, reason: &Reject) -> Term<'a> {
    let kind = Atom::from_str(env, reason.kind()).unwrap_or_else(|_| atoms::badarg());
    match (reason, reason.field()) {
        (Reject::Json(offset), _) => (kind, *offset).encode(env),
        (_, Some(field)) => (kind, terms::binary(env, field.as_bytes())).encode(env),
        (_, None) => kind.encode(env),
    }
}

fn encode_list<'a>(
    env: Env<'a>,
    router: &Router,
    events: Term<'a>,
    options: Term<'a>,
) -> NifResult<Term<'a>> {
    packed(env, router, options, |encoder| {
        let arena = Arena::new();
        let mut input = Input::default();
        let mut rest = events;
        while let Ok((event, tail)) = rest.list_get_cell() {
            input.clear();
            match crate::input::read(event, &arena, &mut input) {
                Ok(()) => encoder.push(Ok(&mut input)),
                Err(reason) => encoder.push(Err(reason)),
            }
            rest = tail;
        }
        if !rest.is_empty_list() {
            encoder.push(Err(Reject::NotAnObject));
        }
    })
}

/// Events as maps; for short lists.
#[rustler::nif]
fn encode<'a>(
    env: Env<'a>,
    router: ResourceArc<Router>,
    events: Term<'a>,
    options: Term<'a>,
) -> NifResult<Term<'a>> {
    let encoded = encode_list(env, &router, events, options);
    let count = events.list_length().unwrap_or(1);
    rustler::schedule::consume_timeslice(env, timeslice(count));
    encoded
}

/// Events as maps; for long lists.
#[rustler::nif(schedule = "DirtyCpu")]
fn encode_dirty<'a>(
    env: Env<'a>,
    router: ResourceArc<Router>,
    events: Term<'a>,
    options: Term<'a>,
) -> NifResult<Term<'a>> {
    encode_list(env, &router, events, options)
}

/// Events as JSON; for short texts.
#[rustler::nif]
fn encode_json<'a>(
    env: Env<'a>,
    router: ResourceArc<Router>,
    text: Binary<'a>,
    options: Term<'a>,
) -> NifResult<Term<'a>> {
    let encoded = packed(env, &router, options, |encoder| {
        encoder.push_json(text.as_slice())
    });
    rustler::schedule::consume_timeslice(env, timeslice(text.len() / 700));
    encoded
}

/// Percent of a timeslice, which is about a millisecond, that so many events take at about a microsecond each.
fn timeslice(events: usize) -> i32 {
    (events / 10).clamp(1, 100) as i32
}

/// Events as JSON; for long texts.
#[rustler::nif(schedule = "DirtyCpu")]
fn encode_json_dirty<'a>(
    env: Env<'a>,
    router: ResourceArc<Router>,
    text: Binary<'a>,
    options: Term<'a>,
) -> NifResult<Term<'a>> {
    packed(env, &router, options, |encoder| {
        encoder.push_json(text.as_slice())
    })
}

/// The versions of the chunk that are read, and written when all nodes read them: the oldest and the newest.
#[rustler::nif]
fn chunk_versions() -> (u8, u8) {
    (chunk::OLDEST_VERSION, chunk::VERSION)
}

/// The version in which chunks are written from now on.
#[rustler::nif]
fn write_chunks(version: u8) -> NifResult<Atom> {
    match chunk::write_as(version) {
        true => Ok(atoms::ok()),
        false => Err(rustler::Error::BadArg),
    }
}
