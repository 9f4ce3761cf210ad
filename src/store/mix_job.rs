//! What the mixer is given of a recording: everything that was said of it, by the platform's own names.
//!
//! ```text
//! cid, connectionid, invitets, acallid, bcallid, dialogid
//! mgctxid, mgcgroup, srcfile, mgcpath   the latest, null where they were never said
//! sources  [{from, mgctxid, mgcgroup, srvidx, mgused, srcfile, mgcpath, …}]  one a media context, in order of use
//! domains  [{domain, wanted, dir, fromnum, tonum, crossdomain, isrec, recruleid, storage, speech, …}]  one a domain
//! start, end                            ms since 1970 UTC: the answer, the end as the record has it
//! ```
//!
//! In `sources` and `domains` stands what the platform said and no more, fields that callstore does not know
//! included: of what is said again the last. Used by the mixing. Must never: invent what was not said.

use super::entry::Entry;
use crate::call::{Call, Text};
use crate::event::{Event, Field, Fields, Kind, Name, Value};
use crate::record::{JsonOut, Out};

/// The job as JSON.
pub(super) fn write(entry: &Entry) -> Option<String> {
    let call = entry.call()?;
    let mut told = Told::default();
    entry.told().ok()?.for_each(|event| told.note(&event));
    let mut out = JsonOut::default();
    out.begin_object();
    identity(&call, &mut out);
    places(&told, &mut out);
    domains(&told, &call, &mut out);
    int("start", call.answer(), &mut out);
    int("end", call.end_ts(), &mut out);
    out.end_object();
    String::from_utf8(out.into_bytes()).ok()
}

/// Where media went, and what rules said.
#[derive(Default)]
struct Told<'e> {
    sources: Vec<(i64, Fields<'e>)>,
    rules: Vec<Fields<'e>>,
}

/// What says where media went.
const MEDIA: [Field; 7] = [
    Field::Mgctxid,
    Field::Mgcgroup,
    Field::Srvidx,
    Field::Mgused,
    Field::Srcfile,
    Field::Mgcpath,
    Field::Gatewayip4,
];
/// What of a rule is said of the call, and not of its recording.
const OF_THE_CALL: [Field; 9] = [
    Field::Dialogid,
    Field::Dialogidhash,
    Field::Owner,
    Field::Producer,
    Field::Cid,
    Field::Acallid,
    Field::Invitets,
    Field::Connectionid,
    Field::Ghost,
];

impl<'e> Told<'e> {
    fn note(&mut self, event: &Event<'e>) {
        match event.kind {
            Kind::RecInfo => self.note_rule(event),
            Kind::MediaMigrate => {
                let old = [
                    (Field::Mgctxid, event.get(Field::MgctxidOld)),
                    (Field::Mgcgroup, event.get(Field::MgcgroupOld)),
                ];
                let old = old.into_iter();
                let old = old.filter_map(|(field, value)| Some((Name::Known(field), value?)));
                let old: Fields<'e> = old.collect();
                if of(&old, Field::Mgctxid).is_some() {
                    self.note_source(event.ts, old);
                }
                self.note_source(event.ts, media(event, true));
            }
            Kind::DlgStart | Kind::DlgEnd | Kind::DlgStop => {
                self.note_source(event.ts, media(event, true));
            }
            _ => self.note_source(event.ts, media(event, false)),
        }
    }

    fn note_rule(&mut self, event: &Event<'e>) {
        let said = event.fields.iter().copied();
        let said: Fields<'e> = said
            .filter(|(name, _)| !matches!(name, Name::Known(field) if OF_THE_CALL.contains(field)))
            .collect();
        let domain = of(&said, Field::Domain);
        let mut rules = self.rules.iter_mut();
        match rules.find(|rule| of(rule, Field::Domain) == domain) {
            Some(known) => complete(known, said),
            None => self.rules.push(said),
        }
    }

    /// What is said of a context goes to it; what is said of none, to the latest.
    fn note_source(&mut self, ts: i64, said: Fields<'e>) {
        if said.is_empty() {
            return;
        }
        let place = match of(&said, Field::Mgctxid) {
            Some(context) => {
                let is_it = |(_, known): &(i64, Fields<'_>)| {
                    of(known, Field::Mgctxid).is_none_or(|known| known == context)
                };
                self.sources.iter().rposition(is_it)
            }
            None => self.sources.len().checked_sub(1),
        };
        match place.and_then(|place| self.sources.get_mut(place)) {
            Some((_, known)) => complete(known, said),
            None => self.sources.push((ts, said)),
        }
    }

    /// The latest that was said.
    fn latest(&self, field: Field) -> Option<Value<'e>> {
        let mut sources = self.sources.iter().rev();
        sources.find_map(|(_, said)| of(said, field))
    }
}

/// What an event says of its media; `all`: with what it says beside that callstore does not know.
fn media<'e>(event: &Event<'e>, all: bool) -> Fields<'e> {
    let said = event.fields.iter().copied();
    said.filter(|(name, _)| match name {
        Name::Known(field) => MEDIA.contains(field),
        Name::Other(_) => all,
    })
    .collect()
}

fn of<'e>(said: &Fields<'e>, wanted: Field) -> Option<Value<'e>> {
    let found = said.iter().find(|(name, _)| *name == Name::Known(wanted));
    found.map(|&(_, value)| value)
}

fn complete<'e>(known: &mut Fields<'e>, said: Fields<'e>) {
    for (name, value) in said {
        match known.iter_mut().find(|(known, _)| *known == name) {
            Some(place) => place.1 = value,
            None => known.push((name, value)),
        }
    }
}

fn identity(call: &Call<'_>, out: &mut JsonOut) {
    let cid = call.head.identity();
    out.key("cid");
    out.uuid(cid);
    out.key("connectionid");
    match (call.legs.connectionid, call.head.invitets) {
        (Some(stated), _) => out.text(stated),
        (None, Some(invitets)) => out.str(&format!("{}.{invitets}", Value::Uuid(cid).text())),
        (None, None) => out.null(),
    }
    int("invitets", call.head.invitets, out);
    text("acallid", call.head.acallid.map(Text::Str), out);
    text("bcallid", call.legs.bcallid, out);
    text("dialogid", call.legs.dialogid, out);
}

fn places(told: &Told<'_>, out: &mut JsonOut) {
    let latest = [
        ("mgctxid", Field::Mgctxid),
        ("mgcgroup", Field::Mgcgroup),
        ("srcfile", Field::Srcfile),
        ("mgcpath", Field::Mgcpath),
    ];
    for (key, field) in latest {
        out.key(key);
        match told.latest(field) {
            Some(value) => out.value(value),
            None => out.null(),
        }
    }
    out.key("sources");
    out.begin_array();
    for (from, said) in &told.sources {
        out.begin_object();
        int("from", Some(*from), out);
        fields(said, out);
        out.end_object();
    }
    out.end_array();
}

/// What each rule said; a domain of which the end alone says that it wants the recording has nothing beside that.
fn domains(told: &Told<'_>, call: &Call<'_>, out: &mut JsonOut) {
    let wishes = &call.recording.domains;
    out.key("domains");
    out.begin_array();
    for rule in &told.rules {
        let domain = domain_of(rule);
        let wish = wishes.iter().find(|wish| Some(wish.domain) == domain);
        let isrec = of(rule, Field::Isrec).and_then(Value::flag);
        out.begin_object();
        if domain.is_none() {
            text("domain", None, out);
        }
        out.key("wanted");
        out.bool(wish.map(|wish| wish.wanted).or(isrec).unwrap_or(false));
        fields(rule, out);
        out.end_object();
    }
    for wish in wishes {
        if !told
            .rules
            .iter()
            .any(|rule| domain_of(rule) == Some(wish.domain))
        {
            out.begin_object();
            text("domain", Some(wish.domain), out);
            out.key("wanted");
            out.bool(wish.wanted);
            out.end_object();
        }
    }
    out.end_array();
}

fn domain_of<'e>(rule: &Fields<'e>) -> Option<Text<'e>> {
    of(rule, Field::Domain).and_then(Text::of)
}

fn fields(said: &Fields<'_>, out: &mut JsonOut) {
    for &(name, value) in said {
        match name {
            Name::Known(field) => out.key(field.name()),
            Name::Other(name) => out.key_of(name),
        }
        out.value(value);
    }
}

fn int(key: &'static str, fact: Option<i64>, out: &mut JsonOut) {
    out.key(key);
    match fact {
        Some(number) => out.int(number),
        None => out.null(),
    }
}

fn text(key: &'static str, fact: Option<Text<'_>>, out: &mut JsonOut) {
    out.key(key);
    match fact {
        Some(text) => out.text(text),
        None => out.null(),
    }
}
