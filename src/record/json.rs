//! The record as JSON text (RFC 8259), compact, written straight into bytes.

use super::Out;

/// Writes JSON. Several values one after another are separated by commas, as inside an array; [`JsonOut::into_bytes`]
/// gives the text, [`JsonOut::clear`] begins anew in the same memory.
#[derive(Clone, Debug, Default)]
pub struct JsonOut {
    text: Vec<u8>,
    /// Whether a value stands before the place of writing, in the same object or array.
    after_value: bool,
}

impl JsonOut {
    /// Nothing written yet, and room for so much.
    pub fn with_room(bytes: usize) -> Self {
        JsonOut {
            text: Vec::with_capacity(bytes),
            after_value: false,
        }
    }

    /// The text.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text
    }

    /// The text, where it lies.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Forgets the text and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.after_value = false;
    }

    fn separate(&mut self) {
        if self.after_value {
            self.text.push(b',');
        }
    }

    fn begin(&mut self, bracket: u8) {
        self.separate();
        self.text.push(bracket);
        self.after_value = false;
    }

    fn end(&mut self, bracket: u8) {
        self.text.push(bracket);
        self.after_value = true;
    }

    fn verbatim(&mut self, text: &[u8]) {
        self.separate();
        self.text.extend_from_slice(text);
        self.after_value = true;
    }

    fn quoted(&mut self, text: &str) {
        self.separate();
        self.text.push(b'"');
        escape(text.as_bytes(), &mut self.text);
        self.text.push(b'"');
        self.after_value = true;
    }
}

impl Out for JsonOut {
    fn begin_object(&mut self) {
        self.begin(b'{');
    }

    fn end_object(&mut self) {
        self.end(b'}');
    }

    fn begin_array(&mut self) {
        self.begin(b'[');
    }

    fn end_array(&mut self) {
        self.end(b']');
    }

    /// The record's own keys need no escaping.
    fn key(&mut self, name: &'static str) {
        self.separate();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
        self.after_value = false;
    }

    fn key_of(&mut self, name: &str) {
        self.quoted(name);
        self.text.push(b':');
        self.after_value = false;
    }

    fn str(&mut self, text: &str) {
        self.quoted(text);
    }

    fn int(&mut self, number: i64) {
        self.verbatim(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A number that JSON cannot write is null.
    fn float(&mut self, number: f64) {
        match number.is_finite() {
            true => self.verbatim(number.to_string().as_bytes()),
            false => self.null(),
        }
    }

    fn bool(&mut self, truth: bool) {
        self.verbatim(if truth { b"true" } else { b"false" });
    }

    fn null(&mut self) {
        self.verbatim(b"null");
    }

    fn raw_json(&mut self, json: &str) {
        self.verbatim(json.as_bytes());
    }
}

const fn hex(nibble: u8) -> u8 {
    match nibble & 0xf {
        digit @ 0..=9 => b'0' + digit,
        letter => b'a' + letter - 10,
    }
}

/// What stands for a byte in a string: 0 itself, `u` a `\u00xx`, else the letter after the backslash.
static ESCAPES: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

fn escape(text: &[u8], out: &mut Vec<u8>) {
    // Most texts need nothing; to know that takes no branch, so it runs on vectors.
    let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    if !text.iter().fold(false, |any, byte| any | is_special(byte)) {
        return out.extend_from_slice(text);
    }
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| ESCAPES[byte as usize] != 0) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = from.split_first() else {
            return;
        };
        match ESCAPES[byte as usize] {
            b'u' => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut JsonOut)) -> String {
        let mut out = JsonOut::default();
        write(&mut out);
        String::from_utf8_lossy(out.as_bytes()).into_owned()
    }

    #[test]
    fn objects_and_arrays_are_separated_by_commas() {
        let text = written(|out| {
            out.begin_object();
            out.key("a");
            out.begin_array();
            out.int(1);
            out.begin_array();
            out.end_array();
            out.raw_json("{\"x\":1}");
            out.null();
            out.end_array();
            out.key_of("b\"");
            out.bool(true);
            out.key("c");
            out.begin_object();
            out.end_object();
            out.end_object();
        });
        assert_eq!(text, r#"{"a":[1,[],{"x":1},null],"b\"":true,"c":{}}"#);
    }

    #[test]
    fn numbers_are_written_to_the_last_digit() {
        for number in [0, 7, -1, 10, 1_795_378_165_279, i64::MAX, i64::MIN] {
            assert_eq!(written(|out| out.int(number)), number.to_string());
        }
        assert_eq!(written(|out| out.float(0.25)), "0.25");
        assert_eq!(written(|out| out.float(f64::NAN)), "null");
    }

    #[test]
    fn what_was_written_anew_has_no_trace_of_before() {
        let mut out = JsonOut::default();
        out.int(1);
        out.clear();
        out.int(2);
        assert_eq!(out.into_bytes(), b"2");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_was(text in "\\PC*|[\\x00-\\x7f]*") {
            let json = written(|out| out.str(&text));
            let read: String = serde_json::from_str(&json).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(read, text);
        }
    }
}
