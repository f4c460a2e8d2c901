//! JSON for people and programs.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::PrettyFormatter;

/// Formats a document with two spaces, and an end of line.
pub fn spaced(document: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(document).context("write JSON")?;
    Ok(text + "\n")
}

/// Formats a document with tabs, as Apptainer does, and an end of line.
pub fn tabbed(document: &impl Serialize) -> Result<String> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    document.serialize(&mut serializer).context("write JSON")?;
    text.push(b'\n');
    Ok(String::from_utf8(text)?)
}
