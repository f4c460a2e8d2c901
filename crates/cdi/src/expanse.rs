//! The size of a YAML document with its aliases expanded, checked before it is parsed. Aliases can
//! repeat long values, and aliases of aliases multiply them.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{
    DeserializeSeed, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// Largest cost of a document with all aliases expanded, in bytes of text and [`VALUE`]s. Even the
/// largest valid file costs less.
const MOST: usize = 2 << 20;
/// The cost of a value, in addition to its text.
const VALUE: usize = 16;
/// Deepest nesting of brackets. The parser's time grows with the square of the depth.
const DEEPEST: usize = 64;

/// Checks that a document is small enough to be parsed.
///
/// # Errors
///
/// Returns a message that names the exceeded limit.
pub(crate) fn check(text: &str) -> Result<(), String> {
    nesting(text)?;
    let left = Cell::new(MOST);
    let counted = Counter(&left).deserialize(serde_norway::Deserializer::from_str(text));
    counted.map_err(|error| error.to_string())
}

/// Checks how deeply values are nested. Brackets inside quotes are counted too: no valid file has
/// so many of them.
fn nesting(text: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    for line in text.lines() {
        let mut leading = 0;
        let mut words = line.split_ascii_whitespace();
        while words
            .next()
            .is_some_and(|word| matches!(word, "-" | "?" | ":"))
        {
            leading += 1;
        }
        for letter in line.bytes() {
            match letter {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth.max(leading) > DEEPEST {
            return Err(format!("more than {DEEPEST} values lie in each other"));
        }
    }
    Ok(())
}

/// A visitor that adds up the cost of a document.
#[derive(Clone, Copy)]
struct Counter<'a>(&'a Cell<usize>);

impl Counter<'_> {
    fn count<E: Error>(self, cost: usize) -> Result<(), E> {
        let left = self.0.get().checked_sub(cost.saturating_add(VALUE));
        let too_much = "it is too large with all its aliases followed";
        self.0.set(left.ok_or_else(|| E::custom(too_much))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Counter<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counter<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.count(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.count(0)
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.count(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.count(0)
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.count(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.count(0)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.count(0)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.count(0)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.deserialize(from)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.count(text.len())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        self.count(0)?;
        while values.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<(), A::Error> {
        self.count(0)?;
        while pairs.next_key_seed(self)?.is_some() {
            pairs.next_value_seed(self)?;
        }
        Ok(())
    }

    /// A value with a tag, `!tag value`.
    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<(), A::Error> {
        self.count(0)?;
        let (IgnoredAny, value) = tagged.variant()?;
        value.newtype_variant_seed(self)
    }
}
