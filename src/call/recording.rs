//! The recording of a call: which domains want it, and how far it has come.
//!
//! The state only follows from the set of events: moved is more than mixed, mixed more than asked. A mix that failed
//! once has failed until the mixer takes it or the links prove the contrary, however often it is asked for again.

use super::text::Text;
use crate::event::{Event, Field, Kind};

/// How far a recording has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordingState {
    /// Nobody wants one.
    #[default]
    None,
    /// Wanted, not there yet.
    Asked,
    /// Mixed: it can be listened to.
    Mixed,
    /// Moved to the stores of its domains.
    Moved,
    /// The mix was refused.
    Failed,
}

impl RecordingState {
    /// The name in the record.
    pub const fn name(self) -> &'static str {
        match self {
            RecordingState::None => "none",
            RecordingState::Asked => "asked",
            RecordingState::Mixed => "mixed",
            RecordingState::Moved => "moved",
            RecordingState::Failed => "failed",
        }
    }
}

/// What the rule of one domain says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// The domain.
    pub domain: Text<'a>,
    /// Whether it wants a recording.
    pub wanted: bool,
}

/// The recording of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording<'a> {
    /// What each domain wants, in the order in which they said so.
    pub domains: Vec<Wish<'a>>,
    /// Where it can be got: the newest links or keys.
    pub links: Vec<Text<'a>>,
    /// Its size, bytes.
    pub size: Option<i64>,
    recorded: bool,
    mixed: bool,
    moved: bool,
    failed: bool,
    taken: bool,
}

impl<'a> Recording<'a> {
    /// Adds one event, of either class.
    pub fn apply(&mut self, event: &Event<'a>) {
        match event.kind {
            Kind::RecInfo => {
                let domain = Text::field(event, Field::Domain);
                self.wish(domain, event.flag(Field::Isrec));
            }
            Kind::DlgEnd | Kind::DlgStop | Kind::CallRecLinks | Kind::RecordsMoved => {
                self.recorded |= event.flag(Field::IsRec) == Some(true);
                self.wish_of_legs(event);
                self.note_place(event);
            }
            Kind::Mix if matches!(event.str(Field::State), Some("failed" | "refused")) => {
                self.failed = true;
            }
            Kind::Mix if event.str(Field::State) == Some("accepted") => self.taken = true,
            _ => {}
        }
    }

    /// The first word of a domain stands, but "wanted" stands over "not wanted": a call may be recorded from its middle.
    fn wish(&mut self, domain: Option<Text<'a>>, wanted: Option<bool>) {
        let (Some(domain), Some(wanted)) = (domain, wanted) else {
            return;
        };
        match self.domains.iter_mut().find(|wish| wish.domain == domain) {
            Some(wish) => wish.wanted |= wanted,
            None => self.domains.push(Wish { domain, wanted }),
        }
    }

    fn wish_of_legs(&mut self, event: &Event<'a>) {
        let a = Text::field(event, Field::Adomain);
        let b = Text::field(event, Field::Bdomain);
        self.wish(a, event.flag(Field::Aisrec));
        self.wish(b, event.flag(Field::Bisrec));
    }

    fn note_place(&mut self, event: &Event<'a>) {
        match event.kind {
            Kind::CallRecLinks => self.mixed = true,
            Kind::RecordsMoved => self.moved = true,
            _ => return,
        }
        self.size = event.int(Field::Size).or(self.size);
        let of = |link, key| Text::field(event, link).or_else(|| Text::field(event, key));
        let places = [
            Text::field(event, Field::Link),
            of(Field::Alink, Field::Akey),
            of(Field::Blink, Field::Bkey),
        ];
        let mut links: Vec<Text<'a>> = Vec::new();
        for place in places.into_iter().flatten() {
            if !links.contains(&place) {
                links.push(place);
            }
        }
        if !links.is_empty() {
            self.links = links;
        }
    }

    /// How far it has come.
    pub fn state(&self) -> RecordingState {
        let wanted = self.recorded || self.domains.iter().any(|wish| wish.wanted);
        match () {
            () if self.moved => RecordingState::Moved,
            () if self.mixed => RecordingState::Mixed,
            () if self.failed && !self.taken => RecordingState::Failed,
            () if wanted => RecordingState::Asked,
            () => RecordingState::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn rec_info(domain: &str, wanted: bool) -> Event<'_> {
        ev(10, Kind::RecInfo)
            .with(Field::Domain, domain)
            .with(Field::Isrec, wanted)
    }

    fn links<'a>() -> Event<'a> {
        ev(90_000, Kind::CallRecLinks)
            .with(Field::Size, 5_120_i64)
            .with(Field::Link, "rec/1.mp3")
    }

    fn state<'a>(events: impl IntoIterator<Item = Event<'a>>) -> &'static str {
        call(events).recording.state().name()
    }

    #[test]
    fn the_rules_of_two_domains_are_both_kept() {
        let call = call([rec_info("alfa.test", true), rec_info("beta.test", false)]);
        let expected = [
            Wish {
                domain: Text::Str("alfa.test"),
                wanted: true,
            },
            Wish {
                domain: Text::Str("beta.test"),
                wanted: false,
            },
        ];
        assert_eq!(call.recording.domains, expected);
    }

    #[test]
    fn a_recording_goes_from_asked_to_mixed_to_moved() {
        assert_eq!(state([invite()]), "none");
        assert_eq!(state([rec_info("alfa.test", false)]), "none");
        assert_eq!(state([rec_info("alfa.test", true)]), "asked");
        assert_eq!(state([rec_info("alfa.test", true), links()]), "mixed");
        let moved = ev(95_000, Kind::RecordsMoved);
        assert_eq!(state([links(), moved]), "moved");
    }

    #[test]
    fn a_mix_that_failed_has_failed_until_it_is_taken_or_done() {
        let mix = |after, state| ev(after, Kind::Mix).with(Field::State, state);
        let wanted = || rec_info("alfa.test", true);
        assert_eq!(state([wanted(), mix(1, "failed")]), "failed");
        assert_eq!(state([wanted(), mix(1, "asked")]), "asked");
        assert_eq!(
            state([wanted(), mix(1, "failed"), mix(2, "asked")]),
            "failed"
        );
        assert_eq!(
            state([wanted(), mix(1, "failed"), mix(2, "accepted")]),
            "asked"
        );
        assert_eq!(state([wanted(), mix(1, "failed"), links()]), "mixed");
    }

    #[test]
    fn the_links_are_those_of_where_it_lies_now() {
        let moved = ev(95_000, Kind::RecordsMoved)
            .with(Field::Alink, "s3://a/1")
            .with(Field::Bkey, "b/1");
        let call = call([links(), moved]);
        let expected = [Text::Str("s3://a/1"), Text::Str("b/1")];
        assert_eq!(call.recording.links, expected);
        assert_eq!(call.recording.size, Some(5_120));
    }

    #[test]
    fn what_the_legs_want_is_taken_from_the_end_where_no_rule_was_seen() {
        let stop = dlg_stop(9, "bye", "a")
            .with(Field::Adomain, "alfa.test")
            .with(Field::Aisrec, true);
        assert_eq!(state([stop]), "asked");
    }
}
