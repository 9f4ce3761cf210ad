//! What is said of calls that are dead: verdicts, the one `dlg_dead` of a dialog, and calls closed for their age.
//!
//! Always holds: equal decisions are equal events, so to decide twice does no harm; a dialog has one `dlg_dead` of ours
//! however often it is decided, and none where the platform has said its own. Its time, as that of the end, is the last
//! proof of life. Used by the looks. Must never: decide.

use super::entry::Entry;
use crate::event::head::derived_id;
use crate::event::{Event, EventId, EventSet, Field, Fields, Head, Kind, Name, Value};

/// What a look at a call needs of its events.
#[derive(Debug, Default)]
pub struct Told<'e> {
    /// Who serves it.
    pub owner: Option<&'e str>,
    /// Its dialog, as the events name it.
    pub dialog: Option<&'e str>,
    hash: Option<Value<'e>>,
    ghost: Option<Value<'e>>,
    /// Whether `dlg_dead` was said.
    pub has_dlg_dead: bool,
    /// The time of that.
    dead_ts: i64,
    /// When the call was closed because its last word never came.
    closed_ms: i64,
    /// Why it was closed without it, where no end was said after that.
    pub closed_for: Option<&'e str>,
    /// When the last verdict was said.
    judged_ts: i64,
    /// The last proof of life that the last verdict of a death rests on.
    pub proof_ts: i64,
    /// When that death was noticed.
    pub detected_ms: i64,
    /// Why it was held to be dead, and the evidence, a JSON list.
    pub death: (Option<&'e str>, Option<Value<'e>>),
    /// The mix: attempts so far, and when something was last said of it.
    pub mix: (u32, i64),
}

impl<'e> Told<'e> {
    /// What the events of a call say.
    pub fn of(entry: &'e Entry) -> Told<'e> {
        let mut told = Told::default();
        // A set that cannot be read was refused when it came.
        let read = entry.set.visit(|event| told.note(event));
        debug_assert!(read.is_ok(), "a set of the store is sound");
        told
    }

    /// Since when it is known that nobody serves it: the same on every node, and whatever comes after it.
    pub fn died_ms(&self) -> i64 {
        self.detected_ms.max(self.dead_ts).max(self.closed_ms)
    }

    fn note(&mut self, event: &Event<'e>) {
        let owner = event.str(Field::Newowner).or(event.str(Field::Owner));
        self.owner = owner.or(self.owner);
        self.dialog = event.str(Field::Dialogid).or(self.dialog);
        self.hash = event.get(Field::Dialogidhash).or(self.hash);
        self.ghost = event.get(Field::Ghost).or(self.ghost);
        match event.kind {
            Kind::DlgDead => (self.has_dlg_dead, self.dead_ts) = (true, event.ts),
            Kind::CallClosed => {
                (self.closed_ms, self.closed_for) = (event.ts, event.str(Field::Reason));
            }
            Kind::DlgEnd | Kind::DlgStop => self.closed_for = None,
            Kind::Verdict => {
                self.judged_ts = self.judged_ts.max(event.ts);
                if event.str(Field::State) == Some("dead") {
                    self.proof_ts = event.int(Field::Lastproof).unwrap_or(self.proof_ts);
                    self.detected_ms = event.int(Field::Detected).unwrap_or(event.ts);
                    self.death = (event.str(Field::Reason), event.get(Field::Evidence));
                }
            }
            Kind::Mix => {
                let attempt = event.int(Field::Attempt).unwrap_or(1);
                let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
                self.mix = (self.mix.0.max(attempt), self.mix.1.max(event.ts));
            }
            _ => {}
        }
    }
}

/// The identity of the one `dlg_dead` that callstore says of a dialog.
pub(super) fn dlg_dead_id(dialog: &str) -> EventId {
    derived_id(format!("dlg_dead:{dialog}").as_bytes())
}

/// A decision about a call and what it rests on.
pub struct Decision<'d> {
    /// Why, in one word.
    pub reason: &'d str,
    /// The evidence, a JSON list.
    pub evidence: &'d str,
    /// The last proof of life.
    pub lastproof: i64,
    /// Now.
    pub now_ms: i64,
}

impl Decision<'_> {
    /// Nobody serves it: the verdict, and with it the `dlg_dead` of its dialog if nobody has said that yet. The end comes
    /// first, as it sorts: so neither makes the call fold anew.
    pub fn died(&self, entry: &Entry, told: &Told<'_>) -> EventSet {
        let mut set = about(entry);
        if let (Some(dialog), false) = (told.dialog, told.has_dlg_dead) {
            let mut fields: Fields<'_> = Fields::new();
            fields.push((Name::Known(Field::Dialogid), Value::Str(dialog)));
            let others = [(Field::Dialogidhash, told.hash), (Field::Ghost, told.ghost)];
            let others = others
                .iter()
                .filter_map(|&(field, value)| Some((Name::Known(field), value?)));
            fields.extend(others);
            set.push(&Event {
                kind: Kind::DlgDead,
                name: "",
                ts: self.lastproof,
                id: dlg_dead_id(dialog),
                fields,
            });
        }
        self.judged(entry, told, "dead", &mut set);
        set
    }

    /// It was found alive.
    pub fn lives(&self, entry: &Entry, told: &Told<'_>) -> EventSet {
        let mut set = about(entry);
        self.judged(entry, told, "alive", &mut set);
        set
    }

    /// It never got as far as a dialog, and nothing was heard of it for longer than calls last.
    pub fn aged(&self, entry: &Entry) -> EventSet {
        let mut set = about(entry);
        let ts = self.now_ms.max(entry.life.last_ts);
        self.say(entry, Kind::CallClosed, ts, None, &mut set);
        set
    }

    /// A verdict sorts behind all that was known when it was said.
    fn judged(&self, entry: &Entry, told: &Told<'_>, state: &str, set: &mut EventSet) {
        let ts = self.now_ms.max(entry.life.last_ts).max(told.judged_ts + 1);
        self.say(entry, Kind::Verdict, ts, Some(state), set);
    }

    fn say(&self, entry: &Entry, kind: Kind, ts: i64, state: Option<&str>, set: &mut EventSet) {
        let own = [
            (Field::Reason, Value::Str(self.reason)),
            (Field::Evidence, Value::Json(self.evidence)),
            (Field::Lastproof, Value::Int(self.lastproof)),
            (Field::Detected, Value::Int(self.now_ms)),
        ];
        let life = &entry.life;
        let name = format!(
            "{}:{}:{}:{}:{}:{}",
            kind.name(),
            state.unwrap_or_default(),
            self.reason,
            self.lastproof,
            life.facts,
            life.sum
        );
        let mut content = entry.cid.to_vec();
        content.extend_from_slice(name.as_bytes());
        let state = state.map(|state| (Field::State, Value::Str(state)));
        let fields: Fields<'_> = (state.into_iter().chain(own))
            .map(|(field, value)| (Name::Known(field), value))
            .collect();
        set.push(&Event {
            kind,
            name: "",
            ts,
            id: derived_id(&content),
            fields,
        });
    }
}

/// An empty set of events of a call.
fn about(entry: &Entry) -> EventSet {
    EventSet::new(Head {
        cid: Some(entry.cid),
        ..Head::default()
    })
}
