//! The step `expect`: what is known, written and said is held against what the scenario wants.

use serde_json::Value;

use super::super::format::label;
use super::super::matching::differences;
use super::Run;

impl Run<'_> {
    pub(super) fn expect(&self, expected: &Value, number: usize) {
        let mut found = Vec::new();
        for (key, wanted) in expected.as_object().expect("expect is an object") {
            self.hold(key, wanted, &mut found);
        }
        let title = &self.title;
        assert!(
            found.is_empty(),
            "{title}\nstep {number}:\n  {}",
            found.join("\n  ")
        );
    }

    fn hold(&self, key: &str, wanted: &Value, found: &mut Vec<String>) {
        let count = |actual: u64, found: &mut Vec<String>| {
            differences(key, wanted, Some(&actual.into()), found);
        };
        match key {
            "live" => return count(self.player.store.live(), found),
            "closed" => return count(self.player.store.totals().closed, found),
            "alarms" => {
                let alarms = &self.player.alarms;
                let count: usize = alarms.values().map(|(count, _)| count).sum();
                let held: usize = alarms.values().map(|(_, held)| held).sum();
                let told =
                    serde_json::json!({"mass_death": alarms.len(), "count": count, "held": held});
                return differences(key, wanted, Some(&told), found);
            }
            _ => {}
        }
        for (call, wanted) in wanted.as_object().expect("an object by call") {
            let path = format!("{key} of {call}");
            if key == "find" {
                let query = label(&self.scenario.fill(&call.as_str().into(), "1", None));
                let expected = wanted.as_str().map(|call| self.cid(call));
                let actual = self.player.find(&query);
                if expected != actual {
                    found.push(format!("{query}: wants {expected:?}, is {actual:?}"));
                }
                continue;
            }
            let wanted = self.scenario.fill(wanted, call, None);
            if call == "all" {
                let all: usize = self.player.dead.values().sum();
                differences(&path, &wanted, Some(&all.into()), found);
                continue;
            }
            let cid = self.cid(call);
            match key {
                "states" => {
                    let actual = self.player.call(cid).map(|call| call["state"].clone());
                    differences(&path, &wanted, actual.as_ref(), found);
                }
                "calls" => {
                    differences(&path, &wanted, self.player.call(cid).as_ref(), found);
                }
                "records" => {
                    let newest = self
                        .player
                        .records(cid)
                        .first()
                        .map(|newest| json(&newest.record));
                    differences(&path, &wanted, Some(&newest.unwrap_or_default()), found);
                }
                "projections" => {
                    let records = self.player.records(cid).into_iter();
                    let newest = records.filter_map(|it| it.projection.as_deref()).next();
                    differences(
                        &path,
                        &wanted,
                        Some(&newest.map(json).unwrap_or_default()),
                        found,
                    );
                }
                "revisions" => {
                    let revisions: Vec<u32> = self
                        .player
                        .records(cid)
                        .iter()
                        .map(|record| record.revision)
                        .collect();
                    differences(&path, &wanted, Some(&revisions.into()), found);
                }
                "dlg_dead" => {
                    let dead = self.player.dead.get(&cid).copied().unwrap_or(0);
                    differences(&path, &wanted, Some(&dead.into()), found);
                }
                "mix" => {
                    let jobs = self.player.mixes.get(&cid).map_or(0, Vec::len);
                    differences(&path, &wanted, Some(&jobs.into()), found);
                }
                "mix_jobs" => {
                    let newest = self.player.mixes.get(&cid).and_then(|jobs| jobs.last());
                    let newest = newest.map(|job| json(job.as_bytes()));
                    differences(&path, &wanted, newest.as_ref(), found);
                }
                "asked" => {
                    let cid = self.scenario.fill(&"{cid}".into(), call, None);
                    let named = [self.dialog(call), label(&cid)];
                    let probed = self.player.probed.iter();
                    let times = probed.filter(|it| named.contains(&it.dialog)).count();
                    differences(&path, &wanted, Some(&times.into()), found);
                }
                "verdicts" => {
                    let judged = self.player.store.judged(cid);
                    let verdict = judged.map(|(judged, _)| judged.verdict.name().into());
                    differences(&path, &wanted, verdict.as_ref(), found);
                }
                "explains" => {
                    let lines = self
                        .player
                        .store
                        .explain(cid)
                        .unwrap_or_default()
                        .join("\n");
                    for word in wanted.as_array().expect("words") {
                        if !lines.contains(word.as_str().expect("a word")) {
                            found.push(format!("{path}: no {word} in\n{lines}"));
                        }
                    }
                }
                other => panic!("{}: nothing known of {other}", self.title),
            }
        }
    }
}

fn json(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("JSON")
}
