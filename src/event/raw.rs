//! One event as it lies in a set or a chunk: its fields not yet read.
//!
//! ```text
//! event     length varint │ kind u8 │ [type name: text #] │ time signed varint │ id 16 │ field …
//!           time: ms since the event before it; of the first since 1970
//! field     code|0x80       │ text #              a known field with a text, the most frequent case
//!           code, 1…126     │ value               any other value of a known field
//!           0x7f │ code u8  │ value               a known field with a code from 128 on
//!           0 │ text #      │ value               a field of no known name
//! value     0 false │ 1 true │ 2 int signed varint │ 3 float 8 LE │ 4 text # │ 5 uuid 16 │ 6 JSON: text #
//!           │ 7 int in decimal: text #
//! text #    the number of a text, varint
//! ```

use super::bytes::{Reader, put_signed, put_varint};
use super::texts::{Texts, TextsView};
use super::{Corrupt, Event, EventId, Field, Kind, Name, Value};

const TEXT_FIELD: u8 = 0x80;
const WIDE_FIELD: u8 = 0x7f;
const OTHER_FIELD: u8 = 0;

/// Where the bytes of one event are put together; used again and again.
pub(super) type Packed = Vec<u8>;

/// Room for what most events take.
pub(super) fn room() -> Packed {
    Vec::with_capacity(256)
}

/// Integers from here on are written as texts: they repeat within a call.
const INLINE_INT: u64 = 1 << 20;

/// The events of a set in a row.
#[derive(Clone, Debug)]
pub(super) struct RawEvents<'a> {
    reader: Reader<'a>,
    ts: i64,
}

impl<'a> RawEvents<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        RawEvents {
            reader: Reader(bytes),
            ts: 0,
        }
    }
}

impl<'a> Iterator for RawEvents<'a> {
    type Item = Result<RawEvent<'a>, Corrupt>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let size = self.reader.size();
        let bytes = size.and_then(|size| self.reader.take(size));
        let raw = bytes.and_then(|bytes| RawEvent::read(bytes, self.ts));
        match &raw {
            Ok(raw) => self.ts = raw.ts,
            Err(_) => self.reader = Reader(&[]),
        }
        Some(raw)
    }
}

/// An event whose fields have not been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEvent<'a> {
    code: u8,
    pub(super) kind: Kind,
    name: Option<usize>,
    pub(super) ts: i64,
    pub(super) id: EventId,
    fields: &'a [u8],
    /// The whole of it, and the time of the event before it, on which its bytes depend.
    pub(super) bytes: &'a [u8],
    pub(super) before: i64,
}

impl<'a> RawEvent<'a> {
    #[inline]
    fn read(bytes: &'a [u8], before: i64) -> Result<Self, Corrupt> {
        let mut reader = Reader(bytes);
        let code = reader.byte()?;
        let kind = Kind::from_code(code);
        let name = if code == Kind::Unknown.code() {
            Some(reader.size()?)
        } else {
            None
        };
        let ts = before.wrapping_add(reader.signed()?);
        let id = reader.array()?;
        Ok(RawEvent {
            code,
            kind,
            name,
            ts,
            id,
            fields: reader.0,
            bytes,
            before,
        })
    }

    /// The key by which events are ordered.
    pub(super) fn key(&self) -> (i64, u8, EventId) {
        (self.ts, self.kind.rank(), self.id)
    }

    /// Packs the event behind one of the time `before`; `text` translates the numbers of texts.
    pub(super) fn write(
        &self,
        before: i64,
        mut text: impl FnMut(usize) -> Result<u32, Corrupt>,
        out: &mut Packed,
    ) -> Result<(), Corrupt> {
        out.clear();
        out.push(self.code);
        if let Some(number) = self.name {
            put_varint(out, u64::from(text(number)?));
        }
        put_signed(out, self.ts.wrapping_sub(before));
        out.extend_from_slice(&self.id);
        let mut reader = Reader(self.fields);
        while !reader.is_empty() {
            let code = reader.byte()?;
            out.push(code);
            if code >= TEXT_FIELD {
                put_varint(out, u64::from(text(reader.size()?)?));
                continue;
            }
            match code {
                OTHER_FIELD => put_varint(out, u64::from(text(reader.size()?)?)),
                WIDE_FIELD => out.push(reader.byte()?),
                _ => {}
            }
            let tag = reader.byte()?;
            out.push(tag);
            match tag {
                0 | 1 => {}
                2 => put_varint(out, reader.varint()?),
                3 => out.extend_from_slice(reader.take(8)?),
                5 => out.extend_from_slice(reader.take(16)?),
                4 | 6 | 7 => put_varint(out, u64::from(text(reader.size()?)?)),
                _ => return Err(Corrupt::Value),
            }
        }
        Ok(())
    }

    /// The event with its fields read.
    pub(super) fn view(&self, texts: &TextsView<'a>) -> Result<Event<'a>, Corrupt> {
        let mut event = Event::empty();
        self.view_into(texts, &mut event)?;
        Ok(event)
    }

    /// Reads the event into one that is used again and again.
    pub(super) fn view_into(
        &self,
        texts: &TextsView<'a>,
        event: &mut Event<'a>,
    ) -> Result<(), Corrupt> {
        event.kind = self.kind;
        event.ts = self.ts;
        event.id = self.id;
        event.name = match self.name {
            Some(number) => texts.text(number)?,
            None => "",
        };
        let fields = &mut event.fields;
        fields.clear();
        let mut reader = Reader(self.fields);
        while !reader.is_empty() {
            let code = reader.byte()?;
            if code >= TEXT_FIELD {
                let field = Field::from_code(code & !TEXT_FIELD).ok_or(Corrupt::Field)?;
                let value = Value::Str(texts.text(reader.size()?)?);
                fields.push((Name::Known(field), value));
                continue;
            }
            let name = match code {
                OTHER_FIELD => Name::Other(texts.text(reader.size()?)?),
                WIDE_FIELD => Name::Known(Field::from_code(reader.byte()?).ok_or(Corrupt::Field)?),
                code => Name::Known(Field::from_code(code).ok_or(Corrupt::Field)?),
            };
            let value = match reader.byte()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                2 => Value::Int(reader.signed()?),
                3 => Value::Float(f64::from_le_bytes(reader.array()?)),
                4 => Value::Str(texts.text(reader.size()?)?),
                5 => Value::Uuid(reader.array()?),
                6 => Value::Json(texts.text(reader.size()?)?),
                7 => {
                    let text = texts.text(reader.size()?)?;
                    Value::Int(text.parse().map_err(|_| Corrupt::Value)?)
                }
                _ => return Err(Corrupt::Value),
            };
            fields.push((name, value));
        }
        Ok(())
    }
}

/// Packs an event behind one of the time `before`.
pub(super) fn pack(event: &Event<'_>, before: i64, texts: &mut Texts, out: &mut Packed) {
    out.clear();
    out.push(event.kind.code());
    if event.kind == Kind::Unknown {
        put_varint(out, u64::from(texts.intern(event.name)));
    }
    put_signed(out, event.ts.wrapping_sub(before));
    out.extend_from_slice(&event.id);
    for &(name, value) in &event.fields {
        pack_field(out, name, value, texts);
    }
}

fn pack_field(out: &mut Packed, name: Name<'_>, value: Value<'_>, texts: &mut Texts) {
    match (name, value) {
        (Name::Known(field), Value::Str(text)) if field.code() < WIDE_FIELD => {
            out.push(field.code() | TEXT_FIELD);
            return put_varint(out, u64::from(texts.intern(text)));
        }
        (Name::Known(field), _) if field.code() < WIDE_FIELD => out.push(field.code()),
        (Name::Known(field), _) => out.extend_from_slice(&[WIDE_FIELD, field.code()]),
        (Name::Other(name), _) => {
            out.push(OTHER_FIELD);
            put_varint(out, u64::from(texts.intern(name)));
        }
    }
    let mut text = |out: &mut Packed, tag: u8, text: &str| {
        out.push(tag);
        put_varint(out, u64::from(texts.intern(text)));
    };
    match value {
        Value::Bool(truth) => out.push(u8::from(truth)),
        Value::Int(number) if number.unsigned_abs() < INLINE_INT => {
            out.push(2);
            put_signed(out, number);
        }
        Value::Int(number) => text(out, 7, itoa::Buffer::new().format(number)),
        Value::Float(number) => {
            out.push(3);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Str(value) => text(out, 4, value),
        Value::Uuid(id) => {
            out.push(5);
            out.extend_from_slice(&id);
        }
        Value::Json(value) => text(out, 6, value),
    }
}

/// Appends packed bytes with their length in front.
pub(super) fn append(events: &mut Vec<u8>, packed: &[u8]) {
    super::texts::grow(events, packed.len() + 3);
    put_varint(events, packed.len() as u64);
    events.extend_from_slice(packed);
}

/// Appends a signed integer to a head.
pub(super) fn put_head_number(out: &mut Vec<u8>, number: i64) {
    put_signed(out, number);
}
