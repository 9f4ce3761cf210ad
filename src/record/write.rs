//! The record of a call: schema 1, the keys of the format in their order, whatever the outcome.
//!
//! The same keys are written for a call that lives, as far as they are known; null is what is not known. Keys are only
//! added, never changed or taken away, within one schema.

use super::Out;
use super::cause::Cause;
use super::keys::{as_written, flag, int, known, side, text};
use super::survival::{owner, reopened, rescued};
use crate::call::ending::End;
use crate::call::legs::Leg;
use crate::call::{Call, State, Text, record_id};
use crate::event::Value;

/// Version of the format.
pub const SCHEMA: i64 = 1;

/// What a record says beside the call: where and by whom it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context<'c> {
    /// Site.
    pub site: &'c str,
    /// Root of the tree of tenants.
    pub master_domain: &'c str,
    /// Group that served the call.
    pub group: u32,
    /// Node that closed it; empty while it lives.
    pub node: &'c str,
    /// Term of activity in which it was closed.
    pub epoch: i64,
    /// Revision, from 1; 0 while there is none.
    pub revision: u32,
}

/// Writes the record of a call.
pub fn write(call: &Call<'_>, context: &Context<'_>, out: &mut impl Out) {
    out.begin_object();
    body(call, context, out);
    reopened(call, out);
    rescued(call, out);
    out.end_object();
}

/// Writes what is known of a call that may live: its record as far as it goes, its state and its owner. What it outlived
/// is left out of a call that outlived nothing: a page of calls is to be quick.
pub fn write_live(call: &Call<'_>, context: &Context<'_>, state: State, out: &mut impl Out) {
    out.begin_object();
    body(call, context, out);
    if !call.survival.reopened.is_empty() {
        reopened(call, out);
    }
    if !call.survival.rescued.is_empty() {
        rescued(call, out);
    }
    out.key("state");
    out.str(state.name());
    owner(out, "owner", call.owner);
    out.end_object();
}

fn body(call: &Call<'_>, context: &Context<'_>, out: &mut impl Out) {
    identity(call, context, out);
    places(call, context, out);
    out.key("a");
    leg(&call.legs.a, out);
    out.key("b");
    leg(&call.legs.b, out);
    routing(call, out);
    forks(call, out);
    int(out, "answer", call.answer());
    holds(call, out);
    links(call, out);
    out.key("bindings");
    out.begin_array();
    call.bindings.labels().for_each(|label| out.text(label));
    out.end_array();
    media(call, out);
    recording(call, out);
    out.key("end");
    match &call.end {
        Some(told) => end(call, told, out),
        None => out.null(),
    }
    durations(call, out);
    completeness(call, out);
}

fn identity(call: &Call<'_>, context: &Context<'_>, out: &mut impl Out) {
    let cid = call.head.identity();
    out.key("schema");
    out.int(SCHEMA);
    out.key("record_id");
    out.uuid(record_id(cid));
    int(out, "revision", known(context.revision.into()));
    out.key("cid");
    out.uuid(cid);
    out.key("connectionid");
    connectionid(call, cid, out);
    int(out, "invitets", call.head.invitets);
    text(out, "acallid", call.head.acallid.map(Text::Str));
    text(out, "bcallid", call.legs.bcallid);
    text(out, "dialogid", call.legs.dialogid);
}

/// `cid.invitets`, unless the platform wrote something else.
fn connectionid(call: &Call<'_>, cid: [u8; 16], out: &mut impl Out) {
    match (call.legs.connectionid, call.head.invitets) {
        (Some(stated), _) => out.text(stated),
        (None, None) => out.null(),
        (None, Some(invitets)) => {
            let mut buffer = [0u8; 36];
            let cid = uuid::Uuid::from_bytes(cid).hyphenated();
            let mut joined = String::with_capacity(56);
            joined.push_str(cid.encode_lower(&mut buffer));
            joined.push('.');
            joined.push_str(&invitets.to_string());
            out.str(&joined);
        }
    }
}

fn places(call: &Call<'_>, context: &Context<'_>, out: &mut impl Out) {
    let stated = |text| (!str::is_empty(text)).then_some(Text::Str(text));
    text(out, "domain", call.legs.a.domain);
    text(out, "bdomain", call.legs.b.domain);
    text(out, "master_domain", stated(context.master_domain));
    text(out, "site", stated(context.site));
    int(out, "group", known(context.group.into()));
    text(out, "node", stated(context.node));
    int(out, "epoch", known(context.epoch));
}

fn leg(leg: &Leg<'_>, out: &mut impl Out) {
    out.begin_object();
    text(out, "username", leg.username);
    text(out, "number", leg.number);
    text(out, "original_number", leg.original_number);
    text(out, "translated_number", leg.translated_number);
    text(out, "domain", leg.domain);
    text(out, "uri", leg.uri);
    out.key("address");
    match (leg.address, leg.port) {
        (Some(address), Some(port)) => address.with(|host| match host.contains(':') {
            // It has its port already, or is an IPv6 address.
            true => out.str(host),
            false => out.str(&format!("{host}:{port}")),
        }),
        (Some(address), None) => out.text(address),
        (None, _) => out.null(),
    }
    text(out, "account", leg.account);
    flag(out, "outer", leg.outer);
    out.end_object();
}

fn routing(call: &Call<'_>, out: &mut impl Out) {
    out.key("routing");
    out.begin_array();
    for step in call.routing.steps() {
        out.begin_object();
        out.key("type");
        out.str(step.kind.name());
        int(out, "ts", Some(step.ts));
        for &(field, value) in &step.facts {
            out.key(field.name());
            out.value(value);
        }
        out.end_object();
    }
    out.end_array();
}

fn forks(call: &Call<'_>, out: &mut impl Out) {
    out.key("forks");
    out.begin_array();
    for fork in call.forks.all() {
        out.begin_object();
        text(out, "uri", fork.uri);
        text(out, "callid", fork.callid);
        text(out, "dir", fork.dir);
        text(out, "account", fork.account);
        int(out, "start", fork.start);
        int(out, "answer", fork.answer);
        int(out, "end", fork.end);
        int(out, "sipcode", fork.sipcode);
        text(out, "reason", fork.reason);
        flag(out, "won", Some(fork.won));
        out.end_object();
    }
    out.end_array();
}

fn holds(call: &Call<'_>, out: &mut impl Out) {
    out.key("holds");
    out.begin_array();
    for hold in call.holds.all() {
        out.begin_object();
        side(out, "side", Some(hold.side));
        int(out, "from", Some(hold.from));
        int(out, "to", hold.to);
        out.end_object();
    }
    out.end_array();
}

fn links(call: &Call<'_>, out: &mut impl Out) {
    out.key("links");
    out.begin_array();
    for link in call.links.all() {
        out.begin_object();
        out.key("kind");
        out.str(link.kind.name());
        text(out, "cid", link.cid);
        text(out, "acallid", link.acallid);
        int(out, "ts", Some(link.ts));
        side(out, "side", link.side);
        text(out, "target", link.target);
        flag(out, "aborted", Some(link.aborted));
        out.end_object();
    }
    out.end_array();
}

fn media(call: &Call<'_>, out: &mut impl Out) {
    let media = &call.media;
    out.key("media");
    out.begin_object();
    as_written(out, "mgcgroup", media.mgcgroup);
    as_written(out, "mgctxid", media.mgctxid);
    out.key("migrations");
    out.begin_array();
    for moved in &media.migrations {
        out.begin_object();
        int(out, "ts", Some(moved.ts));
        as_written(out, "from_mgcgroup", moved.from_mgcgroup);
        as_written(out, "from_mgctxid", moved.from_mgctxid);
        as_written(out, "to_mgcgroup", moved.to_mgcgroup);
        as_written(out, "to_mgctxid", moved.to_mgctxid);
        out.end_object();
    }
    out.end_array();
    out.end_object();
}

fn recording(call: &Call<'_>, out: &mut impl Out) {
    let recording = &call.recording;
    out.key("recording");
    out.begin_object();
    out.key("state");
    out.str(recording.state().name());
    out.key("domains");
    out.begin_object();
    for wish in &recording.domains {
        wish.domain.with(|domain| out.key_of(domain));
        out.begin_object();
        flag(out, "wanted", Some(wish.wanted));
        out.end_object();
    }
    out.end_object();
    out.key("links");
    out.begin_array();
    recording.links.iter().for_each(|&link| out.text(link));
    out.end_array();
    int(out, "size", recording.size);
    out.end_object();
}

fn end(call: &Call<'_>, end: &End<'_>, out: &mut impl Out) {
    let cause = Cause::of(call, end);
    out.begin_object();
    int(out, "ts", end.ts);
    int(out, "term_cause", Some(cause.term_cause.code()));
    text(out, "completion", cause.completion);
    side(out, "released_by", cause.released_by);
    int(out, "sipcode", cause.sipcode);
    int(out, "q850", cause.q850);
    text(out, "reason", end.word.reason);
    out.key("origin");
    out.str(match end.is_synthetic() {
        true => "synthetic",
        false => "signalled",
    });
    flag(out, "estimated", Some(end.is_synthetic()));
    out.key("evidence");
    evidence(end.verdict.and_then(|verdict| verdict.evidence), out);
    int(
        out,
        "detected",
        end.verdict.and_then(|verdict| verdict.detected),
    );
    out.end_object();
}

/// Always a list, whether one piece of evidence was kept or several.
fn evidence(evidence: Option<Value<'_>>, out: &mut impl Out) {
    match evidence {
        Some(Value::Json(list)) if list.starts_with('[') => out.raw_json(list),
        one => {
            out.begin_array();
            if let Some(value) = one {
                out.value(value);
            }
            out.end_array();
        }
    }
}

fn durations(call: &Call<'_>, out: &mut impl Out) {
    let durations = call.durations();
    out.key("durations");
    out.begin_object();
    int(out, "setup_ms", durations.setup_ms);
    int(out, "ring_ms", durations.ring_ms);
    int(out, "talk_ms", durations.talk_ms);
    int(out, "hold_ms", durations.hold_ms);
    int(out, "total_ms", durations.total_ms);
    out.end_object();
}

fn completeness(call: &Call<'_>, out: &mut impl Out) {
    let completeness = &call.completeness;
    out.key("completeness");
    out.begin_object();
    flag(out, "start_lost", Some(completeness.start_lost(&call.life)));
    flag(out, "stop_lost", Some(completeness.stop_lost(&call.life)));
    flag(out, "clock_stepped", Some(completeness.clock_stepped));
    int(out, "events", Some(completeness.events.into()));
    out.key("unknown_types");
    out.begin_array();
    let names = completeness.unknown_types.iter();
    names.for_each(|&name| out.text(name));
    out.end_array();
    out.end_object();
}
