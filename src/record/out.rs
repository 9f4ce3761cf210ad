//! Where a record is written to: a stream of calls that any form of it can be made from.
//!
//! The writer promises what JSON demands: a key before each value of an object, every object and array ended once.

use crate::call::Text;
use crate::event::Value;

/// A form of a record.
pub trait Out {
    /// An object begins.
    fn begin_object(&mut self);
    /// The innermost object ends.
    fn end_object(&mut self);
    /// An array begins.
    fn begin_array(&mut self);
    /// The innermost array ends.
    fn end_array(&mut self);
    /// The key of the value that follows; one of the record's own.
    fn key(&mut self, name: &'static str);
    /// The key of the value that follows; a fact of the call, such as a domain.
    fn key_of(&mut self, name: &str);
    /// A text.
    fn str(&mut self, text: &str);
    /// An integer.
    fn int(&mut self, number: i64);
    /// A number with a fraction.
    fn float(&mut self, number: f64);
    /// A truth value.
    fn bool(&mut self, truth: bool);
    /// What is not known.
    fn null(&mut self);
    /// A list or an object that is JSON text already.
    fn raw_json(&mut self, json: &str);
    /// The owner of a dialog, as callstore packs it; a form that knows what it stands for unpacks it.
    fn owner(&mut self, packed: &str) {
        self.str(packed);
    }

    /// A uuid, as text in canonical form.
    fn uuid(&mut self, id: [u8; 16]) {
        let mut buffer = [0u8; 36];
        let text = uuid::Uuid::from_bytes(id).hyphenated();
        self.str(text.encode_lower(&mut buffer));
    }

    /// A fact that is text, whatever shape it came in.
    fn text(&mut self, text: Text<'_>) {
        match text {
            Text::Str(text) => self.str(text),
            Text::Uuid(id) => self.uuid(id),
            Text::Int(_) => text.with(|text| self.str(text)),
        }
    }

    /// A fact in the type in which the platform wrote it.
    fn value(&mut self, value: Value<'_>) {
        match value {
            Value::Str(text) => self.str(text),
            Value::Int(number) => self.int(number),
            Value::Float(number) => self.float(number),
            Value::Bool(truth) => self.bool(truth),
            Value::Uuid(id) => self.uuid(id),
            Value::Json(json) => self.raw_json(json),
        }
    }
}
