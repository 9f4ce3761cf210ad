//! The labels of a call: attached and removed while it lasts, thousands of times if need be.
//!
//! Changes are kept as they come and resolved when the labels are asked for, so that each costs the same.

use super::text::Text;
use crate::event::{Event, Field, Kind};

/// All changes of labels, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings<'a> {
    changes: Vec<(Text<'a>, bool)>,
}

impl<'a> Bindings<'a> {
    /// Adds one event of the platform. A label without a mark of set or removed is attached.
    pub fn apply(&mut self, event: &Event<'a>) {
        if event.kind != Kind::DlgBinding {
            return;
        }
        if let Some(label) = Text::field(event, Field::Dlgbinding) {
            let attached = event.flag(Field::Dlgbindingset) != Some(false);
            self.changes.push((label, attached));
        }
    }

    /// The labels that are attached, sorted.
    pub fn labels(&self) -> impl Iterator<Item = Text<'a>> {
        let mut changes = self.changes.clone();
        // Stable: of one label, the last change stays last.
        changes.sort_by_key(|&(label, _)| label);
        let mut changes = changes.into_iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let (label, attached) = changes.next()?;
                let is_last = changes.peek().is_none_or(|&(next, _)| next != label);
                if is_last && attached {
                    return Some(label);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn label(after: i64, label: &str, set: bool) -> Event<'_> {
        ev(after, Kind::DlgBinding)
            .with(Field::Dlgbinding, label)
            .with(Field::Dlgbindingset, set)
    }

    #[test]
    fn the_last_change_of_a_label_counts() {
        let call = call([
            label(1, "vip", true),
            label(2, "queue7", true),
            label(3, "vip", false),
            label(4, "abc", false),
            label(5, "queue7", true),
            label(6, "vip2", false),
            label(7, "vip2", true),
        ]);
        let expected = [Text::Str("queue7"), Text::Str("vip2")];
        assert_eq!(call.bindings.labels().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_label_without_a_mark_is_attached() {
        let call = call([ev(1, Kind::DlgBinding).with(Field::Dlgbinding, "vip")]);
        assert!(call.bindings.labels().eq(["vip"]));
    }

    #[test]
    fn fifty_thousand_changes_are_resolved_at_once() {
        let names: Vec<String> = (0..25_000).map(|n| format!("label{n}")).collect();
        let on = names.iter().map(|name| label(1, name, true));
        let off = names.iter().skip(1).map(|name| label(2, name, false));
        let call = call(on.chain(off));
        assert!(call.bindings.labels().eq(["label0"]));
    }
}
