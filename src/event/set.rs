//! The events of one call, packed: the unit of RAM, and with its head in front the unit of chunk, log and wire.
//!
//! ```text
//! strings   n × ( length varint │ bytes )                      every text once, numbered in order of appearance
//! events    n × ( length varint │ kind u8 │ [type name: string #] │ time signed varint │ id 16 │ field … )
//!           time: ms since the event before it; of the first since 1970
//! field     code|0x80            │ string # varint             text of a known field, the most frequent case
//!           code, 1…126          │ value                       any other value of a known field
//!           0x7f │ code u8       │ value                       a known field with a code from 128 on
//!           0    │ string #      │ value                       a field of no known name
//! value     0 false │ 1 true │ 2 int signed varint │ 3 float 8 LE │ 4 text # │ 5 uuid # │ 6 JSON # │ 7 bytes # │ 8 int #
//! ```
//!
//! An event is here once, whatever was pushed: `eventid` decides. Events lie in the order of (time, rank, id) once
//! [`EventSet::sort`] has been called; an event that sorts last keeps that order.

use hashbrown::{HashSet, HashTable};

use super::bytes::{Reader, put_signed, put_varint};
use super::{Corrupt, Event, EventId, Field, Fields, Head, Kind, Name, Value};

/// From how many events or strings on a set is searched by hash instead of by scan.
const SCAN_LIMIT: usize = 96;
const STRING_FIELD: u8 = 0x80;
const WIDE_FIELD: u8 = 0x7f;
const OTHER_FIELD: u8 = 0;

/// What became of an event that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It sorts after all others: fold it in place.
    Last,
    /// It sorts before others: the fold begins anew.
    Earlier,
    /// It was here.
    Duplicate,
}

/// The packed events of one call.
#[derive(Clone, Debug, Default)]
pub struct EventSet {
    head: HeadRef,
    strings: Vec<u8>,
    events: Vec<u8>,
    string_count: u32,
    event_count: u32,
    /// Time of the event that lies last, from which the next one counts.
    tail_ts: i64,
    /// The greatest key.
    last: (i64, u8, EventId),
    unsorted: bool,
    large: Option<Box<Large>>,
}

/// The head with its text as a number.
#[derive(Clone, Copy, Debug, Default)]
struct HeadRef {
    cid: Option<EventId>,
    acallid: Option<u32>,
    invitets: Option<i64>,
    acallidhash: Option<i64>,
}

/// Search structures of a set that is too large to scan.
#[derive(Clone, Debug, Default)]
struct Large {
    ids: HashSet<EventId>,
    strings: HashTable<u32>,
    offsets: Vec<u32>,
}

/// The strings of a set, for reading.
pub struct Strings<'a> {
    bytes: &'a [u8],
    offsets: smallvec::SmallVec<[u32; 64]>,
}

impl<'a> Strings<'a> {
    fn read(bytes: &'a [u8], count: usize) -> Result<Self, Corrupt> {
        let mut offsets = smallvec::SmallVec::new();
        let mut reader = Reader(bytes);
        for _ in 0..count {
            offsets.push((bytes.len() - reader.0.len()) as u32);
            let size = reader.size()?;
            reader.take(size)?;
        }
        match reader.is_empty() {
            true => Ok(Strings { bytes, offsets }),
            false => Err(Corrupt::Strings),
        }
    }

    /// The bytes of a string.
    #[inline]
    pub fn bytes(&self, number: usize) -> Result<&'a [u8], Corrupt> {
        let offset = *self.offsets.get(number).ok_or(Corrupt::Strings)?;
        let mut reader = Reader(self.bytes.get(offset as usize..).ok_or(Corrupt::Strings)?);
        let size = reader.size()?;
        reader.take(size)
    }

    /// The text of a string.
    #[inline]
    pub fn text(&self, number: usize) -> Result<&'a str, Corrupt> {
        std::str::from_utf8(self.bytes(number)?).map_err(|_| Corrupt::Text)
    }

    /// All strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.offsets.len()).filter_map(|number| self.bytes(number).ok())
    }
}

impl EventSet {
    /// An empty set with this head.
    pub fn new(head: Head<'_>) -> Self {
        let mut set = EventSet::default();
        set.adopt(head);
        set
    }

    /// Takes from another head what is not known yet. What is known stays.
    pub fn adopt(&mut self, head: Head<'_>) {
        self.head.cid = self.head.cid.or(head.cid);
        self.head.invitets = self.head.invitets.or(head.invitets);
        self.head.acallidhash = self.head.acallidhash.or(head.acallidhash);
        if let (None, Some(acallid)) = (self.head.acallid, head.acallid) {
            self.head.acallid = Some(self.intern(acallid.as_bytes()));
        }
    }

    /// What all events share.
    pub fn head(&self) -> Head<'_> {
        Head {
            cid: self.head.cid,
            acallid: self
                .head
                .acallid
                .and_then(|number| self.string_at(number))
                .and_then(|bytes| std::str::from_utf8(bytes).ok()),
            invitets: self.head.invitets,
            acallidhash: self.head.acallidhash,
        }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.event_count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.event_count == 0
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let large = self.large.as_ref().map_or(0, |large| {
            size_of::<Large>()
                + large.ids.capacity() * 18
                + large.strings.capacity() * 5
                + large.offsets.capacity() * 4
        });
        self.strings.capacity() + self.events.capacity() + large
    }

    /// Adds an event unless it is here.
    pub fn push(&mut self, event: &Event<'_>) -> Pushed {
        if self.contains(&event.id) {
            return Pushed::Duplicate;
        }
        let key = event.key();
        let pushed = if self.event_count == 0 || key > self.last {
            self.last = key;
            Pushed::Last
        } else {
            self.unsorted = true;
            Pushed::Earlier
        };
        self.append(event);
        pushed
    }

    /// Whether an event with this identity is here.
    pub fn contains(&self, id: &EventId) -> bool {
        if let Some(large) = &self.large {
            return large.ids.contains(id);
        }
        self.raw().any(|raw| raw.is_ok_and(|raw| raw.id == *id))
    }

    fn append(&mut self, event: &Event<'_>) {
        let mut scratch = Vec::with_capacity(160);
        scratch.push(event.kind.code());
        if event.kind == Kind::Unknown {
            let number = self.intern(event.name.as_bytes());
            put_varint(&mut scratch, u64::from(number));
        }
        put_signed(&mut scratch, event.ts.wrapping_sub(self.tail_ts));
        scratch.extend_from_slice(&event.id);
        for &(name, value) in &event.fields {
            self.put_field(&mut scratch, name, value);
        }
        grow(&mut self.events, scratch.len() + 4);
        put_varint(&mut self.events, scratch.len() as u64);
        self.events.extend_from_slice(&scratch);
        self.event_count += 1;
        self.tail_ts = event.ts;
        match &mut self.large {
            Some(large) => {
                large.ids.insert(event.id);
            }
            None if self.event_count as usize > SCAN_LIMIT => self.enlarge(),
            None => {}
        }
    }

    fn put_field(&mut self, out: &mut Vec<u8>, name: Name<'_>, value: Value<'_>) {
        match (name, value) {
            (Name::Known(field), Value::Str(text)) if field.code() < WIDE_FIELD => {
                let number = self.intern(text.as_bytes());
                out.push(field.code() | STRING_FIELD);
                put_varint(out, u64::from(number));
                return;
            }
            (Name::Known(field), _) if field.code() < WIDE_FIELD => out.push(field.code()),
            (Name::Known(field), _) => out.extend_from_slice(&[WIDE_FIELD, field.code()]),
            (Name::Other(name), _) => {
                let number = self.intern(name.as_bytes());
                out.push(OTHER_FIELD);
                put_varint(out, u64::from(number));
            }
        }
        let (tag, bytes): (u8, &[u8]) = match value {
            Value::Bool(truth) => return out.push(u8::from(truth)),
            Value::Int(number) if number.unsigned_abs() < 1 << 20 => {
                out.push(2);
                return put_signed(out, number);
            }
            Value::Float(number) => {
                out.push(3);
                return out.extend_from_slice(&number.to_le_bytes());
            }
            Value::Int(number) => (8, &number.to_le_bytes()),
            Value::Str(text) => (4, text.as_bytes()),
            Value::Uuid(id) => (5, &id.clone()),
            Value::Json(text) => (6, text.as_bytes()),
            Value::Bytes(bytes) => (7, bytes),
        };
        out.push(tag);
        let number = self.intern(bytes);
        put_varint(out, u64::from(number));
    }

    /// The number of a string, which is added where it is new.
    fn intern(&mut self, bytes: &[u8]) -> u32 {
        if let Some(number) = self.find_string(bytes) {
            return number;
        }
        let number = self.string_count;
        let offset = self.strings.len() as u32;
        grow(&mut self.strings, bytes.len() + 3);
        put_varint(&mut self.strings, bytes.len() as u64);
        self.strings.extend_from_slice(bytes);
        self.string_count += 1;
        if let Some(large) = &mut self.large {
            large.offsets.push(offset);
            let strings = &self.strings;
            let offsets = &large.offsets;
            large.strings.insert_unique(hash(bytes), number, |&number| {
                hash(string_in(strings, offsets, number).unwrap_or_default())
            });
        } else if self.string_count as usize > SCAN_LIMIT {
            self.enlarge();
        }
        number
    }

    fn find_string(&self, wanted: &[u8]) -> Option<u32> {
        if let Some(large) = &self.large {
            return large
                .strings
                .find(hash(wanted), |&number| {
                    string_in(&self.strings, &large.offsets, number) == Some(wanted)
                })
                .copied();
        }
        let mut reader = Reader(&self.strings);
        for number in 0..self.string_count {
            let size = reader.size().ok()?;
            if reader.take(size).ok()? == wanted {
                return Some(number);
            }
        }
        None
    }

    /// Whether a string of this content is in the set, in whatever field.
    pub fn has_string(&self, wanted: &[u8]) -> bool {
        self.find_string(wanted).is_some()
    }

    fn string_at(&self, wanted: u32) -> Option<&[u8]> {
        if let Some(large) = &self.large {
            return string_in(&self.strings, &large.offsets, wanted);
        }
        let mut reader = Reader(&self.strings);
        for _ in 0..wanted {
            let size = reader.size().ok()?;
            reader.take(size).ok()?;
        }
        let size = reader.size().ok()?;
        reader.take(size).ok()
    }

    fn enlarge(&mut self) {
        let mut large = Large::default();
        large.ids.extend(self.raw().flatten().map(|raw| raw.id));
        let mut reader = Reader(&self.strings);
        for number in 0..self.string_count {
            large
                .offsets
                .push((self.strings.len() - reader.0.len()) as u32);
            let Ok(bytes) = reader.size().and_then(|size| reader.take(size)) else {
                break;
            };
            let (strings, offsets) = (&self.strings, &large.offsets);
            large.strings.insert_unique(hash(bytes), number, |&number| {
                hash(string_in(strings, offsets, number).unwrap_or_default())
            });
        }
        self.large = Some(Box::new(large));
    }

    fn raw(&self) -> RawEvents<'_> {
        RawEvents {
            reader: Reader(&self.events),
            ts: 0,
        }
    }

    /// The strings, for reading.
    pub fn strings(&self) -> Result<Strings<'_>, Corrupt> {
        Strings::read(&self.strings, self.string_count as usize)
    }

    /// The events as they lie; in order after [`EventSet::sort`].
    ///
    /// # Errors
    /// Bytes that did not come from here: the iterator gives the error and ends.
    pub fn iter(&self) -> Result<impl Iterator<Item = Result<Event<'_>, Corrupt>>, Corrupt> {
        let strings = self.strings()?;
        Ok(self
            .raw()
            .map(move |raw| raw.and_then(|raw| raw.view(&strings))))
    }

    /// Whether events lie out of order.
    pub fn is_unsorted(&self) -> bool {
        self.unsorted
    }

    /// Puts the events in order.
    ///
    /// # Errors
    /// Bytes that did not come from here.
    pub fn sort(&mut self) -> Result<(), Corrupt> {
        if !self.unsorted {
            return Ok(());
        }
        let mut order = self.raw().collect::<Result<Vec<_>, _>>()?;
        order.sort_by_key(|raw| (raw.ts, raw.kind.rank(), raw.id));
        let mut events = Vec::with_capacity(self.events.len() + order.len());
        let mut before = 0;
        let mut scratch = Vec::with_capacity(160);
        for raw in &order {
            scratch.clear();
            raw.write(before, &mut scratch);
            put_varint(&mut events, scratch.len() as u64);
            events.extend_from_slice(&scratch);
            before = raw.ts;
        }
        self.tail_ts = before;
        self.events = events;
        self.unsorted = false;
        Ok(())
    }

    /// Appends the set to a chunk.
    pub fn write(&self, out: &mut Vec<u8>) {
        let head = &self.head;
        let flags = u8::from(head.cid.is_some())
            | u8::from(head.acallid.is_some()) << 1
            | u8::from(head.invitets.is_some()) << 2
            | u8::from(head.acallidhash.is_some()) << 3;
        out.push(flags);
        if let Some(cid) = &head.cid {
            out.extend_from_slice(cid);
        }
        if let Some(number) = head.acallid {
            put_varint(out, u64::from(number));
        }
        for number in [head.invitets, head.acallidhash].into_iter().flatten() {
            put_signed(out, number);
        }
        put_varint(out, u64::from(self.string_count));
        put_varint(out, self.strings.len() as u64);
        out.extend_from_slice(&self.strings);
        put_varint(out, u64::from(self.event_count));
        put_varint(out, self.events.len() as u64);
        out.extend_from_slice(&self.events);
    }

    /// Bytes that [`EventSet::write`] takes, at most.
    pub fn written_bytes(&self) -> usize {
        self.strings.len() + self.events.len() + 64
    }
}

/// A set as it lies in a chunk.
pub struct Group<'a> {
    /// What all events share.
    pub head: Head<'a>,
    /// Number of events.
    pub count: usize,
    strings: Strings<'a>,
    events: &'a [u8],
}

impl<'a> Group<'a> {
    /// Reads the group at the front of a chunk's body.
    ///
    /// # Errors
    /// Bytes that [`EventSet::write`] does not write.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let flags = reader.byte()?;
        let has = |bit: u8| flags >> bit & 1 == 1;
        let cid = if has(0) { Some(reader.array()?) } else { None };
        let acallid = if has(1) { Some(reader.size()?) } else { None };
        let invitets = if has(2) { Some(reader.signed()?) } else { None };
        let acallidhash = if has(3) { Some(reader.signed()?) } else { None };
        let count = reader.size()?;
        let size = reader.size()?;
        let strings = Strings::read(reader.take(size)?, count)?;
        let acallid = acallid.map(|number| strings.text(number)).transpose()?;
        let count = reader.size()?;
        let size = reader.size()?;
        let events = reader.take(size)?;
        Ok(Group {
            head: Head {
                cid,
                acallid,
                invitets,
                acallidhash,
            },
            count,
            strings,
            events,
        })
    }

    /// The events as they lie.
    pub fn events(&self) -> impl Iterator<Item = Result<Event<'a>, Corrupt>> {
        RawEvents {
            reader: Reader(self.events),
            ts: 0,
        }
        .map(|raw| raw.and_then(|raw| raw.view(&self.strings)))
    }
}

struct RawEvents<'a> {
    reader: Reader<'a>,
    ts: i64,
}

impl<'a> Iterator for RawEvents<'a> {
    type Item = Result<RawEvent<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let raw = self
            .reader
            .size()
            .and_then(|size| self.reader.take(size))
            .and_then(|bytes| RawEvent::read(bytes, self.ts));
        match &raw {
            Ok(raw) => self.ts = raw.ts,
            Err(_) => self.reader = Reader(&[]),
        }
        Some(raw)
    }
}

/// An event as it lies: its fields not yet read.
struct RawEvent<'a> {
    code: u8,
    kind: Kind,
    name: Option<usize>,
    ts: i64,
    id: EventId,
    fields: &'a [u8],
}

impl<'a> RawEvent<'a> {
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
        })
    }

    fn write(&self, before: i64, out: &mut Vec<u8>) {
        out.push(self.code);
        if let Some(number) = self.name {
            put_varint(out, number as u64);
        }
        put_signed(out, self.ts.wrapping_sub(before));
        out.extend_from_slice(&self.id);
        out.extend_from_slice(self.fields);
    }

    fn view(&self, strings: &Strings<'a>) -> Result<Event<'a>, Corrupt> {
        let mut fields = Fields::new();
        let mut reader = Reader(self.fields);
        while !reader.is_empty() {
            let code = reader.byte()?;
            if code >= STRING_FIELD {
                let field = Field::from_code(code & !STRING_FIELD).ok_or(Corrupt::Field)?;
                fields.push((
                    Name::Known(field),
                    Value::Str(strings.text(reader.size()?)?),
                ));
                continue;
            }
            let name = match code {
                OTHER_FIELD => Name::Other(strings.text(reader.size()?)?),
                WIDE_FIELD => Name::Known(Field::from_code(reader.byte()?).ok_or(Corrupt::Field)?),
                code => Name::Known(Field::from_code(code).ok_or(Corrupt::Field)?),
            };
            let value = match reader.byte()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                2 => Value::Int(reader.signed()?),
                3 => Value::Float(f64::from_le_bytes(reader.array()?)),
                4 => Value::Str(strings.text(reader.size()?)?),
                5 => Value::Uuid(Reader(strings.bytes(reader.size()?)?).array()?),
                6 => Value::Json(strings.text(reader.size()?)?),
                7 => Value::Bytes(strings.bytes(reader.size()?)?),
                8 => Value::Int(i64::from_le_bytes(
                    Reader(strings.bytes(reader.size()?)?).array()?,
                )),
                _ => return Err(Corrupt::Value),
            };
            fields.push((name, value));
        }
        let name = self
            .name
            .map(|number| strings.text(number))
            .transpose()?
            .unwrap_or_default();
        Ok(Event {
            kind: self.kind,
            name,
            ts: self.ts,
            id: self.id,
            fields,
        })
    }
}

fn string_in<'a>(strings: &'a [u8], offsets: &[u32], number: u32) -> Option<&'a [u8]> {
    let offset = *offsets.get(number as usize)?;
    let mut reader = Reader(strings.get(offset as usize..)?);
    let size = reader.size().ok()?;
    reader.take(size).ok()
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Makes room for `more` bytes: small steps while small, so that many small sets waste little; an eighth when large.
fn grow(bytes: &mut Vec<u8>, more: usize) {
    let wanted = bytes.len() + more;
    if wanted > bytes.capacity() {
        let step = (bytes.len() / 8).max(64);
        bytes.reserve_exact(more.max(step));
    }
}
