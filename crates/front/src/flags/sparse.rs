//! Groups of flags that are defined only if a word of the command line may be one of them. To define
//! all flags takes a part of a rank's start.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{ArgMatches, Args, Command, FromArgMatches};

/// A group of flags that can be left out.
pub trait Group: Args + Default {
    /// The long names and aliases of its flags.
    const LONG: &'static [&'static str];
    /// The letters of its flags.
    const SHORT: &'static str;
}

/// A group of flags, or its default if no word of the command line can be one of them.
#[derive(Debug, Clone, Default)]
pub struct Sparse<T>(pub T);

thread_local! {
    /// The beginnings of words that may be flags, while only the flags that are needed are defined.
    static WORDS: RefCell<Option<Words>> = const { RefCell::new(None) };
}

/// The flags that a command line may have.
#[derive(Debug, Default)]
struct Words {
    /// Long names.
    long: Vec<Vec<u8>>,
    /// All bytes of words with short names.
    short: Vec<u8>,
}

/// Calls a function that defines and reads flags, of which only those that the words may be are
/// defined.
pub fn only_for<T>(words: &[OsString], read: impl FnOnce() -> T) -> T {
    let mut found = Words::default();
    for word in words.iter().map(|word| word.as_bytes()) {
        if let Some(name) = word.strip_prefix(b"--") {
            let name = name.split(|byte| *byte == b'=').next().unwrap_or_default();
            found.long.push(name.to_vec());
        } else if let Some(letters) = word.strip_prefix(b"-") {
            found.short.extend(letters);
        }
    }
    WORDS.set(Some(found));
    let result = read();
    WORDS.set(None);
    result
}

fn is_wanted<T: Group>() -> bool {
    WORDS.with_borrow(|words| {
        words.as_ref().is_none_or(|words| {
            let is_long = |name: &Vec<u8>| T::LONG.iter().any(|own| own.as_bytes() == name);
            words.long.iter().any(is_long)
                || words
                    .short
                    .iter()
                    .any(|letter| T::SHORT.as_bytes().contains(letter))
        })
    })
}

impl<T: Group> Args for Sparse<T> {
    fn augment_args(command: Command) -> Command {
        match is_wanted::<T>() {
            true => T::augment_args(command),
            false => command,
        }
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: Group> FromArgMatches for Sparse<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(match is_wanted::<T>() {
            true => T::from_arg_matches_mut(matches)?,
            false => T::default(),
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T> std::ops::Deref for Sparse<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Checks that a group names all its flags, and no others.
///
/// # Panics
///
/// Panics when it does not.
#[cfg(test)]
pub fn check<T: Group>() {
    let command = T::augment_args(Command::new("front"));
    let args = || command.get_arguments();
    let long = args().flat_map(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(aliases)
    });
    let mut long: Vec<&str> = long.collect();
    let mut own = T::LONG.to_vec();
    long.sort_unstable();
    own.sort_unstable();
    assert_eq!(own, long);
    let mut short: Vec<char> = args().filter_map(clap::Arg::get_short).collect();
    let mut own: Vec<char> = T::SHORT.chars().collect();
    short.sort_unstable();
    own.sort_unstable();
    assert_eq!(own, short);
}
