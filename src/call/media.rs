//! Where the media of a call went: the gateway and its context, and how often it had to move.

use super::text::Text;
use crate::event::{Event, Field, Kind, Name};

/// A move to another media gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration<'a> {
    /// When, ms since 1970 UTC.
    pub ts: i64,
    /// Media gateway controller group before.
    pub from_mgcgroup: Option<Text<'a>>,
    /// Media context before.
    pub from_mgctxid: Option<Text<'a>>,
    /// Media gateway controller group after.
    pub to_mgcgroup: Option<Text<'a>>,
    /// Media context after.
    pub to_mgctxid: Option<Text<'a>>,
}

/// The media of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media<'a> {
    /// Media gateway controller group, the latest.
    pub mgcgroup: Option<Text<'a>>,
    /// Media context, the latest.
    pub mgctxid: Option<Text<'a>>,
    /// Moves, in order.
    pub migrations: Vec<Migration<'a>>,
    /// Whether it was a fax.
    pub fax: Option<bool>,
    /// IPv4 address of the gateway.
    pub gateway_ip4: Option<Text<'a>>,
}

impl<'a> Media<'a> {
    /// Adds one event of the platform.
    pub fn apply(&mut self, event: &Event<'a>) {
        if event.kind == Kind::MediaMigrate {
            self.migrations.push(Migration {
                ts: event.ts,
                from_mgcgroup: Text::field(event, Field::MgcgroupOld).or(self.mgcgroup),
                from_mgctxid: Text::field(event, Field::MgctxidOld).or(self.mgctxid),
                to_mgcgroup: Text::field(event, Field::Mgcgroup),
                to_mgctxid: Text::field(event, Field::Mgctxid),
            });
        }
        for &(name, value) in &event.fields {
            let Name::Known(field) = name else { continue };
            match field {
                Field::Mgcgroup => self.mgcgroup = Text::of(value).or(self.mgcgroup),
                Field::Mgctxid => self.mgctxid = Text::of(value).or(self.mgctxid),
                Field::Fax => self.fax = value.flag().or(self.fax),
                Field::Gatewayip4 => self.gateway_ip4 = Text::of(value).or(self.gateway_ip4),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_migration_is_noted_and_the_new_context_stands() {
        let call = call([
            dlg_start(5, "f1")
                .with(Field::Mgcgroup, 11_213_i64)
                .with(Field::Mgctxid, "ctx1"),
            ev(9, Kind::MediaMigrate)
                .with(Field::Mgcgroup, 11_214_i64)
                .with(Field::Mgctxid, "ctx2"),
            dlg_end(60, "bye", "a").with(Field::Mgctxid, "ctx2"),
        ]);
        assert_eq!(call.media.mgctxid, Some(Text::Str("ctx2")));
        assert_eq!(call.media.mgcgroup, Some(Text::Int(11_214)));
        let moved = Migration {
            ts: T0 + 9,
            from_mgcgroup: Some(Text::Int(11_213)),
            from_mgctxid: Some(Text::Str("ctx1")),
            to_mgcgroup: Some(Text::Int(11_214)),
            to_mgctxid: Some(Text::Str("ctx2")),
        };
        assert_eq!(call.media.migrations, [moved]);
        assert_eq!(call.durations().talk_ms, Some(55));
    }
}
