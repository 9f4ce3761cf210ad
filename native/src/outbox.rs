//! Records on their way out.

use callstore::event::EventId;
use callstore::event::value::{Value, lenient_uuid};
use callstore::store;
use rustler::{Binary, Encoder, Env, NifResult, ResourceArc, Term};

use crate::store::{Handle, first, poisoned};
use crate::{atoms, terms};

/// The events that issue the records which are due, some hundreds at most.
#[rustler::nif]
fn issue<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    now_ms: i64,
    epoch: i64,
    node: &str,
    max: usize,
) -> NifResult<Term<'a>> {
    let mut store = handle.write()?;
    store.settle().map_err(|_| poisoned())?;
    let chunks = store.issue(now_ms, epoch, node, max);
    drop(store);
    if !chunks.is_empty() {
        rustler::schedule::consume_timeslice(env, 50);
    }
    Ok(first(env, &chunks))
}

/// Records that a sink has not accepted.
#[rustler::nif(schedule = "DirtyCpu")]
fn pending<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    sink: &str,
    max: usize,
) -> NifResult<Vec<Term<'a>>> {
    let outgoing = handle.write()?.outgoing(sink, max);
    let pending = outgoing.render();
    let records = pending.iter().map(|it| {
        let projection = match &it.projection {
            Some(json) => terms::binary(env, json),
            None => atoms::none().encode(env),
        };
        let domains = it.domains.iter();
        let domains: Vec<_> = domains
            .map(|domain| terms::binary(env, domain.as_bytes()))
            .collect();
        let record = terms::binary(env, &it.record);
        (
            cid_term(env, it.cid),
            it.revision,
            domains,
            it.end_ts,
            record,
            projection,
        )
            .encode(env)
    });
    Ok(records.collect())
}

/// The fact that a sink accepted revisions.
#[rustler::nif(schedule = "DirtyCpu")]
fn accepted<'a>(
    env: Env<'a>,
    sink: &str,
    records: Vec<(Binary<'a>, u32)>,
    now_ms: i64,
) -> NifResult<Term<'a>> {
    let mut known = Vec::with_capacity(records.len());
    for (cid, revision) in &records {
        known.push((cid_of(*cid)?, *revision));
    }
    Ok(first(env, &store::accepted(sink, &known, now_ms)))
}

/// A `cid` as text.
pub fn cid_term(env: Env<'_>, cid: EventId) -> Term<'_> {
    terms::binary(env, Value::Uuid(cid).text().as_bytes())
}

/// The bytes of a `cid` as text.
pub fn cid_of(text: Binary<'_>) -> NifResult<EventId> {
    lenient_uuid(text.as_slice()).ok_or(rustler::Error::BadArg)
}
