//! Events from JSON text: one object, an array of objects, or one object a line.
//!
//! Texts are borrowed where they hold no escapes. A piece that is no JSON is rejected by its index; reading goes on
//! behind it where its end is known (the next line).

use std::borrow::Cow;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::input::{Given, Input, MAX_DEPTH, Reject};

/// The objects of a text, as slices of it: `(offset, text)`; an error where no object could be cut out.
pub fn objects(text: &[u8]) -> Vec<Result<&[u8], Reject>> {
    let start = text.iter().position(|byte| !byte.is_ascii_whitespace());
    match start.and_then(|at| text.get(at..)) {
        None => Vec::new(),
        Some(rest) if rest.first() == Some(&b'[') => elements(text, rest),
        Some(rest) => lines(text, rest),
    }
}

/// The elements of one array.
fn elements<'a>(text: &'a [u8], array: &'a [u8]) -> Vec<Result<&'a [u8], Reject>> {
    let mut found = Vec::new();
    let offset = |rest: &[u8]| text.len() - rest.len();
    let mut rest = trim(array.get(1..).unwrap_or_default());
    if let Some((b']', after)) = rest.split_first() {
        return tail(text, after, found);
    }
    loop {
        let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        match stream.next() {
            Some(Ok(value)) => found.push(Ok(value.get().as_bytes())),
            _ => {
                found.push(Err(Reject::Json(offset(rest) + stream.byte_offset())));
                return found;
            }
        }
        rest = trim(rest.get(stream.byte_offset()..).unwrap_or_default());
        match rest.split_first() {
            Some((b',', after)) => rest = trim(after),
            Some((b']', after)) => return tail(text, after, found),
            _ => {
                found.push(Err(Reject::Json(offset(rest))));
                return found;
            }
        }
    }
}

/// What comes behind an array is no part of it.
fn tail<'a>(
    text: &'a [u8],
    after: &'a [u8],
    mut found: Vec<Result<&'a [u8], Reject>>,
) -> Vec<Result<&'a [u8], Reject>> {
    let after = trim(after);
    if !after.is_empty() {
        found.push(Err(Reject::Json(text.len() - after.len())));
    }
    found
}

/// Objects one behind the other, mostly one a line.
fn lines<'a>(text: &'a [u8], mut rest: &'a [u8]) -> Vec<Result<&'a [u8], Reject>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        let next = match stream.next() {
            Some(Ok(value)) => {
                found.push(Ok(value.get().as_bytes()));
                stream.byte_offset()
            }
            Some(Err(_)) => {
                found.push(Err(Reject::Json(text.len() - rest.len())));
                let end = rest.iter().position(|&byte| byte == b'\n');
                end.map_or(rest.len(), |end| end + 1)
            }
            None => rest.len(),
        };
        rest = trim(rest.get(next..).unwrap_or_default());
    }
    found
}

fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// Reads one object into an input that has been cleared.
///
/// # Errors
/// The text is no event.
pub fn read<'a>(object: &'a [u8], input: &mut Input<'a>) -> Result<(), Reject> {
    if object.trim_ascii_start().first() != Some(&b'{') {
        return Err(Reject::NotAnObject);
    }
    let mut failed = Ok(());
    let mut has_data = false;
    visit(object, |key, raw| {
        if key != "data" {
            input.envelope(&key, given(raw)?);
            return Ok(());
        }
        has_data = true;
        if !raw.starts_with('{') {
            return Err(Reject::NoData);
        }
        visit(raw.as_bytes(), |key, raw| {
            let given = given(raw).map_err(|reason| named(reason, &key))?;
            input.field(key, given)
        })
    })
    .unwrap_or_else(|reason| failed = Err(reason));
    failed?;
    if has_data {
        Ok(())
    } else {
        Err(Reject::NoData)
    }
}

fn named(reason: Reject, key: &str) -> Reject {
    let key = || key.chars().take(64).collect();
    match reason {
        Reject::TooDeep(_) => Reject::TooDeep(key()),
        Reject::BadField(_) => Reject::BadField(key()),
        other => other,
    }
}

/// Calls `each` with every key and the text of its value.
fn visit<'a>(
    object: &'a [u8],
    each: impl FnMut(Cow<'a, str>, &'a str) -> Result<(), Reject>,
) -> Result<(), Reject> {
    struct Keys<F>(F, Result<(), Reject>);
    impl<'de, F: FnMut(Cow<'de, str>, &'de str) -> Result<(), Reject>> Visitor<'de> for &mut Keys<F> {
        type Value = ();
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(Key(key)) = map.next_key()? {
                let value: &'de RawValue = map.next_value()?;
                if let Err(reason) = (self.0)(key, value.get()) {
                    self.1 = Err(reason);
                    return Err(serde::de::Error::custom("rejected"));
                }
            }
            Ok(())
        }
    }
    let mut keys = Keys(each, Ok(()));
    let mut reader = serde_json::Deserializer::from_slice(object);
    let read = (&mut reader).deserialize_map(&mut keys);
    keys.1?;
    read.map_err(|error| Reject::Json(error.column()))
}

/// A key, borrowed where it holds no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        reader.deserialize_str(Text)
    }
}

/// The value that a piece of JSON stands for.
fn given(raw: &str) -> Result<Given<'_>, Reject> {
    let bad = || Reject::BadField(String::new());
    match raw.as_bytes() {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Ok(Given::Text(Cow::Borrowed(
            raw.get(1..raw.len() - 1).unwrap_or_default(),
        ))),
        [b'"', ..] => serde_json::from_str(raw)
            .map(|text: String| Given::Text(Cow::Owned(text)))
            .map_err(|_| bad()),
        b"true" => Ok(Given::Bool(true)),
        b"false" => Ok(Given::Bool(false)),
        b"null" => Ok(Given::Null),
        [b'{' | b'[', ..] if depth(raw) > MAX_DEPTH => Err(Reject::TooDeep(String::new())),
        [b'{' | b'[', ..] => Ok(Given::Json(compact(raw))),
        _ => match raw.parse() {
            Ok(number) => Ok(Given::Int(number)),
            Err(_) => raw.parse().map(Given::Float).map_err(|_| bad()),
        },
    }
}

/// How deep lists and objects lie in one another.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// JSON without white space between its parts, so that equal values have equal text.
fn compact(json: &str) -> Cow<'_, str> {
    let (mut in_text, mut escaped) = (false, false);
    let mut keep = |byte: char| {
        let was_text = in_text;
        match byte {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ => {}
        }
        was_text || !byte.is_ascii_whitespace()
    };
    if json.bytes().any(|byte| byte.is_ascii_whitespace()) {
        Cow::Owned(json.chars().filter(|&char| keep(char)).collect())
    } else {
        Cow::Borrowed(json)
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::Common;
    use super::super::{Field, Kind, Value};
    use super::*;

    fn one(text: &str) -> Result<(Kind, i64, usize), Reject> {
        let mut input = Input::default();
        read(text.as_bytes(), &mut input)?;
        let common = Common::default();
        let taken = input.take(&common)?;
        Ok((taken.event.kind, taken.event.ts, taken.event.fields.len()))
    }

    const CID: &str = "d12ad6d4-a5b9-5ef6-9b86-25e5e1bce409";

    #[test]
    fn absent_values_are_dropped_and_seconds_become_ms() {
        let text = format!(
            r#"{{"type":"invite","data":{{"cid":"{CID}","eventts":1795378165,"ghost":"empty","urito":null,"account":"","callednum":"5975"}}}}"#
        );
        assert_eq!(one(&text), Ok((Kind::Invite, 1_795_378_165_000, 1)));
    }

    #[test]
    fn nested_values_are_kept_compact() -> Result<(), Reject> {
        let text = format!(
            r#"{{"type":"x","eventts":1795378165279,"data":{{"cid":"{CID}","relates":{{ "a b": [1, 2] }}}}}}"#
        );
        let mut input = Input::default();
        read(text.as_bytes(), &mut input)?;
        let common = Common::default();
        let taken = input.take(&common)?;
        assert_eq!(
            taken.event.get(Field::Relates),
            Some(Value::Json(r#"{"a b":[1,2]}"#))
        );
        assert_eq!(taken.event.type_name(), "x");
        Ok(())
    }

    #[test]
    fn each_fault_has_its_reason() {
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        for (text, kind) in [
            ("[1]".to_owned(), "not_an_object"),
            (r#"{"type":"invite"}"#.to_owned(), "no_data"),
            (r#"{"type":"invite","data":7}"#.to_owned(), "no_data"),
            (
                format!(r#"{{"data":{{"cid":"{CID}","eventts":1795378165279}}}}"#),
                "missing",
            ),
            (
                format!(r#"{{"type":"invite","data":{{"cid":"{CID}"}}}}"#),
                "missing",
            ),
            (
                r#"{"type":"invite","data":{"eventts":1795378165279}}"#.to_owned(),
                "no_identity",
            ),
            (
                r#"{"type":"invite","data":{"cid":"x","eventts":1795378165279}}"#.to_owned(),
                "bad_field",
            ),
            (
                format!(r#"{{"class":"callstore","type":"record","data":{{"cid":"{CID}"}}}}"#),
                "bad_field",
            ),
            (
                format!(r#"{{"type":"invite","data":{{"cid":"{CID}","eventts":5e99}}}}"#),
                "bad_field",
            ),
            (
                format!(r#"{{"type":"invite","data":{{"cid":"{CID}","relates":{deep}}}}}"#),
                "too_deep",
            ),
            (
                format!(
                    r#"{{"type":"invite","data":{{"cid":"{CID}","x":"{}"}}}}"#,
                    "y".repeat(1 << 17)
                ),
                "too_large",
            ),
            (
                r#"{"type":"invite","data":{"cid":}}"#.to_owned(),
                "bad_json",
            ),
        ] {
            assert_eq!(
                one(&text).map_err(|reason| reason.kind()),
                Err(kind),
                "{text:.120}"
            );
        }
    }

    #[test]
    fn a_bad_line_does_not_harm_its_neighbours() {
        let kinds = |text: &str| -> Vec<bool> {
            objects(text.as_bytes()).iter().map(Result::is_ok).collect()
        };
        assert_eq!(
            kinds("{\"a\":1}\n{\"b\":\n{\"c\":3}\n"),
            [true, false, true]
        );
        assert_eq!(kinds("[{\"a\":1},{\"b\":2}"), [true, true, false]);
        assert_eq!(kinds("[{\"a\":1},{\"b\""), [true, false]);
        assert_eq!(kinds("[]"), [false; 0]);
        assert_eq!(kinds("  "), [false; 0]);
        assert_eq!(kinds("{\"a\":1}{\"b\":2}"), [true, true]);
    }
}
