//! Guesses at what a person meant, for the errors of commands that other programs take.

use std::ffi::OsStr;
use std::path::Path;

/// Ends of names that images' files have.
const FILES: [&str; 6] = [".sif", ".simg", ".img", ".sqsh", ".squashfs", ".tar"];

/// Of an image that is no file: docker's users leave out where it is from.
pub fn of_missing_image(word: &str) -> Option<String> {
    let is_plain =
        !word.starts_with(['.', '/', '~']) && !FILES.iter().any(|end| word.ends_with(end));
    let is_name = is_plain && registry::reference(word).is_ok();
    is_name.then(|| format!("an image of a registry is docker://{word}"))
}

/// Of a program that could not be started: front's own flags stand before the image.
pub fn of_program(program: &OsStr) -> &'static str {
    match program.as_encoded_bytes().starts_with(b"-") {
        true => "; flags of front's stand before the image",
        false => "",
    }
}

/// Of a command that is none: an image that is to be run.
pub fn of_command(word: &str) -> String {
    match word.contains("://") || Path::new(word).exists() {
        true => format!("; `front run {word}` runs an image"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_registries_are_taken_for_them() {
        for word in ["alpine", "alpine:latest", "quay.io/a/b:1"] {
            let hint = of_missing_image(word).unwrap();
            assert!(hint.ends_with(&format!("docker://{word}")), "{hint}");
        }
        for word in ["img.sif", "./alpine", "/tmp/x", "a b", "x.simg"] {
            assert_eq!(of_missing_image(word), None, "{word}");
        }
    }
}
