//! Properties over generated calls: a set of events is one state, however it came.
//!
//! Calls are random walks through the vocabulary: whole lives and broken ones, unknown types, events without their own
//! identity, calls named by `cid` only, by leg only or by both, two calls that turn out to be one, late words about the
//! recording. What callstore itself says is in the log that the second property plays.

use callstore::store::Counts;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::player::{Player, settings};

const BASE: i64 = 1_795_341_600_000;
const TYPES: [&str; 31] = [
    "invite",
    "route",
    "route_feature",
    "route_referred",
    "route_fin",
    "dlg_init",
    "dlg_call",
    "fork_start",
    "fork_stop",
    "fork_redirect",
    "user_redirect",
    "dlg_pickup",
    "fork_answer",
    "fork_cancel",
    "rec_info",
    "dlg_binding",
    "unhold",
    "media_migrate",
    "refer",
    "refer_aborted",
    "referring_invite",
    "replaces_refer",
    "call_stop",
    "records_moved",
    "leg_ping",
    "quality",
    "call_cancel",
    "dlg_dead",
    "call_rec_links",
    "dlg_end",
    "dlg_stop",
];
/// The life of an ordinary call.
const LIFE: [&str; 9] = [
    "invite",
    "route",
    "dlg_init",
    "dlg_call",
    "fork_start",
    "dlg_start",
    "hold",
    "dlg_end",
    "dlg_stop",
];

/// One step of a walk: which event, how long after the one before, and a detail that each type reads as it likes.
type Step = (u8, u16, u8);

#[derive(Clone, Debug)]
struct Walk {
    steps: Vec<Step>,
    /// Bit n: the n-th event of an ordinary life is lost.
    lost: u16,
    /// How its events name it: both ways, by cid, by leg, now so, now so.
    naming: u8,
    /// It has the dialog of the call before it.
    joins: bool,
    /// It has the leg of the call before it.
    shares_leg: bool,
}

/// Up to four calls. `naming` and `joins` say how hard it is to know which event belongs to which.
fn walks(naming: std::ops::Range<u8>, joins: f64) -> impl Strategy<Value = Vec<Walk>> {
    let steps = prop::collection::vec(any::<Step>(), 1..24);
    let shares_leg = prop::bool::weighted(joins);
    let joins = prop::bool::weighted(joins);
    let walk = (steps, any::<u16>(), naming, joins, shares_leg);
    let walk = walk.prop_map(|(steps, lost, naming, joins, shares_leg)| {
        let lost = if lost % 3 == 0 { lost >> 2 } else { 0 };
        Walk {
            steps,
            lost,
            naming,
            joins,
            shares_leg,
        }
    });
    prop::collection::vec(walk, 1..5)
}

/// Events named by `cid` and leg.
fn well_named() -> impl Strategy<Value = Vec<Walk>> {
    walks(0..1, 0.0)
}

/// Some events say the `cid` only, some the leg only.
fn half_named() -> impl Strategy<Value = Vec<Walk>> {
    walks(0..4, 0.0)
}

/// As before, and calls that turn out to be one by their dialog, or by the leg that both have.
fn joining() -> impl Strategy<Value = Vec<Walk>> {
    walks(0..4, 0.3)
}

/// What else varies: which are doubled, where they are cut into chunks, their order.
fn chances() -> impl Strategy<Value = (u64, u64, u64)> {
    any::<(u64, u64, u64)>()
}

/// The events of all walks in the order of their times, one line each.
fn events(walks: &[Walk]) -> Vec<Vec<u8>> {
    let mut timed = Vec::new();
    for (call, walk) in walks.iter().enumerate() {
        let mut ts = BASE + call as i64;
        let mut life = 0;
        for (place, &(choice, gap, detail)) in walk.steps.iter().enumerate() {
            // Several events in one millisecond, and clocks that step back a little, are normal.
            ts += if gap % 7 == 0 {
                -i64::from(gap % 50)
            } else {
                i64::from(gap) / 8
            };
            let kind = if choice < 150 && life < LIFE.len() {
                life += 1;
                if walk.lost >> life & 1 == 1 {
                    continue;
                }
                LIFE[life - 1]
            } else {
                TYPES[usize::from(choice) % TYPES.len()]
            };
            timed.push((ts, event(kind, ts, (call, place), walk, detail)));
        }
    }
    timed.sort_by_key(|&(ts, _)| ts);
    timed
        .into_iter()
        .map(|(_, event)| event.to_string().into_bytes())
        .collect()
}

fn event(kind: &str, ts: i64, (call, place): (usize, usize), walk: &Walk, detail: u8) -> Value {
    let fork = format!("rB2-{call}-{}", detail % 3);
    let dialog = if walk.joins {
        call.saturating_sub(1)
    } else {
        call
    };
    let leg = if walk.shares_leg {
        call.saturating_sub(1)
    } else {
        call
    };
    let mut data = json!({"eventts": ts});
    let mut set = |fields: Value| {
        let fields = fields.as_object().expect("fields").clone();
        data.as_object_mut().expect("data").extend(fields);
    };
    let by = if walk.naming == 3 {
        detail % 3
    } else {
        walk.naming
    };
    if by != 1 {
        set(json!({"acallid": format!("call-{leg}@10.0.0.1"), "invitets": BASE + leg as i64}));
    }
    if by != 2 {
        set(json!({"cid": format!("c0000000-0000-4000-8000-{call:012}")}));
    }
    if !detail.is_multiple_of(11) {
        set(json!({"eventid": format!("e0000000-0000-4000-8000-{call:04}{place:08}")}));
    }
    let (a, b) = (
        format!("sip:10{call}@alfa.era.test"),
        format!("sip:20{detail}@beta.era.test"),
    );
    let reason = ["bye", "cancel", "timeout", "odd"][usize::from(detail) % 4];
    let side = ["a", "b", "empty"][usize::from(detail) % 3];
    let has_no_dialog = kind == "invite" || kind.starts_with("route") || kind == "dlg_binding";
    if !has_no_dialog && !detail.is_multiple_of(13) {
        set(json!({"dialogid": format!("rB1-{dialog}"), "ghost": "empty"}));
    }
    match kind {
        "invite" => set(
            json!({"urifrom": a, "urito": b, "fromusername": format!("10{call}"),
            "fromdomain": "alfa.era.test", "fromouter": detail.is_multiple_of(2), "callednum": "5975"}),
        ),
        "dlg_call" => set(json!({"localuri": b, "remoteuri": a, "fromnumber": "4711"})),
        "dlg_start" | "hold" | "unhold" | "dlg_end" | "dlg_stop" => set(json!({
            "aremoteuri": a, "bremoteuri": b, "bcallid": fork, "mgctxid": format!("ctx-{call}"),
            "xcallid": if detail.is_multiple_of(2) { fork.clone() } else { format!("call-{call}@10.0.0.1") },
            "stopreason": reason, "stopside": side, "is_rec": detail.is_multiple_of(5)})),
        "dlg_binding" => set(
            json!({"dlgbinding": format!("l{}", detail % 3), "dlgbindingset": detail.is_multiple_of(2)}),
        ),
        "rec_info" => set(json!({"domain": "alfa.era.test", "isrec": detail.is_multiple_of(2)})),
        "records_moved" => set(json!({"size": detail, "alink": format!("rec/{call}")})),
        "leg_ping" | "quality" => {
            set(json!({"mos": 0.25 * f64::from(detail), "deep": {"a": [detail, null]}}))
        }
        _ if kind.starts_with("fork_") || kind == "dlg_pickup" => set(json!({
            "forkcallid": fork, "forkremoteuri": b, "sipcode": 400 + i64::from(detail) % 90})),
        _ => set(json!({"reason": format!("r{detail}"), "side": "b"})),
    }
    json!({"class": "callevents", "type": kind, "eventts": ts, "data": data})
}

/// What is known from outside: totals, what is counted of every domain, the digest of the live set, and every call as
/// the query answers it.
#[derive(Debug, PartialEq)]
struct Known {
    started: u64,
    live: u64,
    domains: Vec<(String, Counts)>,
    digest: [u8; 24],
    calls: Vec<Option<Value>>,
}

fn state(player: &mut Player) -> Known {
    player.store.settle().expect("sound sets");
    let calls = (0..5).flat_map(|call| {
        let keys = [
            format!("cid:c0000000-0000-4000-8000-{call:012}"),
            format!("callid:call-{call}@10.0.0.1"),
        ];
        keys.map(|key| player.find(&key).and_then(|cid| player.call(cid)))
    });
    let calls = calls.collect();
    let counted = player.store.domain_counts();
    let mut domains: Vec<(String, Counts)> = counted
        .map(|(name, counts)| (name.to_owned(), counts.clone()))
        .collect();
    domains.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, counts) in &domains {
        let kept_or_forgotten = counts.live() + counts.closed;
        assert_eq!(counts.started, kept_or_forgotten, "of {name}");
    }
    Known {
        started: player.store.totals().started,
        live: player.store.live(),
        domains,
        digest: player.store.digest(),
        calls,
    }
}

fn play(batches: &[Vec<Vec<u8>>]) -> Player {
    let mut player = Player::new(settings(), BASE + 600_000);
    for batch in batches {
        let answer = player.put(&batch.join(&b'\n'));
        assert_eq!(answer.rejected, []);
    }
    player
}

/// Cuts a list at places that a seed decides.
fn split(mut events: Vec<Vec<u8>>, mut cuts: u64) -> Vec<Vec<Vec<u8>>> {
    let mut batches = Vec::new();
    while !events.is_empty() {
        let at = (1 + cuts % 5).min(events.len() as u64) as usize;
        cuts = cuts.rotate_right(3) ^ 0x55;
        let rest = events.split_off(at);
        batches.push(std::mem::replace(&mut events, rest));
    }
    batches
}

/// Any order, any doubling, any split into chunks: same state, same digest, same records byte by byte.
fn events_are_one_state(walks: &[Walk], chances: (u64, u64, u64)) -> Result<(), TestCaseError> {
    let (doubled, cuts, order) = chances;
    let in_order = events(walks);
    let mut other = with_doubles(&in_order, doubled);
    shuffle(&mut other, order);
    let mut one = play(&[in_order]);
    let mut two = play(&split(other, cuts));
    prop_assert_eq!(state(&mut one), state(&mut two));
    for player in [&mut one, &mut two] {
        player.advance_to(BASE + 660_000);
        player.check();
    }
    prop_assert_eq!(&one.delivered, &two.delivered);
    prop_assert_eq!(state(&mut one), state(&mut two));
    Ok(())
}

/// The log, with all that callstore said, in any order and doubling makes the same state, and nothing to do anew.
/// Callstore speaks between the batches too, so that some calls have a record before all is known that makes them one.
fn log_is_one_state(walks: &[Walk], chances: (u64, u64, u64)) -> Result<(), TestCaseError> {
    let (doubled, cuts, order) = chances;
    let mut one = Player::new(settings(), BASE);
    for (number, batch) in split(events(walks), cuts).into_iter().enumerate() {
        one.advance_to(BASE + number as i64 * 1_500);
        one.put(&batch.join(&b'\n'));
    }
    one.advance_to(BASE + 400_000);
    one.check();
    let mut log = with_doubles(&one.log, doubled);
    shuffle(&mut log, order);
    let mut told = settings();
    told.sinks.push("late".into());
    let mut two = Player::new(told, one.now_ms);
    for chunk in &log {
        two.append(chunk);
    }
    prop_assert_eq!(state(&mut one), state(&mut two));
    prop_assert!(two.store.issue(two.now_ms, 8, "other@test", 100).is_empty());
    for sink in ["collection", "file"] {
        prop_assert_eq!(two.store.pending(sink, 100), []);
    }
    let got = two.store.pending("late", 100);
    // A call that was dead and was found alive waits for its next revision.
    // Of calls that had a record each before they were joined one goes on; the others stay as they were sent.
    let over = |cid: &[u8; 16]| {
        one.call(*cid).is_some_and(|call| {
            let is_own = call["cid"] == uuid::Uuid::from_bytes(*cid).to_string();
            is_own && (call["state"] == "dead" || call["state"] == "closed")
        })
    };
    // Revisions that were overtaken on the way may come before; the newest is what counts.
    let mut by_call = std::collections::BTreeMap::new();
    for got in got.into_iter().filter(|got| over(&got.cid)) {
        by_call.insert(got.cid, (got.revision, got.record));
    }
    let mut newest: Vec<_> = by_call.into_values().collect();
    let sent = one.delivered[0].iter().filter(|(cid, _)| over(cid));
    let sent = sent.filter_map(|(_, revisions)| revisions.last());
    let mut expected: Vec<_> = sent
        .map(|sent| (sent.revision, sent.record.clone()))
        .collect();
    newest.sort();
    expected.sort();
    prop_assert_eq!(newest, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_of_calls_are_one_state(walks in well_named(), chances in chances()) {
        events_are_one_state(&walks, chances)?;
    }

    #[test]
    fn events_of_half_named_calls_are_one_state(walks in half_named(), chances in chances()) {
        events_are_one_state(&walks, chances)?;
    }

    #[test]
    fn events_of_calls_that_are_joined_are_one_state(walks in joining(), chances in chances()) {
        events_are_one_state(&walks, chances)?;
    }

    #[test]
    fn a_log_is_one_state(walks in well_named(), chances in chances()) {
        log_is_one_state(&walks, chances)?;
    }

    #[test]
    fn a_log_of_half_named_calls_is_one_state(walks in half_named(), chances in chances()) {
        log_is_one_state(&walks, chances)?;
    }

    #[test]
    fn a_log_of_calls_that_are_joined_is_one_state(walks in joining(), chances in chances()) {
        log_is_one_state(&walks, chances)?;
    }
}

/// The list, and some of it once more.
fn with_doubles(list: &[Vec<u8>], doubled: u64) -> Vec<Vec<u8>> {
    let twice = list
        .iter()
        .enumerate()
        .filter(|(place, _)| doubled >> (place % 64) & 1 == 1);
    list.iter()
        .chain(twice.map(|(_, one)| one))
        .cloned()
        .collect()
}

fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut dice = seed | 1;
    for last in (1..list.len()).rev() {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        list.swap(last, (dice % (last as u64 + 1)) as usize);
    }
}
