//! Reading of SIP and tel URIs, as far as a call needs them: who and where (RFC 3261 §19.1, RFC 3966).
//!
//! Borrowed and total: any text gives an answer, what is not there is `None`. Nothing is unescaped or folded in case,
//! so that what goes into a record is what was on the wire. Called by the legs and by the projection.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The parts of a URI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uri<'a> {
    /// `sip`, `sips`, `tel`; `None` where none was written.
    pub scheme: Option<&'a str>,
    /// User part without password and parameters; of a `tel:` URI, its number.
    pub user: Option<&'a str>,
    /// Host without port; an IPv6 address without its brackets.
    pub host: Option<&'a str>,
    /// Port, where it was written.
    pub port: Option<u16>,
}

impl<'a> Uri<'a> {
    /// Reads a bare URI or a name-addr: `sip:user@host:port;params`, `"name" <sip:…>`, `tel:+7…`, `user@host`, `user`.
    pub fn parse(text: &'a str) -> Self {
        let bare = bracketed(text).unwrap_or(text).trim();
        let (scheme, rest) = split_scheme(bare);
        if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("tel")) {
            let user = some(until(rest, &[';', '?']));
            return Uri {
                scheme,
                user,
                ..Uri::default()
            };
        }
        // The user part may hold ";" and "?" but no bare "@" (RFC 3261 §25.1).
        let (user, place) = match rest.split_once('@') {
            Some((user, place)) => (some(until(user, &[':', ';'])), place),
            None if scheme.is_none() => (some(until(rest, &[';', '?'])), ""),
            None => (None, rest),
        };
        let (host, port) = split_port(until(place, &[';', '?', '/']));
        Uri {
            scheme,
            user,
            host,
            port,
        }
    }
}

/// Whether a host is an address and not a name.
pub fn is_ip(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok()
}

/// Splits `host`, `host:port`, `[v6]`, `[v6]:port` and a bare IPv6 address.
pub fn split_port(place: &str) -> (Option<&str>, Option<u16>) {
    if let Some((host, rest)) = place
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return (some(host), rest.strip_prefix(':').and_then(port));
    }
    match place.split_once(':') {
        Some((host, number)) if !number.contains(':') => (some(host), port(number)),
        _ => (some(place), None),
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port != 0)
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn until<'a>(text: &'a str, stops: &[char]) -> &'a str {
    text.split_once(stops).map_or(text, |(before, _)| before)
}

/// What stands between angle brackets, a quoted display name passed over.
fn bracketed(text: &str) -> Option<&str> {
    let text = text.trim_start();
    let after_name = match text.strip_prefix('"') {
        Some(quoted) => after_quote(quoted)?,
        None => text,
    };
    let (_, inside) = after_name.split_once('<')?;
    Some(until(inside, &['>']))
}

fn after_quote(quoted: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return quoted.get(at + 1..),
            _ => {}
        }
    }
    None
}

/// Splits off the scheme: only the known ones, since `host:port` looks like one too.
fn split_scheme(text: &str) -> (Option<&str>, &str) {
    match text.split_once(':') {
        Some((scheme, rest))
            if ["sip", "sips", "tel"]
                .iter()
                .any(|known| scheme.eq_ignore_ascii_case(known)) =>
        {
            (Some(scheme), rest)
        }
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (Option<&'static str>, Option<&'static str>, Option<u16>);

    fn parts(text: &'static str) -> Parts {
        let uri = Uri::parse(text);
        (uri.user, uri.host, uri.port)
    }

    #[test]
    fn sip_uris_give_user_host_and_port() {
        let cases: [(&str, Parts); 9] = [
            ("sip:562@era.test", (Some("562"), Some("era.test"), None)),
            (
                "sips:562@era.test:5061;transport=tls?subject=x",
                (Some("562"), Some("era.test"), Some(5061)),
            ),
            (
                "SIP:bob:secret@h:5070",
                (Some("bob"), Some("h"), Some(5070)),
            ),
            (
                "sip:+7495;isub=1@gw.test",
                (Some("+7495"), Some("gw.test"), None),
            ),
            ("sip:10.0.0.1:5080", (None, Some("10.0.0.1"), Some(5080))),
            (
                "sip:1@[2001:db8::1]:5062",
                (Some("1"), Some("2001:db8::1"), Some(5062)),
            ),
            ("sip:1@h:99999", (Some("1"), Some("h"), None)),
            ("562@era.test", (Some("562"), Some("era.test"), None)),
            ("562", (Some("562"), None, None)),
        ];
        for (text, expected) in cases {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_display_name_is_passed_over_even_if_it_looks_like_a_uri() {
        let expected = (Some("1"), Some("h"), None);
        assert_eq!(parts("Bob <sip:1@h>;tag=ab"), expected);
        assert_eq!(
            parts(r#""Bob <sip:9@evil> \" <" <sip:1@h;ob>;tag=1"#),
            expected
        );
        assert_eq!(parts("<sip:1@h>"), expected);
    }

    #[test]
    fn a_tel_uri_has_a_number_and_no_host() {
        assert_eq!(
            parts("tel:+74951234567;phone-context=era.test"),
            (Some("+74951234567"), None, None)
        );
    }

    #[test]
    fn any_text_is_read_without_failure() {
        for text in [
            "",
            "sip:",
            "@",
            "<",
            "\"",
            "\"<sip:1@h>",
            "sip:@:",
            "[",
            "[]:",
            "sip:é@ü:1",
        ] {
            let _ = Uri::parse(text);
        }
        assert_eq!(parts(""), (None, None, None));
        assert_eq!(parts("sip:@:"), (None, None, None));
    }

    #[test]
    fn addresses_are_told_from_names() {
        assert!(is_ip("127.0.0.1") && is_ip("::1"));
        assert!(!is_ip("era.test") && !is_ip("1.2.3") && !is_ip("562"));
    }
}
