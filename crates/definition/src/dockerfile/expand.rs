//! Words: quotes, and variables.

/// Returns the value of a variable, if it is set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Splits a line at blanks that are neither quoted nor escaped. Quotes stay.
pub(super) fn split_words(line: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, letter) if letter.is_whitespace() => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            (open, letter) if letter == escape && open != Some('\'') => {
                word.push(letter);
                word.extend(letters.next());
                continue;
            }
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
        word.push(letter);
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Removes quotes and escapes, and replaces variables: `$NAME`, `${NAME}`, `${NAME:-WORD}`,
/// `${NAME-WORD}`, `${NAME:+WORD}`, `${NAME+WORD}`, `${NAME:?WORD}`.
///
/// # Errors
///
/// Fails on another form, with a description.
pub fn expand(word: &str, escape: char, value: Lookup<'_>) -> Result<String, String> {
    expand_within(word, escape, value, 0)
}

/// Largest number of variables in the defaults of others.
const DEEPEST: usize = 20;

fn expand_within(
    word: &str,
    escape: char,
    value: Lookup<'_>,
    depth: usize,
) -> Result<String, String> {
    if depth > DEEPEST {
        return Err("variables are nested too deeply".to_owned());
    }
    let mut text = String::new();
    let mut letters = word.chars().peekable();
    let mut quote = None;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some('\''), '\'') => quote = None,
            (Some('\''), letter) => text.push(letter),
            (Some(_), '"') => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (open, letter) if letter == escape => match letters.next() {
                // In double quotes, only these are escaped.
                Some(next) if open.is_none() || ['"', '$', escape].contains(&next) => {
                    text.push(next);
                }
                Some(next) => text.extend([letter, next]),
                None => text.push(letter),
            },
            (_, '$') => text.push_str(&variable(&mut letters, escape, value, depth)?),
            (_, letter) => text.push(letter),
        }
    }
    match quote {
        Some(quote) => Err(format!("{word}: the quote {quote} does not end")),
        None => Ok(text),
    }
}

type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn variable(
    letters: &mut Letters<'_>,
    escape: char,
    value: Lookup<'_>,
    depth: usize,
) -> Result<String, String> {
    let is_part = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    if letters.peek() != Some(&'{') {
        let mut name = String::new();
        while let Some(letter) = letters.next_if(is_part) {
            name.push(letter);
        }
        return Ok(match name.is_empty() {
            true => "$".to_owned(),
            false => value(&name).unwrap_or_default(),
        });
    }
    letters.next();
    let mut inner = String::new();
    let mut open = 1;
    while open > 0 {
        let Some(letter) = letters.next() else {
            return Err(format!("${{{inner}: the brace does not end"));
        };
        match letter {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open > 0 {
            inner.push(letter);
        }
    }
    let end = inner
        .find(|letter| !is_part(&letter))
        .unwrap_or(inner.len());
    let (name, rest) = inner.split_at(end);
    let unknown = || format!("${{{inner}}}: unsupported form of a variable");
    if name.is_empty() {
        return Err(unknown());
    }
    let (counts_empty, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let found = value(name);
    let is_set = found
        .as_ref()
        .is_some_and(|value| !(counts_empty && value.is_empty()));
    let mut modifier = rest.chars();
    let first = modifier.next();
    let word = || expand_within(modifier.as_str(), escape, value, depth + 1);
    match first {
        None if !counts_empty => Ok(found.unwrap_or_default()),
        Some('-') if is_set => Ok(found.unwrap_or_default()),
        Some('-') => word(),
        Some('+') if is_set => word(),
        Some('+') => Ok(String::new()),
        Some('?') if is_set => Ok(found.unwrap_or_default()),
        Some('?') => Err(format!("{name}: {}", word()?)),
        _ => Err(unknown()),
    }
}
