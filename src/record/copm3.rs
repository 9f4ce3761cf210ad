//! The projection of a record: the row of `cdr/COPM3_dialogs`, of calls that reached a conversation.
//!
//! A row states facts only: what is not known is null, never inferred from what looks alike. The host of a URI is not
//! taken for the address of a client.

use std::net::Ipv4Addr;

use super::Out;
use super::cause::Cause;
use super::keys::{flag, int, text};
use crate::call::legs::Leg;
use crate::call::uri::{Uri, split_port};
use crate::call::{Call, Text};

/// SIP, as the collection counts protocols.
const PROTOCOL_SIP: i64 = 5060;

/// Between whom a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallType {
    /// Both legs in one domain.
    Internal = 1,
    /// From outside.
    Incoming = 2,
    /// To outside.
    Outgoing = 3,
    /// From outside to outside.
    Transit = 4,
    /// Between two domains of the platform.
    CrossDomain = 5,
}

impl CallType {
    /// The type of a call; `None` where it is not known which legs are outside, or in which domains they are.
    pub fn of(call: &Call<'_>) -> Option<CallType> {
        let (a, b) = (&call.legs.a, &call.legs.b);
        Some(match (a.outer?, b.outer?) {
            (true, true) => CallType::Transit,
            (true, false) => CallType::Incoming,
            (false, true) => CallType::Outgoing,
            (false, false) if a.domain? == b.domain? => CallType::Internal,
            (false, false) => CallType::CrossDomain,
        })
    }
}

/// Writes the row of a call. `false`, and nothing is written, where there was no conversation or it goes on.
pub fn write(call: &Call<'_>, out: &mut impl Out) -> bool {
    let Some(end) = call.end.filter(|_| call.has_conversed()) else {
        return false;
    };
    let (a, b) = (&call.legs.a, &call.legs.b);
    let (address, port) = client(a);
    let acallid = call.head.acallid.map(Text::Str);
    let cause = Cause::of(call, &end);
    out.begin_object();
    int(out, "begin_time", call.begin());
    int(out, "end_time", end.ts);
    text(out, "client_ipv4", address.map(Text::Str));
    int(out, "client_ip_port", port.map(i64::from));
    int(out, "protocol_code", Some(PROTOCOL_SIP));
    let session_id = match a.outer {
        Some(true) => call.legs.outer_callid,
        _ => acallid,
    };
    text(out, "session_id", session_id);
    let talk_ms = call.durations().talk_ms;
    int(out, "duration", talk_ms.map(|ms| ms / 1_000));
    let call_type = CallType::of(call).map(|call_type| call_type as i64);
    int(out, "call_type_id", call_type);
    text(out, "calling_original_number", a.original_number);
    text(out, "calling_translated_number", a.translated_number);
    text(out, "called_original_number", b.original_number);
    text(out, "called_translated_number", b.translated_number);
    flag(out, "fax", call.media.fax);
    int(out, "term_cause", Some(cause.term_cause.code()));
    text(out, "gateway_ip4", call.media.gateway_ip4);
    text(out, "invite_id", call.head.cid.map(Text::Uuid));
    int(out, "invite_ts", call.head.invitets);
    text(out, "acallid", acallid);
    text(out, "bcallid", call.legs.bcallid);
    out.end_object();
    true
}

/// The address of the caller's device, if it is one of IPv4, and its port.
fn client<'a>(leg: &Leg<'a>) -> (Option<&'a str>, Option<u16>) {
    let Some(address) = leg.address.and_then(Text::as_str) else {
        return (None, leg.port);
    };
    let uri = Uri::parse(address);
    let (host, port) = match uri.host {
        Some(host) => (Some(host), uri.port),
        None => split_port(address),
    };
    let ipv4 = host.filter(|host| host.parse::<Ipv4Addr>().is_ok());
    (ipv4, port.or(leg.port))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::call::testing::*;
    use crate::event::{Event, Field, Kind};
    use crate::record::JsonOut;
    use serde_json::{Value, json};

    fn row(events: impl IntoIterator<Item = Event<'static>>) -> Option<Value> {
        let mut out = JsonOut::default();
        let written = write(&call(events), &mut out);
        assert_eq!(written, !out.as_bytes().is_empty());
        written.then(|| serde_json::from_slice(out.as_bytes()).expect("JSON"))
    }

    fn answered() -> Vec<Event<'static>> {
        vec![
            invite().with(Field::Urifrom, "sip:0562@gw.test"),
            ev(5, Kind::ForkStart)
                .fork("f1")
                .with(Field::Forkdir, "in")
                .with(Field::Forkcallednum, "75")
                .with(Field::Forkremoteuri, "sip:75@alfa.test"),
            dlg_start(1_000, "f1"),
            dlg_end(31_999, "bye", "b"),
        ]
    }

    #[test]
    fn a_conversation_makes_a_row_with_all_keys() {
        let expected = json!({
            "begin_time": T0, "end_time": T0 + 31_999, "client_ipv4": null, "client_ip_port": null,
            "protocol_code": 5060, "session_id": ACALLID, "duration": 30, "call_type_id": 1,
            "calling_original_number": "0562", "calling_translated_number": null,
            "called_original_number": "5975", "called_translated_number": "75",
            "fax": null, "term_cause": 2, "gateway_ip4": null,
            "invite_id": "07070707-0707-0707-0707-070707070707", "invite_ts": T0,
            "acallid": ACALLID, "bcallid": "f1",
        });
        assert_eq!(row(answered()), Some(expected));
    }

    #[test]
    fn calls_that_nobody_answered_or_that_go_on_make_no_row() {
        assert_eq!(row([invite(), dlg_end(9, "cancel", "a")]), None);
        assert_eq!(row([invite(), ev(1, Kind::RouteFin)]), None);
        let [verdict, dead] = death(90, 40);
        assert_eq!(row([invite(), verdict, dead]), None);
        assert_eq!(row([invite(), dlg_start(5, "f1")]), None);
    }

    #[test]
    fn a_dead_conversation_makes_a_row_up_to_its_last_proof_of_life() {
        let [verdict, dead] = death(90_000, 40_000);
        let row = row([invite(), dlg_start(5_000, "f1"), verdict, dead]).expect("a row");
        assert_eq!(row["duration"], 35);
        assert_eq!(row["term_cause"], 1000);
        assert_eq!(row["end_time"], T0 + 40_000);
    }

    #[test]
    fn a_conversation_whose_start_was_lost_has_no_duration() {
        let row = row([dlg_end(30_000, "bye", "b")]).expect("a row");
        assert_eq!(
            (&row["duration"], &row["term_cause"]),
            (&Value::Null, &json!(2))
        );
    }

    #[test]
    fn the_session_of_a_caller_from_outside_is_that_of_the_outer_leg() {
        let outer = |event: Event<'static>| {
            let mut events = answered();
            events[0] = event.with(Field::Fromouter, true);
            row(events).expect("a row")
        };
        let known = outer(ev(0, Kind::Invite).with(Field::Outercallid, "outer@pstn"));
        assert_eq!(known["session_id"], "outer@pstn");
        assert_eq!(outer(ev(0, Kind::Invite))["session_id"], Value::Null);
    }

    #[test]
    fn the_type_follows_from_which_legs_are_outside_and_from_their_domains() {
        let kind = |a: bool, dir: &'static str, bdomain: &'static str| {
            let call = call([
                ev(0, Kind::Invite)
                    .with(Field::Fromouter, a)
                    .with(Field::Fromdomain, "alfa.test"),
                ev(1, Kind::ForkStart).fork("f1").with(Field::Forkdir, dir),
                dlg_start(2, "f1").with(Field::Bdomain, bdomain),
            ]);
            CallType::of(&call)
        };
        assert_eq!(kind(false, "in", "alfa.test"), Some(CallType::Internal));
        assert_eq!(kind(false, "in", "beta.test"), Some(CallType::CrossDomain));
        assert_eq!(kind(true, "in", "alfa.test"), Some(CallType::Incoming));
        assert_eq!(kind(false, "out", "alfa.test"), Some(CallType::Outgoing));
        assert_eq!(kind(true, "out", "alfa.test"), Some(CallType::Transit));
        assert_eq!(kind(false, "?", "alfa.test"), None);
    }

    #[test]
    fn the_address_of_the_client_is_taken_apart() {
        let client_of = |address| {
            let row = row(answered()
                .into_iter()
                .chain([ev(6, Kind::DlgCall).with(Field::Fromaddress, address)]));
            let row = row.expect("a row");
            (row["client_ipv4"].clone(), row["client_ip_port"].clone())
        };
        assert_eq!(client_of("10.0.0.7"), (json!("10.0.0.7"), Value::Null));
        assert_eq!(client_of("10.0.0.7:5070"), (json!("10.0.0.7"), json!(5070)));
        assert_eq!(
            client_of("sip:10.0.0.7:5070"),
            (json!("10.0.0.7"), json!(5070))
        );
        assert_eq!(client_of("[2001:db8::7]:5070"), (Value::Null, json!(5070)));
        assert_eq!(client_of("phone.test:5070"), (Value::Null, json!(5070)));
    }
}
