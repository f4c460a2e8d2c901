//! Dockerfiles ([reference]), as BuildKit reads them.
//!
//! The crates that parse them know here-documents only at the start of a `RUN`, and most files of
//! the field that use them have `cat <<EOF > file`.
//!
//! [reference]: https://docs.docker.com/reference/dockerfile/

mod expand;
mod instruction;
mod lines;

use std::collections::BTreeMap;

pub use expand::{Lookup, expand};
pub use instruction::{Command, Instruction, Kind};
pub use lines::HereDocument;

use crate::Error;

/// A Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The character that escapes others, and continues a line at its end.
    pub escape: char,
    /// The `ARG`s above the first stage.
    pub arguments: Vec<Instruction>,
    /// The stages, of which there is at least one.
    pub stages: Vec<Stage>,
}

/// A stage: an image that is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The line of `FROM`, counted from 1.
    pub line: usize,
    /// The base: an image, `scratch`, or an earlier stage. Its variables are not replaced.
    pub base: String,
    /// The value of `--platform`.
    pub platform: Option<String>,
    /// The name after `AS`, in small letters.
    pub name: Option<String>,
    /// The instructions after `FROM`.
    pub instructions: Vec<Instruction>,
}

/// Reads a Dockerfile.
///
/// # Errors
///
/// Fails on an unknown instruction, on one whose arguments are wrong, and without any `FROM`.
pub fn parse(text: &str) -> Result<Dockerfile, Error> {
    let (escape, lines) = lines::split(text)?;
    let mut file = Dockerfile {
        escape,
        arguments: Vec::new(),
        stages: Vec::new(),
    };
    for line in lines {
        if line.keyword == "FROM" {
            file.stages.push(stage(&line)?);
            continue;
        }
        let instruction = instruction::read(&line, escape)?;
        match (file.stages.last_mut(), &instruction.kind) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Kind::Arg(_)) => file.arguments.push(instruction),
            (None, _) => {
                let message = format!("{} stands above the first FROM", line.keyword);
                return Err(Error::new(line.number, 1, message));
            }
        }
    }
    match file.stages.is_empty() {
        true => Err(Error::new(1, 1, "there is no FROM")),
        false => Ok(file),
    }
}

fn stage(line: &lines::Logical) -> Result<Stage, Error> {
    let (flags, rest) = instruction::flags(line)?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (base, name) = match words.as_slice() {
        [base] => (*base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (*base, Some(*name)),
        _ => {
            let message = format!("FROM {rest}: expected FROM IMAGE, or FROM IMAGE AS NAME");
            return Err(Error::new(line.number, 1, message));
        }
    };
    let mut flags: BTreeMap<String, String> = flags.into_iter().collect();
    Ok(Stage {
        line: line.number,
        base: base.to_owned(),
        platform: flags.remove("platform"),
        name: name.map(str::to_ascii_lowercase),
        instructions: Vec::new(),
    })
}

#[cfg(test)]
mod tests;
