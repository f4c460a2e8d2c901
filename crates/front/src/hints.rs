//! Hints for the errors of commands that users of other programs type.

use std::ffi::OsStr;
use std::path::Path;

/// Suffixes of the names of image files.
const FILES: [&str; 7] = [
    ".def",
    ".sif",
    ".simg",
    ".img",
    ".sqsh",
    ".squashfs",
    ".tar",
];

/// Returns a hint if an image is not a file: docker's users leave out the registry's prefix.
pub fn of_missing_image(word: &str) -> Option<String> {
    let is_plain =
        !word.starts_with(['.', '/', '~']) && !FILES.iter().any(|end| word.ends_with(end));
    let is_name = is_plain && registry::reference(word).is_ok();
    is_name.then(|| format!("for an image in a registry, use docker://{word}"))
}

/// Returns a hint if a program could not be started: front's own flags precede the image.
pub fn of_program(program: &OsStr) -> &'static str {
    match program.as_encoded_bytes().starts_with(b"-") {
        true => "; flags of front must come before the image",
        false => "",
    }
}

/// Returns a hint for an unknown command: the word may be an image to run.
pub fn of_command(word: &str) -> String {
    match word.contains("://") || Path::new(word).exists() {
        true => format!("; to run an image, use `front run {word}`"),
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
