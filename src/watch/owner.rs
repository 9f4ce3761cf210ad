//! What can be known of an owner by its text form: what kind of thing it is, and on which node.
//!
//! The forms are those of `era_callstore_owner`: `pid:` and the external term format in base64, `name:Name Node`,
//! `node:Node`, `external:Id`. Used for the weighing of evidence and for the brakes. Must never: fail on a text that is
//! none of these; such an owner is one that nobody can monitor.

use std::borrow::Cow;

/// The kinds of owners, by what can be seen of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// Nobody was named.
    #[default]
    Unknown,
    /// A process: it is monitored, and it serves this dialog only.
    Process,
    /// A named process or a node: it is monitored, and it serves many dialogs.
    Shared,
    /// Outside of Erlang: it can be asked only.
    External,
}

impl Server {
    /// The kind of this owner.
    pub fn of(owner: Option<&str>) -> Server {
        match owner {
            None => Server::Unknown,
            Some(text) if text.starts_with("pid:") => Server::Process,
            Some(text) if text.starts_with("name:") || text.starts_with("node:") => Server::Shared,
            Some(_) => Server::External,
        }
    }

    /// Whether its death shows by itself.
    pub fn is_monitored(self) -> bool {
        matches!(self, Server::Process | Server::Shared)
    }
}

/// Whether a text of a call may be an owner, by its form.
pub fn is_owner(text: &str) -> bool {
    ["pid:", "name:", "node:", "external:"]
        .iter()
        .any(|form| text.starts_with(form))
}

/// The node of an owner; `None` for one outside of Erlang.
pub fn node_of(owner: &str) -> Option<Cow<'_, str>> {
    if let Some(named) = owner.strip_prefix("name:") {
        return Some(Cow::Borrowed(named.split_once(' ')?.1));
    }
    if let Some(node) = owner.strip_prefix("node:") {
        return Some(Cow::Borrowed(node));
    }
    node_of_pid(&pid_bytes(owner)?).map(|node| Cow::Owned(node.to_owned()))
}

/// A pid in the external term format; `None` for another owner.
pub fn pid_bytes(owner: &str) -> Option<Vec<u8>> {
    base64(owner.strip_prefix("pid:")?)
}

/// Who brakes are counted for: all owners of a node together, each owner outside of Erlang by itself.
pub fn brake_key(owner: Option<&str>) -> Cow<'_, str> {
    let Some(owner) = owner else {
        return Cow::Borrowed("");
    };
    node_of(owner).unwrap_or(Cow::Borrowed(owner))
}

/// The node in a pid in the external term format: `131 │ 88 NEW_PID_EXT or 103 PID_EXT │ atom │ …`, the atom one of
/// `119 SMALL_ATOM_UTF8_EXT length u8`, `118 ATOM_UTF8_EXT` and `100 ATOM_EXT length u16`, `115 SMALL_ATOM_EXT length u8`.
fn node_of_pid(term: &[u8]) -> Option<&str> {
    let rest = match term {
        [131, 88 | 103, rest @ ..] => rest,
        _ => return None,
    };
    let name = match rest {
        [119 | 115, length, rest @ ..] => rest.get(..usize::from(*length)),
        [118 | 100, high, low, rest @ ..] => {
            rest.get(..usize::from(u16::from_be_bytes([*high, *low])))
        }
        _ => None,
    };
    std::str::from_utf8(name?).ok()
}

/// The bytes of a base64 text, RFC 4648 §4.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_of_every_form_is_known() {
        // term_to_binary(<10.5.0>) of a node named b2b@h1, OTP 25.
        let pid = "pid:g1h3BmIyYkBoMQAAAAoAAAAFY1nm1w==";
        assert_eq!(node_of(pid).as_deref(), Some("b2b@h1"));
        assert_eq!(node_of("name:server b2b@h1").as_deref(), Some("b2b@h1"));
        assert_eq!(node_of("node:b2b@h1").as_deref(), Some("b2b@h1"));
        for other in ["external:gw7", "pid:!", "pid:AAAA", "name:alone", ""] {
            assert_eq!(node_of(other), None);
        }
        assert_eq!(brake_key(Some("external:gw7")), "external:gw7");
        assert_eq!(brake_key(Some(pid)), "b2b@h1");
    }

    #[test]
    fn only_what_erlang_monitors_is_monitored() {
        let monitored = |owner| Server::of(owner).is_monitored();
        assert!(monitored(Some("pid:g1h3")) && monitored(Some("node:n@h")));
        assert!(!monitored(Some("external:gw7")) && !monitored(None));
    }
}
