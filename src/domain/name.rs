//! Domain names as keys: compared without regard to ASCII case and to a final dot (RFC 4343, RFC 1034 §3.1).
//!
//! [`Name`] is a checked name in its canonical spelling, [`Folded`] looks one up under any spelling without
//! allocating. Always holds: equal names hash equal, whichever of the two types they come in. Used inside
//! `domain` only, [`Name`] excepted. Must never reject a name at look-up: an event may carry any text, it is
//! then simply not listed.

use std::fmt;
use std::hash::{Hash, Hasher};

use hashbrown::Equivalent;

/// The longest name in bytes (RFC 1035 §2.3.4, in the dotted spelling).
pub(super) const NAME_BYTES_MAX: usize = 253;
/// The longest label in bytes (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// A domain name that is well formed, in lower case (ASCII) and without a final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Box<str>);

impl Name {
    /// Reads a name: labels of letters, digits, `-` and `_`, joined by dots, of at most 63 bytes each and 253
    /// in all. Letters beyond ASCII are accepted as they are. `None` if the text is not such a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = without_final_dot(text);
        let fits = text.len() <= NAME_BYTES_MAX && text.split('.').all(is_label);
        fits.then(|| Self(text.to_ascii_lowercase().into_boxed_str()))
    }

    /// The name, in lower case and without a final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many labels the name has, at least one.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.0.split('.').count()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Folded::new(&self.0).hash(state);
    }
}

/// A name under any spelling, for look-up in a map keyed by [`Name`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Folded<'a>(&'a str);

impl<'a> Folded<'a> {
    /// Takes any text; a final dot does not count.
    pub(super) fn new(text: &'a str) -> Self {
        Self(without_final_dot(text))
    }

    /// The text as it was given, without a final dot.
    pub(super) fn text(self) -> &'a str {
        self.0
    }

    /// Is it this name?
    pub(super) fn is(self, name: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&name.0)
    }
}

/// Setting this bit in every byte makes the cases of a letter one. It makes some other bytes one too, which a hash may do.
const CASE_BITS: u64 = 0x2020_2020_2020_2020;

impl Hash for Folded<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (words, rest) = self.0.as_bytes().as_chunks::<8>();
        for word in words {
            state.write_u64(u64::from_le_bytes(*word) | CASE_BITS);
        }
        let last = rest
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte));
        state.write_u64(last | CASE_BITS);
        state.write_usize(self.0.len());
    }
}

impl Equivalent<Name> for Folded<'_> {
    fn equivalent(&self, key: &Name) -> bool {
        self.is(key)
    }
}

fn without_final_dot(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && label
            .chars()
            .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test that cannot go on says so by a panic"
    )]

    use std::hash::BuildHasher;

    use hashbrown::DefaultHashBuilder;

    use super::{Folded, Name};

    #[test]
    fn a_name_is_kept_in_lower_case_without_its_final_dot() {
        let name = Name::parse("Sales.ALFA.era.test.").unwrap();
        assert_eq!(name.as_str(), "sales.alfa.era.test");
        assert_eq!(name.labels(), 4);
    }

    #[test]
    fn what_is_no_domain_name_is_refused() {
        let long_label = "a".repeat(64);
        let long_name = vec!["abcdefg"; 32].join(".");
        for text in [
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            "a@b",
            "*.a",
            "a/b",
            "a:5060",
            &long_label,
            &long_name,
        ] {
            assert_eq!(Name::parse(text), None, "{text:?}");
        }
        assert!(Name::parse(&"a".repeat(63)).is_some());
        assert!(Name::parse("почта.пример").is_some());
    }

    #[test]
    fn every_spelling_of_a_name_finds_it() {
        let build = DefaultHashBuilder::default();
        for text in [
            "a",
            "alfa.era.test",
            "exactly8",
            "exactly8.exactly",
            "0123456.89abcdef.0",
        ] {
            let name = Name::parse(text).unwrap();
            for spelling in [
                text.to_owned(),
                text.to_ascii_uppercase(),
                format!("{text}."),
            ] {
                let folded = Folded::new(&spelling);
                assert!(folded.is(&name), "{spelling}");
                assert_eq!(build.hash_one(folded), build.hash_one(&name), "{spelling}");
            }
        }
    }
}
