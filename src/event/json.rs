//! One event from JSON text. Texts are borrowed where they hold no escapes.

use std::fmt::Formatter;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::input::{Arena, Given, Input, MAX_DEPTH, Reject};
use super::{Value, plain};

/// Reads one object into an input that has been cleared.
///
/// # Errors
/// The text is no event.
pub fn read<'a>(object: &'a [u8], arena: &'a Arena, input: &mut Input<'a>) -> Result<(), Reject> {
    if object.trim_ascii_start().first() != Some(&b'{') {
        return Err(Reject::NotAnObject);
    }
    // Checked once as a whole, which is much faster than text by text.
    let object = std::str::from_utf8(object).map_err(|_| Reject::NotUtf8("event".into()))?;
    if plain::read(object, input).is_some() {
        return Ok(());
    }
    input.clear();
    read_any(object, arena, input)
}

/// The same for what may be any JSON.
pub(super) fn read_any<'a>(
    object: &'a str,
    arena: &'a Arena,
    input: &mut Input<'a>,
) -> Result<(), Reject> {
    let mut envelope = Envelope {
        input,
        arena,
        has_data: false,
        failed: None,
    };
    let mut reader = serde_json::Deserializer::from_str(object);
    let read = (&mut reader).deserialize_map(&mut envelope);
    let (has_data, failed) = (envelope.has_data, envelope.failed);
    match (failed, read) {
        (Some(reason), _) => Err(reason),
        (None, Err(error)) => Err(Reject::json(object.as_bytes(), &error)),
        (None, Ok(())) if !has_data => Err(Reject::NoData),
        (None, Ok(())) => Ok(()),
    }
}

/// Reads the envelope and, inside it, `data`.
struct Envelope<'i, 'a> {
    input: &'i mut Input<'a>,
    arena: &'a Arena,
    has_data: bool,
    failed: Option<Reject>,
}

impl<'de> Visitor<'de> for &mut Envelope<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let arena = self.arena;
        while let Some(key) = map.next_key_seed(Key(arena))? {
            if key == "data" {
                let (has_data, failed) = (&mut self.has_data, &mut self.failed);
                map.next_value_seed(Data {
                    input: self.input,
                    arena,
                    has_data,
                    failed,
                })?;
                continue;
            }
            match map.next_value_seed(AnyValue(arena))? {
                Ok(given) => self.input.envelope(key.as_bytes(), given),
                Err(reason) => return stop(&mut self.failed, named(reason, key)),
            }
        }
        Ok(())
    }
}

/// Reads the fields of an event.
struct Data<'i, 'a> {
    input: &'i mut Input<'a>,
    arena: &'a Arena,
    has_data: &'i mut bool,
    failed: &'i mut Option<Reject>,
}

impl<'de> DeserializeSeed<'de> for Data<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Data<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("the fields of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        *self.has_data = true;
        while let Some(key) = map.next_key_seed(Key(self.arena))? {
            let added = match map.next_value_seed(AnyValue(self.arena))? {
                Ok(given) => self.input.field(key.as_bytes(), given),
                Err(reason) => Err(named(reason, key)),
            };
            if let Err(reason) = added {
                return stop(self.failed, reason);
            }
        }
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        stop(self.failed, Reject::NoData)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        stop(self.failed, Reject::NoData)
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        stop(self.failed, Reject::NoData)
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        stop(self.failed, Reject::NoData)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        stop(self.failed, Reject::NoData)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        stop(self.failed, Reject::NoData)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        stop(self.failed, Reject::NoData)
    }
}

/// Ends the reading with a reason of our own.
fn stop<E: serde::de::Error>(failed: &mut Option<Reject>, reason: Reject) -> Result<(), E> {
    *failed = Some(reason);
    Err(E::custom("rejected"))
}

fn named(reason: Reject, key: &str) -> Reject {
    let key = || key.chars().take(64).collect();
    match reason {
        Reject::TooDeep(_) => Reject::TooDeep(key()),
        Reject::BadField(_) => Reject::BadField(key()),
        other => other,
    }
}

/// Reads a key, borrowed where it holds no escapes.
struct Key<'a>(&'a Arena);

impl<'de> DeserializeSeed<'de> for Key<'de> {
    type Value = &'de str;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<&'de str, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'de> {
    type Value = &'de str;

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<&'de str, E> {
        Ok(text)
    }

    fn visit_str<E>(self, text: &str) -> Result<&'de str, E> {
        Ok(self.0.alloc_str(text))
    }
}

/// A value, or why it cannot be one.
type Found<'a> = Result<Given<'a>, Reject>;

/// Reads a value of any type.
struct AnyValue<'a>(&'a Arena);

impl<'de> DeserializeSeed<'de> for AnyValue<'de> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Found<'de>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'de> {
    type Value = Found<'de>;

    fn expecting(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Found<'de>, E> {
        Ok(Ok(None))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Found<'de>, E> {
        Ok(Ok(Some(Value::Bool(truth))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Found<'de>, E> {
        Ok(Ok(Some(Value::Int(number))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Found<'de>, E> {
        let value = i64::try_from(number).map_or(Value::Float(number as f64), Value::Int);
        Ok(Ok(Some(value)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Found<'de>, E> {
        Ok(Ok(Some(Value::Float(number))))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Found<'de>, E> {
        Ok(Ok(Some(Value::Str(text))))
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<'de>, E> {
        Ok(Ok(Some(Value::Str(self.0.alloc_str(text)))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Found<'de>, A::Error> {
        nested(SeqAccessDeserializer::new(seq), self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Found<'de>, A::Error> {
        nested(MapAccessDeserializer::new(map), self.0)
    }
}

/// A list or an object, as compact JSON.
fn nested<'de, D: Deserializer<'de>>(reader: D, arena: &'de Arena) -> Result<Found<'de>, D::Error> {
    let value = serde_json::Value::deserialize(reader)?;
    if depth(&value) > MAX_DEPTH {
        return Ok(Err(Reject::TooDeep(String::new())));
    }
    let json = arena.alloc_str(&value.to_string());
    Ok(Ok(Some(Value::Json(json))))
}

/// How deep lists and objects lie in one another; the reader has bounded it.
fn depth(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::Common;
    use super::super::{Field, Kind};
    use super::*;

    fn one(text: &str) -> Result<(Kind, i64, usize), Reject> {
        let arena = Arena::new();
        let mut input = Input::default();
        read(text.as_bytes(), &arena, &mut input)?;
        let common = Common::default();
        input.take(&common, |taken| {
            (taken.event.kind, taken.event.ts, taken.event.fields.len())
        })
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
        let arena = Arena::new();
        let mut input = Input::default();
        read(text.as_bytes(), &arena, &mut input)?;
        let common = Common::default();
        input.take(&common, |taken| {
            assert_eq!(
                taken.event.get(Field::Relates),
                Some(Value::Json(r#"{"a b":[1,2]}"#))
            );
            assert_eq!(taken.event.type_name(), "x");
        })?;
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
}
