//! One event from JSON as machines mostly write it: compact, no escapes, no nested values, whole numbers. About three
//! times as fast as a reader of all JSON; what is not plain is left to that one ([`super::json`], the only caller).
//!
//! Always holds: what is read here is what the other reader would have read. Where that is not certain, nothing is said
//! but that the text is not plain.

use super::Value;
use super::input::{Given, Input};

/// Reads one object into an input that has been cleared. `None` where the text is not plain, or is no event: then the
/// input holds nothing of worth.
pub(super) fn read<'a>(object: &'a str, input: &mut Input<'a>) -> Option<()> {
    if !is_plain(object.as_bytes()) {
        return None;
    }
    let mut reader = Reader {
        text: object,
        at: 0,
    };
    let mut has_data = false;
    reader.object(|reader, key| {
        if key == "data" {
            has_data = true;
            return reader.object(|reader, key| {
                let key = key.as_bytes();
                let added = match reader.byte()? {
                    b'"' => input.text(key, reader.string()?),
                    b'0'..=b'9' => input.int(key, reader.number()?),
                    _ => input.field(key, reader.value()?),
                };
                added.ok()
            });
        }
        let given = reader.value()?;
        input.envelope(key.as_bytes(), given);
        Some(())
    })?;
    let is_whole = reader.at == object.len();
    (has_data && is_whole).then_some(())
}

/// Whether there is nothing in the text that a string could hold only escaped, and no escape. One loop without a
/// branch, so that it runs on vectors.
fn is_plain(bytes: &[u8]) -> bool {
    let strange = |byte: &u8| *byte < b' ' || *byte == b'\\';
    !bytes.iter().fold(false, |any, byte| any | strange(byte))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over this byte.
    fn step(&mut self, wanted: u8) -> Option<()> {
        (self.byte()? == wanted).then(|| self.at += 1)
    }

    fn skip_blanks(&mut self) {
        while self.byte() == Some(b' ') {
            self.at += 1;
        }
    }

    /// An object; `each` is told every key and reads the value behind it.
    #[inline]
    fn object(&mut self, mut each: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.step(b'{')?;
        self.skip_blanks();
        if self.byte()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.skip_blanks();
            self.step(b':')?;
            self.skip_blanks();
            each(self, key)?;
            self.skip_blanks();
            match self.byte()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
            self.skip_blanks();
        }
    }

    /// A string: up to the next quote, as there are no escapes.
    #[inline]
    fn string(&mut self) -> Option<&'a str> {
        self.step(b'"')?;
        let start = self.at;
        let length = to_quote(self.text.as_bytes().get(start..)?)?;
        self.at = start + length + 1;
        self.text.get(start..start + length)
    }

    #[inline]
    fn value(&mut self) -> Option<Given<'a>> {
        match self.byte()? {
            b'"' => self.string().map(|text| Some(Value::Str(text))),
            b'0'..=b'9' => self.number().map(|number| Some(Value::Int(number))),
            b't' => self.word("true", Some(Value::Bool(true))),
            b'f' => self.word("false", Some(Value::Bool(false))),
            b'n' => self.word("null", None),
            _ => None,
        }
    }

    fn word(&mut self, word: &str, means: Given<'a>) -> Option<Given<'a>> {
        let rest = self.text.as_bytes().get(self.at..)?;
        rest.starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            means
        })
    }

    /// A whole number of at most 18 digits, that is one which needs no check for its size.
    #[inline]
    fn number(&mut self) -> Option<i64> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let (mut number, mut length) = (0, 0);
        for byte in rest.iter().take(19) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number * 10 + i64::from(digit);
            length += 1;
        }
        let ends = matches!(rest.get(length), Some(b',' | b'}' | b' '));
        let is_padded = length > 1 && rest.first() == Some(&b'0');
        (ends && !is_padded && length < 19).then(|| {
            self.at += length;
            number
        })
    }
}

/// How far it is to the next quote, eight bytes at a time.
#[inline]
fn to_quote(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    let mut passed = 0;
    let mut rest = bytes;
    while let Some((eight, behind)) = rest.split_first_chunk() {
        let unlike = u64::from_le_bytes(*eight) ^ QUOTES;
        // The lowest byte that is zero has its highest bit set, and none below it.
        let found = unlike.wrapping_sub(ONES) & !unlike & (ONES << 7);
        if found != 0 {
            return Some(passed + (found.trailing_zeros() / 8) as usize);
        }
        passed += 8;
        rest = behind;
    }
    let at = rest.iter().position(|&byte| byte == b'"')?;
    Some(passed + at)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::Event;
    use super::super::input::{Arena, Common, Reject};
    use super::super::json;
    use super::*;

    type Outcome = Result<String, Reject>;

    fn taken(input: &mut Input<'_>) -> Outcome {
        let tell = |event: &Event<'_>| format!("{event:?}");
        input.take(&Common::default(), |taken| {
            format!(
                "{:?} {:?} {}",
                taken.head,
                taken.domain(),
                tell(&taken.event)
            )
        })
    }

    /// What the reader of all JSON makes of it.
    fn slowly(text: &str) -> Outcome {
        let (arena, mut input) = (Arena::new(), Input::default());
        json::read_any(text, &arena, &mut input)?;
        taken(&mut input)
    }

    /// The same from here, where the text is plain.
    fn quickly(text: &str) -> Option<Outcome> {
        let mut input = Input::default();
        read(text, &mut input)?;
        Some(taken(&mut input))
    }

    const CID: &str = "d12ad6d4-a5b9-5ef6-9b86-25e5e1bce409";

    #[test]
    fn what_machines_write_is_plain() {
        for text in [
            r#"{"type":"invite","eventts":1795378165279,"data":{"cid":"CID","x":true,"y":null,"ä":"ö"}}"#,
            r#"{ "data" : { "cid" : "CID" , "n" : 0 , "b" : false } , "type":"invite" , "eventts":1795378165279 }"#,
            r#"{"type":"invite","eventts":1795378165279,"data":{},"data":{"cid":"CID"}}"#,
        ] {
            let text = text.replace("CID", CID);
            let event = quickly(&text).unwrap();
            assert!(event.is_ok(), "{text}: {event:?}");
            assert_eq!(event, slowly(&text), "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_other_reader() {
        for value in [
            "-1",
            "1.5",
            "1e3",
            "01",
            "1234567890123456789",
            "1x",
            "[1]",
            "{}",
            r#""a\n""#,
            "\"a\tb\"",
            "tru",
            "\"",
            "",
        ] {
            let text = format!(
                r#"{{"type":"x","eventts":1795378165279,"data":{{"cid":"{CID}","v":{value}}}}}"#
            );
            assert_eq!(quickly(&text), None, "{text}");
        }
        for text in [
            r#"{"type":"x"}"#,
            r#"{"data":{}} x"#,
            r#"{"data":{"a":1,}}"#,
            r#"{"data":7}"#,
            "{}",
            "",
            "x",
        ] {
            assert_eq!(quickly(text), None, "{text}");
        }
    }

    /// Pieces of which texts are made that are nearly events.
    fn piece() -> impl Strategy<Value = String> {
        let words = [
            "{",
            "}",
            ",",
            ":",
            " ",
            "\"",
            "[",
            "]",
            "\\",
            "null",
            "true",
            "false",
            "7",
            "007",
            "-7",
            "7.5",
            "7e2",
            "999999999999999999",
            "9999999999999999999",
            "\"type\":\"invite\"",
            "\"eventts\":1795378165279",
            "\"data\":{",
            "\"cid\":\"d12ad6d4-a5b9-5ef6-9b86-25e5e1bce409\"",
            "\"connectionid\":\"x.1\"",
            "\"acallid\":\"a@b\"",
            "\"invitets\":1795378165279",
            "\"dialogid\":7",
            "\"cid\":\"x\"",
            "\"class\":null",
            "\"domain\":\"d\"",
            "ü",
            "\"x\":\"empty\"",
            "\"x\":\"\"",
            "\"",
            "\t",
            "\u{7f}",
        ];
        prop_oneof![
            4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
            1 => "[ -~]{0,12}",
        ]
    }

    fn text() -> impl Strategy<Value = String> {
        let event = (
            prop::collection::vec(piece(), 0..6),
            prop::collection::vec(piece(), 0..6),
        );
        event.prop_map(|(envelope, data)| {
            let with = |pieces: Vec<String>| -> String {
                pieces.iter().map(|it| format!(",{it}")).collect()
            };
            format!(
                r#"{{"type":"invite","eventts":1795378165279{},"data":{{"cid":"{CID}"{}}}}}"#,
                with(envelope),
                with(data)
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn both_readers_read_the_same(pieces in prop::collection::vec(piece(), 0..12), event in text()) {
            for text in [pieces.concat(), event] {
                if let Some(event) = quickly(&text) {
                    prop_assert_eq!(event, slowly(&text), "{}", text);
                }
            }
        }

        #[test]
        fn a_quote_is_found_wherever_it_is(text in "[ -~ü]{0,40}") {
            let wanted = text.bytes().position(|byte| byte == b'"');
            prop_assert_eq!(to_quote(text.as_bytes()), wanted);
        }
    }
}
