//! The steps that are evidence: what a monitor, a probe or a report says.

use callstore::watch::evidence::Stream;
use callstore::watch::{Answer as Probed, Evidence};
use serde_json::Value;

use super::super::format::label;
use super::{Run, packed_owner};

impl Run<'_> {
    /// What a monitor, a probe or a report says.
    pub(super) fn see(&mut self, kind: &str, step: &Value) {
        let text = |key: &str| step[key].as_str().expect("a text");
        match kind {
            "owner_down" => {
                let owner = &packed_owner(text("owner_down"));
                let reason = text("reason");
                self.player.see(&Evidence::OwnerDown { owner, reason });
            }
            "node_down" => {
                let node = text("node_down");
                self.player.see(&Evidence::NodeDown { node });
            }
            "node_up" => {
                let node = text("node_up");
                self.player.see(&Evidence::NodeUp { node });
            }
            "probe" => {
                for (call, answer) in step["probe"].as_object().expect("answers by call") {
                    let answer = match answer.as_str() {
                        Some("alive") => Probed::Alive,
                        Some("gone") => Probed::Gone,
                        Some("unknown") => Probed::Unknown,
                        _ => panic!("{}: no answer {answer}", self.title),
                    };
                    self.player.probes.insert(self.dialog(call), answer);
                }
            }
            "rescue" => {
                for (call, owner) in step["rescue"].as_object().expect("owners by call") {
                    let owner = packed_owner(owner.as_str().expect("an owner"));
                    self.player.rescues.insert(self.dialog(call), owner);
                }
            }
            _ => {
                for report in step["report"].as_array().expect("reports") {
                    self.report(report);
                }
            }
        }
    }

    fn report(&mut self, report: &Value) {
        let dialog = || self.dialog(&label(&report["call"]));
        let probed = |answer| {
            let dialog = dialog();
            (dialog, answer)
        };
        let (dialog, answer) = match report["kind"].as_str() {
            Some("alive") => probed(Probed::Alive),
            Some("gone") => probed(Probed::Gone),
            Some("rtp") => {
                let now_at = self.player.now_ms - self.scenario.base;
                let last_at = report["last_at"].as_i64().unwrap_or(now_at);
                let dialog = dialog();
                let seen = Evidence::Rtp {
                    stream: Stream::Dialog(&dialog),
                    last_ms: self.scenario.base + last_at,
                    active: report["active"].as_bool().expect("active"),
                };
                return self.player.see(&seen);
            }
            Some("inventory") => {
                let owner = &packed_owner(report["owner"].as_str().expect("an owner"));
                let calls = report["calls"].as_array().expect("calls").iter();
                let dialogs: Vec<String> = calls.map(|call| self.dialog(&label(call))).collect();
                let dialogs = Some(dialogs.iter().map(String::as_str).collect());
                return self.player.see(&Evidence::Inventory { owner, dialogs });
            }
            _ => panic!("{}: no report {report}", self.title),
        };
        let dialog = dialog.as_str();
        self.player.see(&Evidence::Probe { dialog, answer });
    }
}
