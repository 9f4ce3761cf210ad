//! Other calls that a call has to do with: transfers it made, dialogs it replaced or was replaced by, the call it
//! results from, the interception that ended its ringing.
//!
//! A transfer is one link from its REFER to its result: the event that names the resulting call, or the failure,
//! completes the link that the REFER began and gives it its time.

use super::life::Side;
use super::text::Text;
use crate::event::value::lenient_uuid;
use crate::event::{Event, Field, Kind};

/// What a call has to do with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A side of this call transferred the other.
    Transfer,
    /// One of the two replaces the other.
    Replaces,
    /// This call results from a transfer in the other.
    Referred,
    /// Another subscriber intercepted this call.
    Pickup,
    /// The platform names them together.
    Relates,
}

impl LinkKind {
    /// The name in the record.
    pub const fn name(self) -> &'static str {
        match self {
            LinkKind::Transfer => "transfer",
            LinkKind::Replaces => "replaces",
            LinkKind::Referred => "referred",
            LinkKind::Pickup => "pickup",
            LinkKind::Relates => "relates",
        }
    }
}

/// A link to another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// What they have to do with each other.
    pub kind: LinkKind,
    /// The other call.
    pub cid: Option<Text<'a>>,
    /// Call-ID of the other call's leg A, or of the leg that is named.
    pub acallid: Option<Text<'a>>,
    /// When, ms since 1970 UTC.
    pub ts: i64,
    /// The side that transferred, or whose leg is replaced.
    pub side: Option<Side>,
    /// Where a transfer leads to.
    pub target: Option<Text<'a>>,
    /// Whether a transfer failed.
    pub aborted: bool,
}

/// All links, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links<'a> {
    links: Vec<Link<'a>>,
}

/// Where events hold the identity of another call: its `cid`; its Call-ID or that of one of its legs.
type Place = (Field, &'static [Field]);
const REFERRED: Place = (Field::ReferredCid, &[Field::ReferredAcallid]);
const REFERRING: Place = (Field::ReferringCid, &[Field::ReferringAcallid]);
const REPLACES: Place = (
    Field::ReplacesCid,
    &[Field::ReplacesAcallid, Field::ReplacesCallid],
);
/// Beside the identity of the set itself, which is not in its events.
const OTHER: Place = (Field::Cid, &[Field::Acallid]);
/// The interceptor's call, or at least its leg.
const INTERCEPTOR: Place = (Field::Cid, &[Field::Acallid, Field::Forkcallid]);

impl<'a> Link<'a> {
    fn of(event: &Event<'a>, kind: LinkKind) -> Self {
        Link {
            kind,
            cid: None,
            acallid: None,
            ts: event.ts,
            side: event.str(Field::Side).and_then(Side::of_name),
            target: None,
            aborted: false,
        }
    }

    /// The link to the first place that names a call.
    fn to(mut self, event: &Event<'a>, places: &[Place]) -> Self {
        for &(cid, callids) in places {
            if !self.names_a_call() {
                self.cid = Text::field(event, cid);
                self.acallid = (callids.iter()).find_map(|&callid| Text::field(event, callid));
            }
        }
        self
    }

    fn names_a_call(&self) -> bool {
        self.cid.is_some() || self.acallid.is_some()
    }

    fn is_open_transfer(&self, side: Option<Side>) -> bool {
        let same_side = self.side.is_none() || side.is_none() || self.side == side;
        self.kind == LinkKind::Transfer && !self.names_a_call() && !self.aborted && same_side
    }
}

impl<'a> Links<'a> {
    /// Adds one event of the platform.
    pub fn apply(&mut self, event: &Event<'a>) {
        let of = |kind, places: &[Place]| Link::of(event, kind).to(event, places);
        match event.kind {
            Kind::Refer => self.links.push(Link {
                target: Text::field(event, Field::Referto),
                ..Link::of(event, LinkKind::Transfer)
            }),
            Kind::ReferAborted => self.abort(Link::of(event, LinkKind::Transfer)),
            Kind::ReferringInvite => {
                self.complete(of(LinkKind::Transfer, &[REFERRING, REFERRED, OTHER]));
            }
            Kind::RouteReferred => {
                self.add(of(LinkKind::Referred, &[REFERRED, OTHER]));
                self.add_named(of(LinkKind::Replaces, &[REPLACES]));
            }
            Kind::ReplacesRefer | Kind::ReplacesInvite => {
                let places = [REPLACES, REFERRING, REFERRED, OTHER];
                self.add(of(LinkKind::Replaces, &places));
            }
            Kind::DlgPickup => self.add(of(LinkKind::Pickup, &[INTERCEPTOR])),
            _ => {}
        }
        if let Some(other) = Text::field(event, Field::Relates) {
            self.relate(other, Link::of(event, LinkKind::Relates));
        }
    }

    fn add(&mut self, link: Link<'a>) {
        let same = |known: &Link<'_>| {
            (known.kind, known.cid, known.acallid) == (link.kind, link.cid, link.acallid)
        };
        if !(link.names_a_call() && self.links.iter().any(same)) {
            self.links.push(link);
        }
    }

    fn add_named(&mut self, link: Link<'a>) {
        if link.names_a_call() {
            self.add(link);
        }
    }

    /// What is related is named by its `cid`, or else by a Call-ID.
    fn relate(&mut self, other: Text<'a>, link: Link<'a>) {
        let is_cid = other.with(|text| lenient_uuid(text.as_bytes()).is_some());
        self.add(match is_cid {
            true => Link {
                cid: Some(other),
                ..link
            },
            false => Link {
                acallid: Some(other),
                ..link
            },
        });
    }

    fn open_transfer(&mut self, side: Option<Side>) -> Option<&mut Link<'a>> {
        self.links
            .iter_mut()
            .rev()
            .find(|link| link.is_open_transfer(side))
    }

    fn complete(&mut self, result: Link<'a>) {
        match self.open_transfer(result.side) {
            Some(open) => {
                (open.cid, open.acallid, open.ts) = (result.cid, result.acallid, result.ts);
            }
            None => self.add(result),
        }
    }

    fn abort(&mut self, failure: Link<'a>) {
        match self.open_transfer(failure.side) {
            Some(open) => (open.aborted, open.ts) = (true, failure.ts),
            None => self.links.push(Link {
                aborted: true,
                ..failure
            }),
        }
    }

    /// All links, in order.
    pub fn all(&self) -> &[Link<'a>] {
        &self.links
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn text(text: &str) -> Option<Text<'_>> {
        Some(Text::Str(text))
    }

    fn refer<'a>(after: i64) -> Event<'a> {
        ev(after, Kind::Refer)
            .with(Field::Side, "a")
            .with(Field::Referto, "sip:3@beta.test")
    }

    #[test]
    fn a_transfer_is_one_link_that_names_the_resulting_call() {
        let result = ev(9, Kind::ReferringInvite)
            .with(Field::Side, "a")
            .with(Field::ReferringCid, "c2")
            .with(Field::ReferringAcallid, "x@y");
        let call = call([dlg_start(1, "f1"), refer(5), result]);
        let [link] = call.links.all() else {
            panic!("one link, not {:?}", call.links)
        };
        assert_eq!((link.kind, link.ts), (LinkKind::Transfer, T0 + 9));
        assert_eq!((link.cid, link.acallid), (text("c2"), text("x@y")));
        assert_eq!(
            (link.target, link.side),
            (text("sip:3@beta.test"), Some(Side::A))
        );
    }

    #[test]
    fn an_aborted_transfer_is_kept_and_the_dialog_goes_on() {
        let aborted = ev(7, Kind::ReferAborted).with(Field::Sipcode, 486_i64);
        let call = call([dlg_start(1, "f1"), refer(5), aborted, refer(9)]);
        let aborted: Vec<bool> = call.links.all().iter().map(|link| link.aborted).collect();
        assert_eq!(aborted, [true, false]);
        assert_eq!(call.end, None);
    }

    #[test]
    fn a_call_that_results_from_a_transfer_names_whence_it_comes_and_what_it_replaces() {
        let call = call([
            invite(),
            ev(1, Kind::RouteReferred)
                .with(Field::ReferredCid, "c1")
                .with(Field::ReferredAcallid, "a1")
                .with(Field::ReplacesCallid, "leg2"),
        ]);
        let links: Vec<_> = (call.links.all().iter())
            .map(|link| (link.kind, link.cid, link.acallid))
            .collect();
        let expected = [
            (LinkKind::Referred, text("c1"), text("a1")),
            (LinkKind::Replaces, None, text("leg2")),
        ];
        assert_eq!(links, expected);
    }

    #[test]
    fn a_replaced_dialog_names_the_call_that_replaces_it() {
        let call = call([ev(5, Kind::ReplacesRefer)
            .with(Field::Side, "b")
            .with(Field::ReplacesCid, "c3")]);
        let link = call.links.all()[0];
        assert_eq!((link.kind, link.cid), (LinkKind::Replaces, text("c3")));
        assert_eq!(link.side, Some(Side::B));
    }

    #[test]
    fn a_pickup_names_the_leg_of_the_interceptor() {
        let call = call([ev(5, Kind::DlgPickup).fork("pick@x")]);
        let link = call.links.all()[0];
        assert_eq!(
            (link.kind, link.acallid),
            (LinkKind::Pickup, text("pick@x"))
        );
    }

    #[test]
    fn what_is_related_is_named_once_however_often_it_is_said() {
        let relates = "9a250698-f04a-5f13-b444-b51a205fa0cf";
        let said = |after, kind| ev(after, kind).with(Field::Relates, relates);
        let call = call([said(1, Kind::DlgInit), said(2, Kind::DlgStart)]);
        let [link] = call.links.all() else {
            panic!("one link, not {:?}", call.links)
        };
        assert_eq!((link.kind, link.cid), (LinkKind::Relates, text(relates)));
    }
}
