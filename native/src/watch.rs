//! The watch of owners: evidence in, what time has made due out, the facts about mixes and rescues.

use callstore::store::{self, MixState, Tick};
use callstore::watch::evidence::Stream;
use callstore::watch::{Answer, Evidence, Verdict};
use rustler::{Atom, Binary, Encoder, Env, NifResult, ResourceArc, Term};

use crate::outbox::{cid_of, cid_term};
use crate::store::{Handle, first, poisoned};
use crate::{atoms, terms};

fn bad<T>() -> NifResult<T> {
    Err(rustler::Error::BadArg)
}

/// One piece of evidence, as era_callstore_nif:evidence/3 says it.
fn evidence_of(term: Term<'_>) -> NifResult<Evidence<'_>> {
    let parts = rustler::types::tuple::get_tuple(term)?;
    let Some(kind) = parts.first() else {
        return bad();
    };
    let kind: Atom = kind.decode()?;
    let text = |number: usize| match parts.get(number) {
        Some(part) => part.decode::<&str>(),
        None => bad(),
    };
    Ok(match parts.len() {
        3 if kind == atoms::owner_down() => Evidence::OwnerDown {
            owner: text(1)?,
            reason: text(2)?,
        },
        2 if kind == atoms::owner_up() => Evidence::OwnerUp { owner: text(1)? },
        2 if kind == atoms::node_down() => Evidence::NodeDown { node: text(1)? },
        2 if kind == atoms::node_up() => Evidence::NodeUp { node: text(1)? },
        2 if kind == atoms::alive() => Evidence::Probe {
            dialog: text(1)?,
            answer: Answer::Alive,
        },
        2 if kind == atoms::gone() => Evidence::Probe {
            dialog: text(1)?,
            answer: Answer::Gone,
        },
        _ => return longer_evidence(kind, &parts),
    })
}

fn longer_evidence<'a>(kind: Atom, parts: &[Term<'a>]) -> NifResult<Evidence<'a>> {
    match *parts {
        [_, dialog, answer] if kind == atoms::probe() => Ok(Evidence::Probe {
            dialog: dialog.decode()?,
            answer: answer_of(answer.decode()?)?,
        }),
        [_, owner, dialogs] if kind == atoms::inventory() => Ok(Evidence::Inventory {
            owner: owner.decode()?,
            dialogs: match dialogs.decode::<Atom>() {
                Ok(failed) if failed == atoms::failed() => None,
                Ok(_) => return bad(),
                Err(_) => Some(dialogs.decode()?),
            },
        }),
        [_, of, id, last_ms, active] if kind == atoms::rtp() => {
            let (of, id): (Atom, &str) = (of.decode()?, id.decode()?);
            let stream = match () {
                () if of == atoms::dialogid() => Stream::Dialog(id),
                () if of == atoms::mgctxid() => Stream::Context(id),
                () => return bad(),
            };
            Ok(Evidence::Rtp {
                stream,
                last_ms: last_ms.decode()?,
                active: active.decode()?,
            })
        }
        _ => bad(),
    }
}

fn answer_of(answer: Atom) -> NifResult<Answer> {
    match () {
        () if answer == atoms::alive() => Ok(Answer::Alive),
        () if answer == atoms::gone() => Ok(Answer::Gone),
        () if answer == atoms::unknown() => Ok(Answer::Unknown),
        () => bad(),
    }
}

/// What was seen. Either all of it is noted or, where a term is none, nothing.
#[rustler::nif(schedule = "DirtyCpu")]
fn evidence<'a>(handle: ResourceArc<Handle>, seen: Vec<Term<'a>>, now_ms: i64) -> NifResult<Atom> {
    let seen = seen.into_iter().map(evidence_of);
    let seen: Vec<Evidence<'a>> = seen.collect::<NifResult<_>>()?;
    let mut store = handle.write()?;
    store.settle().map_err(|_| poisoned())?;
    for evidence in &seen {
        store.evidence(evidence, now_ms);
    }
    Ok(atoms::ok())
}

/// From now on this is the active instance.
#[rustler::nif(schedule = "DirtyCpu")]
fn take_over(handle: ResourceArc<Handle>, now_ms: i64) -> NifResult<Atom> {
    handle.write()?.take_over(now_ms);
    Ok(atoms::ok())
}

/// From now on another instance is the active one.
#[rustler::nif(schedule = "DirtyCpu")]
fn stand_down(handle: ResourceArc<Handle>) -> NifResult<Atom> {
    handle.write()?.stand_down();
    Ok(atoms::ok())
}

/// Lets time pass.
#[rustler::nif(schedule = "DirtyCpu")]
fn tick<'a>(env: Env<'a>, handle: ResourceArc<Handle>, now_ms: i64) -> NifResult<Term<'a>> {
    let mut store = handle.write()?;
    store.settle().map_err(|_| poisoned())?;
    let tick = store.tick(now_ms);
    drop(store);
    Ok(tick_term(env, &tick))
}

fn tick_term<'a>(env: Env<'a>, tick: &Tick) -> Term<'a> {
    let text = |text: &str| terms::binary(env, text.as_bytes());
    let owner = |owner: &Option<String>| match owner {
        Some(owner) => text(owner),
        None => atoms::none().encode(env),
    };
    let next = match tick.next_ms {
        Some(next) => next.encode(env),
        None => atoms::infinity().encode(env),
    };
    let probe = tick.probe.iter();
    let probe: Vec<Term<'a>> = probe
        .map(|it| (text(&it.dialog), owner(&it.owner)).encode(env))
        .collect();
    let mix = tick.mix.iter();
    let mix: Vec<Term<'a>> = mix
        .map(|it| (cid_term(env, it.cid), it.attempt, text(&it.job)).encode(env))
        .collect();
    let rescue = tick.rescue.iter();
    let rescue: Vec<Term<'a>> = rescue
        .map(|it| {
            let cid = cid_term(env, it.cid);
            (cid, text(&it.dialog), owner(&it.owner), it.until_ms).encode(env)
        })
        .collect();
    let owners: Vec<Term<'a>> = tick.owners.iter().map(|owner| text(owner)).collect();
    let alarms = tick.alarms.iter();
    let alarms: Vec<Term<'a>> = alarms
        .map(|it| {
            (
                atoms::mass_death(),
                text(&it.of),
                it.since_ms,
                it.count,
                it.held,
            )
                .encode(env)
        })
        .collect();
    let rows = [
        (atoms::chunk(), first(env, &tick.chunks)),
        (atoms::next(), next),
        (atoms::probe(), probe.encode(env)),
        (atoms::mix(), mix.encode(env)),
        (atoms::rescue(), rescue.encode(env)),
        (atoms::owners(), owners.encode(env)),
        (atoms::alarms(), alarms.encode(env)),
    ];
    let keys = rows.map(|(key, _)| key.encode(env));
    terms::map(env, &keys, &rows.map(|(_, value)| value))
}

/// A page of the owners of calls that are not over.
#[rustler::nif(schedule = "DirtyCpu")]
fn owners<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    cursor: Term<'a>,
    limit: usize,
) -> NifResult<Term<'a>> {
    let from = match cursor.decode::<Atom>() {
        Ok(start) if start == atoms::start() => 0,
        Ok(_) => return bad(),
        Err(_) => {
            let cursor: Binary<'a> = cursor.decode()?;
            let bytes = cursor.as_slice().try_into();
            u32::from_be_bytes(bytes.map_err(|_| rustler::Error::BadArg)?)
        }
    };
    let page = handle.read()?.owners(from, limit);
    let owners: Vec<Term<'a>> = page
        .owners
        .iter()
        .map(|(owner, count)| (terms::binary(env, owner.as_bytes()), *count).encode(env))
        .collect();
    let next = match page.next {
        Some(next) => terms::binary(env, &next.to_be_bytes()),
        None => atoms::done().encode(env),
    };
    Ok((owners, next).encode(env))
}

/// How a call stands, and on what that rests.
#[rustler::nif(schedule = "DirtyCpu")]
fn verdict<'a>(env: Env<'a>, handle: ResourceArc<Handle>, cid: Binary<'a>) -> NifResult<Term<'a>> {
    let judged = handle.read()?.verdict(cid_of(cid)?);
    Ok(match judged {
        Some((judged, evidence)) => {
            let verdict = match judged.verdict {
                Verdict::Alive => atoms::alive(),
                Verdict::Suspect => atoms::suspect(),
                Verdict::Dead => atoms::dead(),
            };
            let reason = terms::binary(env, judged.reason.as_bytes());
            (verdict, reason, terms::binary(env, evidence.as_bytes())).encode(env)
        }
        None => atoms::not_found().encode(env),
    })
}

/// What became of an attempt to have a recording mixed.
#[rustler::nif]
fn mixed<'a>(
    env: Env<'a>,
    cid: Binary<'a>,
    state: Atom,
    attempt: u32,
    now_ms: i64,
) -> NifResult<Term<'a>> {
    let state = match () {
        () if state == atoms::asked() => MixState::Asked,
        () if state == atoms::accepted() => MixState::Accepted,
        () if state == atoms::failed() => MixState::Failed,
        () => return bad(),
    };
    let chunks = store::mixed(cid_of(cid)?, state, attempt, now_ms);
    Ok(first(env, &chunks))
}

/// A conversation was restored under another owner.
#[rustler::nif]
fn rescued<'a>(env: Env<'a>, cid: Binary<'a>, owner: &str, now_ms: i64) -> NifResult<Term<'a>> {
    Ok(first(env, &store::rescued(cid_of(cid)?, owner, now_ms)))
}
