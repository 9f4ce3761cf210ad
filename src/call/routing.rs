//! What routing did with a call: rules, feature codes, redirects, whom it was referred by, how it failed.
//!
//! A step keeps of its event what the table [`told`] names, in that order, so that equal events give equal steps.

use crate::event::{Event, Field, Kind, Value};

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    /// The kind of the event.
    pub kind: Kind,
    /// When, ms since 1970 UTC.
    pub ts: i64,
    /// What it says.
    pub facts: Vec<(Field, Value<'a>)>,
}

/// All steps, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing<'a> {
    steps: Vec<Step<'a>>,
}

/// The fields of a step; empty for events that are none.
pub const fn told(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Invite => &[Field::Urireferedby, Field::Isreferred, Field::Isreplacing],
        Kind::Route => &[
            Field::Routedomain,
            Field::Ruleid,
            Field::Routeaction,
            Field::Vector,
            Field::Routeto,
            Field::Routefrom,
            Field::Account,
        ],
        Kind::RouteFeature => &[
            Field::Featurecodetype,
            Field::Featurecodeid,
            Field::Featurecodeextension,
            Field::Featurenumber,
        ],
        Kind::RouteReferred => &[
            Field::ReferredUri,
            Field::ReferredAcallid,
            Field::ReferredCid,
            Field::ReferredConnectionid,
            Field::ReferredDialogid,
            Field::ReplacesCallid,
        ],
        Kind::RouteFin => &[Field::Routefinaction, Field::Sipcode, Field::Reason],
        Kind::ForkRedirect | Kind::UserRedirect => &[
            Field::Forkcallid,
            Field::Redirectto,
            Field::Redirectnumber,
            Field::Redirectreason,
            Field::Sipcode,
        ],
        _ => &[],
    }
}

impl<'a> Routing<'a> {
    /// Adds one event of the platform.
    pub fn apply(&mut self, event: &Event<'a>) {
        let told = told(event.kind);
        if told.is_empty() || (event.kind == Kind::Invite && !is_referred(event)) {
            return;
        }
        let fact = |&field: &Field| event.get(field).map(|value| (field, value));
        self.steps.push(Step {
            kind: event.kind,
            ts: event.ts,
            facts: told.iter().filter_map(fact).collect(),
        });
    }

    /// All steps, in order.
    pub fn steps(&self) -> &[Step<'a>] {
        &self.steps
    }
}

/// An INVITE is a step of routing only where another call led to it.
fn is_referred(event: &Event<'_>) -> bool {
    let marked = |field| {
        event
            .get(field)
            .is_some_and(|value| value.flag() != Some(false))
    };
    marked(Field::Urireferedby) || marked(Field::Isreferred) || marked(Field::Isreplacing)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn steps_are_kept_in_order_with_what_they_say() {
        let call = call([
            invite(),
            ev(3, Kind::UserRedirect).with(Field::Redirectto, "sip:2@beta.test"),
            ev(1, Kind::Route)
                .with(Field::Routeto, "sip:1@beta.test")
                .with(Field::Ruleid, "r1"),
            ev(2, Kind::RouteFeature).with(Field::Featurecodeid, "*21"),
            ev(4, Kind::ForkStart).fork("f1"),
        ]);
        let kinds: Vec<Kind> = call.routing.steps().iter().map(|step| step.kind).collect();
        assert_eq!(kinds, [Kind::Route, Kind::RouteFeature, Kind::UserRedirect]);
        let facts = [
            (Field::Ruleid, Value::Str("r1")),
            (Field::Routeto, Value::Str("sip:1@beta.test")),
        ];
        assert_eq!(call.routing.steps()[0].facts, facts);
    }

    #[test]
    fn an_invite_is_a_step_only_if_another_call_led_to_it() {
        let plain = invite().with(Field::Isreferred, "false");
        assert!(call([plain]).routing.steps().is_empty());
        let referred = invite().with(Field::Urireferedby, "sip:9@alfa.test");
        assert_eq!(call([referred]).routing.steps().len(), 1);
    }
}
