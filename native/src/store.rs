//! The store of one group behind one lock: apply, time, trim, digest, what is counted.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use callstore::event::Corrupt;
use callstore::store::{Settings, Store};
use callstore::watch::Limits;
use rustler::types::map::MapIterator;
use rustler::{Atom, Binary, Encoder, Env, NifResult, Resource, ResourceArc, Term};

use crate::{atoms, terms};

/// One group's calls. A panic under the write lock poisons it.
pub struct Handle(RwLock<Store>);

#[rustler::resource_impl]
impl Resource for Handle {}

/// The store was left half-changed by a panic.
pub fn poisoned() -> rustler::Error {
    rustler::Error::RaiseTerm(Box::new(atoms::poisoned()))
}

impl Handle {
    /// The store, to be changed.
    pub fn write(&self) -> NifResult<RwLockWriteGuard<'_, Store>> {
        self.0.write().map_err(|_| poisoned())
    }

    /// The store, to be asked: every call is folded.
    pub fn read(&self) -> NifResult<RwLockReadGuard<'_, Store>> {
        let store = self.0.read().map_err(|_| poisoned())?;
        if !store.is_stale() {
            return Ok(store);
        }
        drop(store);
        self.write()?.settle().map_err(|_| poisoned())?;
        self.0.read().map_err(|_| poisoned())
    }
}

fn text(map: Term<'_>, key: Atom) -> NifResult<String> {
    map.map_get(key)?.decode()
}

fn limits(map: Term<'_>) -> NifResult<Limits> {
    let mut limits = Limits::default();
    let Ok(given) = map.map_get(atoms::watch()) else {
        return Ok(limits);
    };
    for (name, value) in MapIterator::new(given).ok_or(rustler::Error::BadArg)? {
        let name: String = name.decode().or_else(|_| name.atom_to_string())?;
        let known = limits.set(&name, value.decode()?);
        known.map_err(|problem| rustler::Error::RaiseTerm(Box::new(problem.to_string())))?;
    }
    Ok(limits)
}

/// An empty store.
#[rustler::nif]
fn new(settings: Term<'_>) -> NifResult<ResourceArc<Handle>> {
    let settings = Settings {
        site: text(settings, atoms::site())?,
        master_domain: text(settings, atoms::master_domain())?,
        group: settings.map_get(atoms::group())?.decode()?,
        sinks: settings.map_get(atoms::sinks())?.decode()?,
        cdr_enabled: settings.map_get(atoms::cdr_enabled())?.decode()?,
        sorm3_enabled: settings.map_get(atoms::sorm3_enabled())?.decode()?,
        limits: limits(settings)?,
    };
    Ok(ResourceArc::new(Handle(RwLock::new(Store::new(settings)))))
}

/// Folds the chunks of a row: new, known and late events of each.
pub fn fold_all(
    store: &mut Store,
    row: Binary<'_>,
    chunks: &[Binary<'_>],
    now_ms: i64,
) -> Result<Vec<(usize, usize, usize)>, Corrupt> {
    let fold = |chunk: &Binary<'_>| {
        let it = store.apply(row.as_slice(), chunk.as_slice(), now_ms)?;
        Ok((it.new, it.duplicate, it.late))
    };
    chunks.iter().map(fold).collect()
}

/// `{error, {bad_chunk, Why}}`.
pub fn bad_chunk(env: Env<'_>, fault: Corrupt) -> Term<'_> {
    let fault = Atom::from_str(env, fault.kind()).unwrap_or_else(|_| atoms::badarg());
    (atoms::error(), (atoms::bad_chunk(), fault)).encode(env)
}

fn apply_all<'a>(
    env: Env<'a>,
    handle: &Handle,
    row: Binary<'a>,
    chunks: Vec<Binary<'a>>,
    now_ms: i64,
) -> Term<'a> {
    let Ok(mut store) = handle.0.write() else {
        return (atoms::error(), atoms::poisoned()).encode(env);
    };
    match fold_all(&mut store, row, &chunks, now_ms) {
        Ok(applied) => (atoms::ok(), applied).encode(env),
        Err(fault) => bad_chunk(env, fault),
    }
}

/// Folds the chunks of a row; for small ones.
#[rustler::nif]
fn apply<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    row: Binary<'a>,
    chunks: Vec<Binary<'a>>,
    now_ms: i64,
) -> Term<'a> {
    let bytes = chunks.iter().map(|chunk| chunk.len()).sum();
    let applied = apply_all(env, &handle, row, chunks, now_ms);
    rustler::schedule::consume_timeslice(env, timeslice(bytes));
    applied
}

/// Percent of a timeslice, which is about a millisecond, that the fold of so many bytes takes at some 100 bytes in a
/// microsecond.
pub fn timeslice(bytes: usize) -> i32 {
    (bytes / 1024).clamp(1, 100) as i32
}

/// Folds the chunks of a row; for large ones.
#[rustler::nif(schedule = "DirtyCpu")]
fn apply_dirty<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    row: Binary<'a>,
    chunks: Vec<Binary<'a>>,
    now_ms: i64,
) -> Term<'a> {
    apply_all(env, &handle, row, chunks, now_ms)
}

/// Rows were deleted from the log.
#[rustler::nif(schedule = "DirtyCpu")]
fn drop_rows<'a>(handle: ResourceArc<Handle>, rows: Vec<Binary<'a>>) -> NifResult<Atom> {
    handle
        .write()?
        .drop_rows(rows.iter().map(|row| row.as_slice()));
    Ok(atoms::ok())
}

/// The first chunk: what is not in it is told again.
pub fn first<'a>(env: Env<'a>, chunks: &[Vec<u8>]) -> Term<'a> {
    match chunks.first() {
        Some(chunk) => terms::binary(env, chunk),
        None => atoms::none().encode(env),
    }
}

/// What is to be done to the log.
#[rustler::nif(schedule = "DirtyCpu")]
fn trim<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    _now_ms: i64,
    max_bytes: usize,
) -> NifResult<Term<'a>> {
    let trim = handle.write()?.trim(max_bytes);
    let delete: Vec<Term<'a>> = trim
        .delete
        .iter()
        .map(|key| terms::binary(env, key))
        .collect();
    let keys = [
        atoms::delete(),
        atoms::forward(),
        atoms::log_bytes(),
        atoms::live_bytes(),
    ];
    let values = [
        delete.encode(env),
        first(env, &trim.forward),
        trim.log_bytes.encode(env),
        trim.kept_bytes.encode(env),
    ];
    Ok(terms::map(env, &keys.map(|key| key.encode(env)), &values))
}

/// Equal on equal copies.
#[rustler::nif(schedule = "DirtyCpu")]
fn digest<'a>(env: Env<'a>, handle: ResourceArc<Handle>) -> NifResult<Term<'a>> {
    Ok(terms::binary(env, &handle.read()?.digest()))
}

/// What is counted.
#[rustler::nif]
fn info<'a>(env: Env<'a>, handle: ResourceArc<Handle>) -> NifResult<Term<'a>> {
    let mut store = handle.write()?;
    let totals = store.totals();
    let (rows, bytes) = store.log_size();
    let depths = store.depths();
    let names: Vec<_> = depths
        .iter()
        .map(|(name, _)| terms::binary(env, name.as_bytes()))
        .collect();
    let keys = [atoms::depth().encode(env), atoms::oldest_ms().encode(env)];
    let values: Vec<_> = depths
        .iter()
        .map(|(_, it)| {
            terms::map(
                env,
                &keys,
                &[it.depth.encode(env), it.oldest_ms.encode(env)],
            )
        })
        .collect();
    let rows: [(Atom, Term<'a>); 15] = [
        (atoms::live(), store.live().encode(env)),
        (atoms::kept(), store.kept().encode(env)),
        (atoms::started(), totals.started.encode(env)),
        (atoms::closed(), totals.closed.encode(env)),
        (atoms::events(), totals.events.encode(env)),
        (atoms::duplicates(), totals.duplicates.encode(env)),
        (atoms::late(), totals.late.encode(env)),
        (atoms::merged(), totals.merged.encode(env)),
        (atoms::memory_bytes(), store.memory_bytes().encode(env)),
        (atoms::log_rows(), rows.encode(env)),
        (atoms::log_bytes(), bytes.encode(env)),
        (atoms::due(), store.due().encode(env)),
        (atoms::domains(), store.domain_counts().count().encode(env)),
        (atoms::group(), store.settings().group.encode(env)),
        (atoms::pending(), terms::map(env, &names, &values)),
    ];
    let keys = rows.map(|(key, _)| key.encode(env));
    Ok(terms::map(env, &keys, &rows.map(|(_, value)| value)))
}
