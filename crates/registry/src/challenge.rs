//! The credentials that a registry asks for.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The credentials that a registry wants (RFC 9110, 11.6.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Token {
        realm: String,
        service: Option<String>,
    },
    Login,
}

/// Returns the first challenge that we understand. A token is preferred to a password.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let all = headers.get_all(WWW_AUTHENTICATE).iter();
    let all: Vec<&str> = all.filter_map(|value| value.to_str().ok()).collect();
    let of_scheme = |scheme: &str| {
        all.iter().find_map(|text| {
            let (found, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            found.eq_ignore_ascii_case(scheme).then_some(rest)
        })
    };
    let token = of_scheme("Bearer").and_then(|rest| {
        Some(Challenge::Token {
            realm: parameter(rest, "realm")?,
            service: parameter(rest, "service"),
        })
    });
    token.or_else(|| of_scheme("Basic").map(|_| Challenge::Login))
}

/// Returns the value of `name=value` or `name="value"` in a list that is separated by commas.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some((found, after)) = rest.split_once('=') {
        let found = found.trim_matches([' ', ',']);
        let mut value = String::new();
        rest = match after.strip_prefix('"') {
            Some(quoted) => {
                let mut letters = quoted.chars();
                loop {
                    match letters.next()? {
                        '"' => break,
                        '\\' => value.push(letters.next()?),
                        letter => value.push(letter),
                    }
                }
                letters.as_str()
            }
            None => {
                let (plain, after) = after.split_once(',').unwrap_or((after, ""));
                value.push_str(plain.trim());
                after
            }
        };
        if found.eq_ignore_ascii_case(name) {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn challenges_are_read() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(text));
            challenge(&headers)
        };
        let token = |realm: &str, service: Option<&str>| {
            Some(Challenge::Token {
                realm: realm.to_owned(),
                service: service.map(str::to_owned),
            })
        };
        let docker = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull\"";
        assert_eq!(
            read(docker),
            token("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        let plain = "bearer service=x, realm=\"a=b,c\\\"d\"";
        assert_eq!(read(plain), token("a=b,c\"d", Some("x")));
        assert_eq!(read("Basic realm=\"x\""), Some(Challenge::Login));
        for text in [
            "Bearer",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
            "Negotiate",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
