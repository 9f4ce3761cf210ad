//! The two legs of a call: who calls whom, and from where.
//!
//! Facts come in nearly every event; of each the first in order stands, since later events repeat it. What only the
//! winning fork knows is added by [`Legs::settle`] at the end of the fold. Where no event states a number or a domain it
//! is read from the URI that does; what no event holds stays unknown.

use super::forks::Fork;
use super::text::Text;
use crate::event::{Event, Field, Kind, Name, Value};

/// One leg.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leg<'a> {
    /// Username of the subscriber.
    pub username: Option<Text<'a>>,
    /// Number of the subscriber.
    pub number: Option<Text<'a>>,
    /// Number before translation by routing.
    pub original_number: Option<Text<'a>>,
    /// Number after translation by routing.
    pub translated_number: Option<Text<'a>>,
    /// Domain (tenant).
    pub domain: Option<Text<'a>>,
    /// URI of the subscriber's side.
    pub uri: Option<Text<'a>>,
    /// Network address, as the platform wrote it.
    pub address: Option<Text<'a>>,
    /// Network port, where the platform states it apart from the address.
    pub port: Option<u16>,
    /// Account (trunk) of an outer leg.
    pub account: Option<Text<'a>>,
    /// Whether the leg is outside the platform.
    pub outer: Option<bool>,
}

/// Both legs and what names the dialog between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Legs<'a> {
    /// The caller's.
    pub a: Leg<'a>,
    /// The callee's.
    pub b: Leg<'a>,
    /// Call-ID of leg B.
    pub bcallid: Option<Text<'a>>,
    /// Identity of the dialog.
    pub dialogid: Option<Text<'a>>,
    /// Call-ID of the outer leg of a call from outside.
    pub outer_callid: Option<Text<'a>>,
    /// `cid.invitets` where the platform writes something else.
    pub connectionid: Option<Text<'a>>,
    stated: Stated<'a>,
}

/// What is said on the way to an answer and stands in where the answer is not stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stated<'a> {
    adomain: Option<Text<'a>>,
    callednum: Option<Text<'a>>,
    urifrom: Option<Text<'a>>,
    urito: Option<Text<'a>>,
    /// The callee as the caller sees it.
    localuri: Option<Text<'a>>,
    routeto: Option<Text<'a>>,
    routefrom: Option<Text<'a>>,
    fromnum: Option<Text<'a>>,
}

/// Keeps the first.
fn first<'a>(place: &mut Option<Text<'a>>, value: Value<'a>) {
    if place.is_none() {
        *place = Text::of(value);
    }
}

impl<'a> Legs<'a> {
    /// Adds one event of the platform.
    pub fn apply(&mut self, event: &Event<'a>) {
        for &(name, value) in &event.fields {
            if let Name::Known(field) = name {
                self.note(event.kind, field, value);
            }
        }
    }

    fn note(&mut self, kind: Kind, field: Field, value: Value<'a>) {
        let (a, b, stated) = (&mut self.a, &mut self.b, &mut self.stated);
        match field {
            Field::Dialogid => first(&mut self.dialogid, value),
            Field::Bcallid => first(&mut self.bcallid, value),
            Field::Outercallid => first(&mut self.outer_callid, value),
            Field::Connectionid => first(&mut self.connectionid, value),
            Field::Fromusername => first(&mut a.username, value),
            Field::Fromnumber => first(&mut a.number, value),
            Field::Fromdomain => first(&mut a.domain, value),
            Field::Aremoteuri | Field::Remoteuri => first(&mut a.uri, value),
            Field::Fromaddress => first(&mut a.address, value),
            Field::Fromport => a.port = a.port.or_else(|| port(value)),
            Field::Fromouter => a.outer = a.outer.or_else(|| value.flag()),
            Field::Originalnumber => first(&mut a.original_number, value),
            Field::Translatednumber => first(&mut a.translated_number, value),
            // Elsewhere the account is that of the trunk that is rung.
            Field::Account if matches!(kind, Kind::Invite | Kind::DlgCall) => {
                first(&mut a.account, value);
            }
            Field::Busername => first(&mut b.username, value),
            Field::Bnumber => first(&mut b.number, value),
            Field::Bdomain => first(&mut b.domain, value),
            Field::Bremoteuri => first(&mut b.uri, value),
            Field::Baddress => first(&mut b.address, value),
            Field::Bouter | Field::Bfromouter => b.outer = b.outer.or_else(|| value.flag()),
            Field::Boriginalnumber => first(&mut b.original_number, value),
            Field::Btranslatednumber => first(&mut b.translated_number, value),
            Field::Adomain => first(&mut stated.adomain, value),
            Field::Callednum => first(&mut stated.callednum, value),
            Field::Urifrom => first(&mut stated.urifrom, value),
            Field::Urito => first(&mut stated.urito, value),
            Field::Localuri | Field::Alocaluri => first(&mut stated.localuri, value),
            Field::Fromnum => first(&mut stated.fromnum, value),
            // Rules run one after another: the last has the last word.
            Field::Routeto => stated.routeto = Text::of(value).or(stated.routeto),
            Field::Routefrom => stated.routefrom = Text::of(value).or(stated.routefrom),
            _ => {}
        }
    }

    /// Fills what the winning fork, or while none has won the only one, says of leg B, and what the URIs say of both.
    pub fn settle(&mut self, fork: Option<&Fork<'a>>) {
        let stated = self.stated.clone();
        self.settle_a(&stated);
        self.settle_b(&stated, fork);
    }

    fn settle_a(&mut self, stated: &Stated<'a>) {
        let user_of = |uri: Option<Text<'a>>| uri.and_then(Text::user);
        let a = &mut self.a;
        a.number = a
            .number
            .or(stated.fromnum)
            .or_else(|| user_of(a.uri))
            .or_else(|| user_of(stated.urifrom))
            .or(a.username);
        a.original_number = a.original_number.or_else(|| user_of(stated.urifrom));
        a.translated_number = a.translated_number.or_else(|| user_of(stated.routefrom));
        a.domain = a
            .domain
            .or(stated.adomain)
            .or_else(|| a.uri.and_then(Text::domain))
            .or_else(|| stated.urifrom.and_then(Text::domain));
    }

    fn settle_b(&mut self, stated: &Stated<'a>, fork: Option<&Fork<'a>>) {
        let user_of = |uri: Option<Text<'a>>| uri.and_then(Text::user);
        let b = &mut self.b;
        if let Some(fork) = fork {
            b.uri = b.uri.or(fork.uri);
            b.account = b.account.or(fork.account);
            b.outer = b.outer.or(fork.is_outer());
            b.number = b.number.or(fork.callednum);
            b.translated_number = b.translated_number.or(fork.callednum);
            if fork.won {
                self.bcallid = self.bcallid.or(fork.callid);
            }
        }
        b.original_number = b
            .original_number
            .or(stated.callednum)
            .or_else(|| user_of(stated.urito));
        b.translated_number = b.translated_number.or_else(|| user_of(stated.routeto));
        b.number = b
            .number
            .or_else(|| user_of(b.uri))
            .or(stated.callednum)
            .or_else(|| user_of(stated.urito));
        b.domain = b
            .domain
            .or_else(|| b.uri.and_then(Text::domain))
            .or_else(|| fork.and_then(|fork| fork.requesturi.and_then(Text::domain)))
            .or_else(|| stated.localuri.and_then(Text::domain))
            .or_else(|| stated.routeto.and_then(Text::domain));
    }
}

fn port(value: Value<'_>) -> Option<u16> {
    value
        .int()
        .and_then(|port| u16::try_from(port).ok())
        .filter(|&port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn text(text: &str) -> Option<Text<'_>> {
        Some(Text::Str(text))
    }

    #[test]
    fn the_caller_is_who_the_invite_says() {
        let call = call([invite().with(Field::Urifrom, "\"Bob\" <sip:0562@gw.test>")]);
        let a = &call.legs.a;
        assert_eq!(a.username, text("562"));
        assert_eq!(a.domain, text("alfa.test"));
        assert_eq!(a.outer, Some(false));
        assert_eq!(a.original_number, text("0562"));
        assert_eq!(call.legs.b.number, text("5975"));
    }

    #[test]
    fn a_domain_that_no_event_states_is_the_host_of_the_uri() {
        let call = call([
            ev(1, Kind::DlgCall)
                .with(Field::Remoteuri, "sip:1@alfa.test")
                .with(Field::Localuri, "sip:2@beta.test"),
            ev(2, Kind::DlgStart).with(Field::Bremoteuri, "sip:2@10.0.0.9:5060"),
        ]);
        assert_eq!(call.legs.a.domain, text("alfa.test"));
        // The device's address is no domain: the callee's is the one the caller dialled.
        assert_eq!(call.legs.b.domain, text("beta.test"));
        assert_eq!(call.legs.b.uri, text("sip:2@10.0.0.9:5060"));
    }

    #[test]
    fn the_stated_domain_of_b_wins_over_its_uri() {
        let call = call([
            ev(1, Kind::DlgStart).with(Field::Bremoteuri, "sip:2@device.test"),
            dlg_stop(9, "bye", "a").with(Field::Bdomain, "beta.test"),
        ]);
        assert_eq!(call.legs.b.domain, text("beta.test"));
    }

    #[test]
    fn leg_b_is_the_winning_fork() {
        let fork = |after, id, uri, dir| {
            ev(after, Kind::ForkStart)
                .fork(id)
                .with(Field::Forkremoteuri, uri)
                .with(Field::Forkcallednum, "77")
                .with(Field::Forkdir, dir)
        };
        let call = call([
            invite(),
            fork(1, "f1", "sip:1@beta.test", "in"),
            fork(1, "f2", "sip:77@trunk.test", "out").with(Field::Account, "trunk1"),
            dlg_start(5, "f2"),
        ]);
        let b = &call.legs.b;
        assert_eq!(b.uri, text("sip:77@trunk.test"));
        assert_eq!(b.account, text("trunk1"));
        assert_eq!(b.outer, Some(true));
        assert_eq!(b.original_number, text("5975"));
        assert_eq!(b.translated_number, text("77"));
        assert_eq!(call.legs.a.account, None);
        assert_eq!(call.legs.bcallid, text("f2"));
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        let call = call([ev(0, Kind::DlgEnd)]);
        assert_eq!(call.legs, Legs::default());
    }
}
