//! From a call to its record: what a sink is given, made of a copy of the call so that the store goes on meanwhile.

use super::Settings;
use super::entry::Entry;
use super::pending::Pending;
use crate::call::Call;
use crate::event::{Field, Kind};
use crate::record::{self, Context, JsonOut};

/// What most records take.
const RECORD_BYTES: usize = 2560;

/// Calls of which a sink has not accepted a record, apart from the store.
#[derive(Debug, Default)]
pub struct Outgoing {
    pub(super) settings: Settings,
    pub(super) sink: usize,
    pub(super) drafts: Vec<(Entry, u32)>,
}

impl Outgoing {
    /// The records.
    pub fn render(self) -> Vec<Pending> {
        let rendered = self.drafts.iter().filter_map(|(entry, revision)| {
            let pending = self.settings.revision(entry, *revision)?;
            Some(entry.without_known_row(pending, self.sink))
        });
        rendered.collect()
    }
}

impl Settings {
    fn revision(&self, entry: &Entry, revision: u32) -> Option<Pending> {
        match entry.overtaken(revision) {
            Some(pending) => Some(pending.clone()),
            None => self.render(entry),
        }
    }

    /// The newest revision of a record.
    pub(super) fn render(&self, entry: &Entry) -> Option<Pending> {
        let call = entry.call()?;
        let mut issue = (String::new(), 0);
        let newest = i64::from(entry.life.revision);
        let visited = entry.set.visit_kind(Kind::Record, |event| {
            let is_newest = event.int(Field::Revision) == Some(newest);
            if is_newest && !entry.is_of_other_record(event) {
                issue = (
                    event.str(Field::Node).unwrap_or_default().to_owned(),
                    event.int(Field::Epoch).unwrap_or(0),
                );
            }
        });
        visited.ok()?;
        let context = self.context(&issue.0, issue.1, entry.life.revision);
        let mut out = JsonOut::with_room(RECORD_BYTES);
        record::write(&call, &context, &mut out);
        Some(Pending {
            cid: entry.cid,
            revision: entry.life.revision,
            domains: domains(&call),
            end_ts: call.end_ts().unwrap_or(entry.life.last_ts),
            record: out.into_bytes(),
            projection: self.row(&call),
        })
    }

    /// What a record says of where it was made.
    pub(super) fn context<'s>(&'s self, node: &'s str, epoch: i64, revision: u32) -> Context<'s> {
        Context {
            site: &self.site,
            master_domain: &self.master_domain,
            group: self.group,
            node,
            epoch,
            revision,
        }
    }
}

impl Entry {
    /// What a record is rendered from.
    pub(super) fn draft(&self) -> Entry {
        let set = self.set.clone();
        Entry {
            state: self.state,
            life: self.life.clone(),
            accepted: self.accepted.clone(),
            names: self.names.clone(),
            overtaken: self.overtaken.clone(),
            ..Entry::new(self.cid, set, self.since_ms)
        }
    }
}

fn domains(call: &Call<'_>) -> Vec<String> {
    let a = call.domain().unwrap_or_default().to_owned();
    let b = call.legs.b.domain.map(|domain| domain.with(str::to_owned));
    let other = b.filter(|b| *b != a);
    std::iter::once(a).chain(other).collect()
}
