//! The NIF of era_callstore. Per file one topic: decode, ask the core, encode. No logic.
//!
//! Always holds: what a function gets is bounded by its caller or checked here; what takes longer than a millisecond
//! has an entry point on a dirty scheduler. A panic while a store is being changed leaves it poisoned: it refuses work
//! until it is folded anew from the log.

mod encode;
mod file;
mod input;
mod json;
mod outbox;
mod owner;
mod query;
mod roles;
mod said;
mod store;
mod term_out;
mod terms;
mod watch;

use rustler::{Env, Term};

mod atoms {
    rustler::atoms! {
        ok, error, none, not_found, done, start, infinity, poisoned, bad_chunk, badarg,
        chunk, next, delete, forward, log_bytes, live_bytes, log_rows,
        live, started, closed, kept, events, duplicates, late, merged, memory_bytes, pending, due, depth, oldest_ms,
        domains, instance, key, value, reason, text,
        site, master_domain, group, sinks, cdr_enabled, sorm3_enabled, watch, event_aliases,
        owner, external, producer, cid, dialogid, callid, connectionid,
        domain, subtree, user, number, state, binding, since_ms,
        probe, mix, rescue, owners, alarms, alive, gone, unknown, suspect, dead, mass_death,
        owner_down, owner_up, node_down, node_up, inventory, failed, rtp, mgctxid, asked, accepted,
        all, undefined, empty, null, nil,
    }
}

/// Refuses to load beside a module of another version.
fn load(_env: Env, version: Term) -> bool {
    version
        .decode::<String>()
        .is_ok_and(|wanted| wanted == VERSION)
        || version
            .decode_as_binary()
            .is_ok_and(|wanted| wanted.as_slice() == VERSION.as_bytes())
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of this library.
#[rustler::nif]
fn version() -> &'static str {
    VERSION
}

rustler::init!("era_callstore_nif", load = load);
