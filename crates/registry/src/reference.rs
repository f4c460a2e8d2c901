//! Names of images, as docker writes them (github.com/distribution/reference).
//!
//! The client library's own parser compiles a regular expression of some megabytes at each start,
//! which takes longer than the rest of a launch.

use oci_spec::distribution::Reference;

use crate::Error;

/// The defaults for a name without a registry, an owner or a tag.
const REGISTRY: &str = "docker.io";
const OWNER: &str = "library";
const TAG: &str = "latest";
/// Longest repository and tag, in bytes.
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// Parses the text that a user writes behind `docker://`.
///
/// # Errors
///
/// Fails when the text is not a reference, or its digest is not SHA-256.
pub fn reference(text: &str) -> Result<Reference, Error> {
    let failed = |reason: &str| Error::Reference {
        text: text.to_owned(),
        reason: reason.to_owned(),
    };
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A colon before the last slash separates a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (REGISTRY, name),
    };
    if !registry.bytes().all(is_host_byte) || registry.is_empty() {
        return Err(failed("the registry's name has letters that no host's has"));
    }
    if repository.is_empty() {
        return Err(failed("there is no repository"));
    }
    let owned = registry == REGISTRY && !repository.contains('/');
    let repository = match owned {
        true => format!("{OWNER}/{repository}"),
        false => repository.to_owned(),
    };
    if !repository.split('/').all(is_component) || repository.len() > LONGEST_REPOSITORY {
        return Err(failed(
            "a repository's name has small letters, digits, and single dots, dashes and underscores between them",
        ));
    }
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(failed(
            "a tag has letters, digits, dots, dashes and underscores",
        ));
    }
    if let Some(digest) = digest {
        let parsed: Result<oci::Digest, _> = digest.parse();
        parsed.map_err(|error| failed(&error.to_string()))?;
    }
    let registry = registry.to_owned();
    Ok(match (tag, digest) {
        (Some(tag), Some(digest)) => {
            Reference::with_tag_and_digest(registry, repository, tag.to_owned(), digest.to_owned())
        }
        (None, Some(digest)) => Reference::with_digest(registry, repository, digest.to_owned()),
        (tag, None) => Reference::with_tag(registry, repository, tag.unwrap_or(TAG).to_owned()),
    })
}

/// Whether the first part of a name is a registry and not an owner.
fn is_host(part: &str) -> bool {
    part == "localhost"
        || part.contains(['.', ':'])
        || part.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
}

/// `[a-z0-9]+` with `.`, `_`, `__` or dashes between.
fn is_component(part: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_well = bytes.first().is_some_and(is_word) && bytes.last().is_some_and(is_word);
    let mut between = bytes.split(is_word);
    ends_well
        && between.all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_dockers() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let long = format!("{}/x", "a".repeat(260));
        let right = [
            "alpine",
            "a/b",
            "localhost/a",
            "localhost:5000/a/b:1",
            "quay.io/a.b/c__d/e-f---g:V1.0-x_y",
            &format!("nvcr.io/x@{digest}"),
            &format!("nvcr.io/x:y@{digest}"),
        ];
        for text in right {
            let own = reference(text).unwrap();
            let theirs: Reference = text.parse().unwrap();
            assert_eq!(own, theirs, "{text}");
        }
        // The client library's parser accepts neither.
        for (text, registry) in [("[::1]:5000/a", "[::1]:5000"), ("HOST/a", "HOST")] {
            assert_eq!(reference(text).unwrap().registry(), registry);
        }
        let wrong = [
            "",
            "Alpine",
            "a b",
            "a@sha256:12",
            "a:",
            "a//b",
            "a_-b",
            "a..b",
            "-a",
            "a/",
            "/a",
            "a:-x",
            "a@",
            "host.x/",
            "a:b:c",
            &long,
            "h\u{e4}.x/a",
        ];
        for text in wrong {
            let error = reference(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{text:?}")), "{error}");
        }
    }
}
