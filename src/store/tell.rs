//! From the marks and chunks of a row to what it said, in order, for those who listen.
//!
//! Needs no store: it runs where somebody listens, which may be another node. An event of the platform comes in the
//! envelope in which it was put, with the head of its call; what callstore says is of class `callstore`. Called by the
//! NIF. Must never: tell who serves a call or who put an event, which are said beside the events, not in them.

use std::collections::HashSet;

use super::said::{self, ABSORBED, CHANGED, CLOSED, EVENTS, GROUP, OF, OPENED};
use crate::call::State;
use crate::call::life::STATES;
use crate::event::bytes::Reader;
use crate::event::chunk::Chunk;
use crate::event::group::Group;
use crate::event::{Class, Corrupt, Event, EventId, Field, Head, Kind, Name, record_id};
use crate::record::Out;

/// What somebody wants to hear.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The types; `None` for all.
    pub types: Option<HashSet<String>>,
    /// A domain: what is said of calls of it and of the domains below it.
    pub domain: Option<String>,
}

impl Wanted {
    fn takes(&self, kind: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.contains(kind))
    }

    fn takes_domains(&self, domains: &[&str]) -> bool {
        let Some(root) = &self.domain else {
            return true;
        };
        domains.iter().any(|name| {
            let above = name.len().checked_sub(root.len());
            above.is_some_and(|at| {
                let tail = name.as_bytes().get(at..).unwrap_or_default();
                let is_whole = at == 0 || name.as_bytes().get(at - 1) == Some(&b'.');
                tail.eq_ignore_ascii_case(root.as_bytes()) && is_whole
            })
        })
    }
}

/// What has become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It lives from now on.
    Opened,
    /// It lives in another state.
    Changed,
    /// It lives no longer.
    Closed,
    /// It lives under this name.
    Absorbed(EventId),
}

/// One thing that a row said.
#[derive(Clone, Debug)]
pub enum Told<'t, 'e> {
    /// An event of the log.
    Event(&'t Event<'e>),
    /// A step in the life of a call.
    Call {
        /// Which.
        step: Step,
        /// The state before it, where the call was known.
        before: Option<State>,
        /// The state now.
        now: State,
        /// The time of the last event of the platform.
        ts: i64,
    },
}

/// Of which call the following is said.
#[derive(Clone, Debug, Default)]
pub struct Whom<'t> {
    cid: EventId,
    head: Head<'t>,
    domains: Vec<&'t str>,
}

impl Told<'_, '_> {
    /// The type in the envelope.
    pub fn kind(&self) -> &str {
        match self {
            Told::Event(event) => event.type_name(),
            Told::Call { step, .. } => match step {
                Step::Opened => "call_opened",
                Step::Changed => "call_changed",
                Step::Closed | Step::Absorbed(_) => "call_closed",
            },
        }
    }

    /// Writes the envelope.
    pub fn write(&self, whom: &Whom<'_>, group: u32, out: &mut impl Out) {
        let (class, ts) = match self {
            Told::Event(event) => (event.kind.class(), event.ts),
            Told::Call { ts, .. } => (Class::CallStore, *ts),
        };
        out.begin_object();
        out.key("class");
        out.str(class.name());
        out.key("type");
        out.str(self.kind());
        out.key("eventts");
        out.int(ts);
        out.key("data");
        out.begin_object();
        match self {
            Told::Event(event) => write_event(event, whom, out),
            Told::Call {
                step, before, now, ..
            } => write_step(*step, *before, *now, whom, out),
        }
        if class == Class::CallStore {
            out.key("group");
            out.int(i64::from(group));
        }
        out.end_object();
        out.end_object();
    }
}

/// Fields that are said beside the events of a call, or that serve the log only.
const UNTOLD: [Field; 8] = [
    Field::Owner,
    Field::Producer,
    Field::Newowner,
    Field::Cid,
    Field::Acallid,
    Field::Invitets,
    Field::Facts,
    Field::Sum,
];

fn write_event(event: &Event<'_>, whom: &Whom<'_>, out: &mut impl Out) {
    out.key("eventid");
    out.uuid(event.id);
    out.key("eventts");
    out.int(event.ts);
    let known = &whom.head;
    let said = Head::tagged(event).unwrap_or(*known);
    let head = Head {
        cid: Some(said.cid.unwrap_or(whom.cid)),
        acallid: said.acallid.or(known.acallid),
        invitets: said.invitets.or(known.invitets),
        acallidhash: known.acallidhash,
    };
    write_head(&head, event.get(Field::Connectionid).is_none(), out);
    for &(name, value) in &event.fields {
        let is_told = match name {
            Name::Known(field) => !UNTOLD.contains(&field),
            Name::Other(_) => true,
        };
        if is_told {
            out.key_of(name.text());
            out.value(value);
        }
    }
    if event.kind == Kind::Record {
        out.key("record_id");
        out.uuid(record_id(whom.cid));
    }
}

fn write_head(head: &Head<'_>, with_connectionid: bool, out: &mut impl Out) {
    if let Some(acallid) = head.acallid {
        out.key("acallid");
        out.str(acallid);
    }
    if let Some(hash) = head.acallidhash {
        out.key("acallidhash");
        out.int(hash);
    }
    if let Some(cid) = head.cid {
        out.key("cid");
        out.uuid(cid);
    }
    if let Some(invitets) = head.invitets {
        out.key("invitets");
        out.int(invitets);
    }
    if let (Some(cid), Some(invitets), true) = (head.cid, head.invitets, with_connectionid) {
        let cid = uuid::Uuid::from_bytes(cid);
        out.key("connectionid");
        out.str(&format!("{}.{invitets}", cid.hyphenated()));
    }
}

fn write_step(step: Step, before: Option<State>, now: State, whom: &Whom<'_>, out: &mut impl Out) {
    let head = Head {
        cid: Some(whom.cid),
        ..whom.head
    };
    write_head(&head, true, out);
    out.key("domains");
    out.begin_array();
    for domain in &whom.domains {
        out.str(domain);
    }
    out.end_array();
    out.key("state");
    out.str(now.name());
    out.key("before");
    match before {
        Some(state) => out.str(state.name()),
        None => out.null(),
    }
    if let Step::Absorbed(into) = step {
        out.key("into");
        out.uuid(into);
    }
}

/// Tells `each` what is wanted of a row, with its number in the row from 1. `marks` are those of [`super::Store::take_said`]
/// after the chunks were folded.
///
/// # Errors
/// Marks of another version, or that do not belong to the chunks.
pub fn tell(
    marks: &[u8],
    chunks: &[&[u8]],
    wanted: &Wanted,
    mut each: impl FnMut(u32, &Whom<'_>, &Told<'_, '_>),
) -> Result<(), Corrupt> {
    let mut reader = Reader(marks);
    let version = reader.byte()?;
    if version != said::VERSION {
        return Err(Corrupt::Version(version));
    }
    let mut groups = Groups::new(chunks);
    let mut whom = Whom::default();
    let mut number = 0;
    while !reader.is_empty() {
        match reader.byte()? {
            OF => whom = of_whom(&mut reader)?,
            GROUP => whom.complete(groups.seek(&mut reader)?.head),
            EVENTS => {
                let group = groups.seek(&mut reader)?;
                whom.complete(group.head);
                number = tell_events(group, &mut reader, &whom, wanted, number, &mut each)?;
            }
            item @ (OPENED | CHANGED | CLOSED | ABSORBED) => {
                number += 1;
                let told = step(item, &mut reader)?;
                if wanted.takes(told.kind()) && wanted.takes_domains(&whom.domains) {
                    each(number, &whom, &told);
                }
            }
            _ => return Err(Corrupt::Value),
        }
    }
    Ok(())
}

fn tell_events(
    group: &Group<'_>,
    reader: &mut Reader<'_>,
    whom: &Whom<'_>,
    wanted: &Wanted,
    before: u32,
    each: &mut impl FnMut(u32, &Whom<'_>, &Told<'_, '_>),
) -> Result<u32, Corrupt> {
    let events = reader.size()?;
    let bits = reader.take(events.div_ceil(8))?;
    let told: u32 = bits.iter().map(|byte| byte.count_ones()).sum();
    if !wanted.takes_domains(&whom.domains) {
        return Ok(before + told);
    }
    let (mut place, mut number) = (0, before);
    group.visit(|event| {
        let is_told = bits
            .get(place / 8)
            .is_some_and(|byte| byte >> (place % 8) & 1 == 1);
        place += 1;
        if is_told {
            number += 1;
            let told = Told::Event(event);
            if wanted.takes(told.kind()) {
                each(number, whom, &told);
            }
        }
    })?;
    Ok(before + told)
}

fn step(item: u8, reader: &mut Reader<'_>) -> Result<Told<'static, 'static>, Corrupt> {
    let state = |code: u8| STATES.get(code as usize).copied();
    let before = state(reader.byte()?);
    let now = state(reader.byte()?).ok_or(Corrupt::Value)?;
    let ts = reader.signed()?;
    let step = match item {
        OPENED => Step::Opened,
        CHANGED => Step::Changed,
        CLOSED => Step::Closed,
        _ => Step::Absorbed(reader.array()?),
    };
    Ok(Told::Call {
        step,
        before,
        now,
        ts,
    })
}

fn of_whom<'t>(reader: &mut Reader<'t>) -> Result<Whom<'t>, Corrupt> {
    let cid: EventId = reader.array()?;
    let flags = reader.byte()?;
    let mut head = Head::default();
    if flags & said::HAS_ACALLID != 0 {
        head.acallid = Some(text(reader)?);
    }
    if flags & said::HAS_INVITETS != 0 {
        head.invitets = Some(reader.signed()?);
    }
    if flags & said::HAS_HASH != 0 {
        head.acallidhash = Some(reader.signed()?);
    }
    let count = reader.size()?;
    let domains = (0..count).map(|_| text(reader));
    let domains = domains.collect::<Result<_, _>>()?;
    Ok(Whom { cid, head, domains })
}

fn text<'t>(reader: &mut Reader<'t>) -> Result<&'t str, Corrupt> {
    let size = reader.size()?;
    std::str::from_utf8(reader.take(size)?).map_err(|_| Corrupt::Text)
}

impl<'t> Whom<'t> {
    fn complete(&mut self, head: Head<'t>) {
        let own = &mut self.head;
        own.cid = own.cid.or(head.cid);
        own.acallid = own.acallid.or(head.acallid);
        own.invitets = own.invitets.or(head.invitets);
        own.acallidhash = own.acallidhash.or(head.acallidhash);
    }
}

/// The groups of a row's chunks, read forwards.
struct Groups<'t> {
    chunks: &'t [&'t [u8]],
    at: Option<(usize, usize)>,
    rest: Box<dyn Iterator<Item = Result<Group<'t>, Corrupt>> + 't>,
    group: Option<Group<'t>>,
}

impl<'t> Groups<'t> {
    fn new(chunks: &'t [&'t [u8]]) -> Self {
        Groups {
            chunks,
            at: None,
            rest: Box::new(std::iter::empty()),
            group: None,
        }
    }

    /// The group whose place the marks say next; places ascend.
    fn seek(&mut self, reader: &mut Reader<'_>) -> Result<&Group<'t>, Corrupt> {
        let (chunk, number) = (reader.size()?, reader.size()?);
        let mut next = match self.at {
            Some((same, last)) if same == chunk => last + 1,
            _ => {
                let bytes = self.chunks.get(chunk).ok_or(Corrupt::Short)?;
                self.rest = Box::new(Chunk::read(bytes)?.groups());
                0
            }
        };
        while next <= number {
            self.group = Some(self.rest.next().ok_or(Corrupt::Short)??);
            next += 1;
        }
        self.at = Some((chunk, number));
        self.group.as_ref().ok_or(Corrupt::Short)
    }
}
