//! The options of a mount, by the words of the [specification] and of mount(8). The tables are those
//! of runc's `specconv`.
//!
//! [specification]: https://github.com/opencontainers/runtime-spec/blob/main/config.md#linux-mount-options

use sys::Propagation;
use sys::mount_bits::{
    ACCESS_TIME, NO_ACCESS_TIME, NO_DEV, NO_DIRECTORY_ACCESS_TIME, NO_EXEC, NO_LINKS, NO_SUID,
    READ_ONLY, RELATIME, STRICT_ACCESS_TIME,
};

/// The meaning of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// A bit of the mount is set.
    Set(u64),
    /// A bit of the mount is cleared.
    Clear(u64),
    /// The access time of files is kept in this way.
    AccessTime(u64),
    /// The access time of files is not kept in this way.
    NotAccessTime(u64),
    /// A bit of the mount and of those below it is set.
    SetAll(u64),
    /// A bit of the mount and of those below it is cleared.
    ClearAll(u64),
    /// The access time is kept in this way, also on the mounts below.
    AccessTimeAll(u64),
    /// The propagation, also of the mounts below if `true`.
    Propagates(Propagation, bool),
    /// The mount shows another directory or file, with the mounts below it if `true`.
    Binds(bool),
    /// The new file system begins with the files that it covers.
    CopiesUp,
    /// The owners are mapped, also on the mounts below if `true`.
    Maps(bool),
    /// A flag of the whole file system.
    FileSystem,
    /// The flags of a bind that are not named stay.
    Keeps,
    /// The kernel does this always, or never.
    Nothing,
}

use Meaning::{
    AccessTime, AccessTimeAll, Binds, Clear, ClearAll, CopiesUp, FileSystem, Keeps, Maps,
    NotAccessTime, Nothing, Propagates, Set, SetAll,
};

const WORDS: [(&str, Meaning); 64] = [
    ("acl", Nothing),
    ("async", FileSystem),
    ("atime", NotAccessTime(NO_ACCESS_TIME)),
    ("bind", Binds(false)),
    ("defaults", Nothing),
    ("dev", Clear(NO_DEV)),
    ("diratime", NotAccessTime(NO_DIRECTORY_ACCESS_TIME)),
    ("dirsync", FileSystem),
    ("exec", Clear(NO_EXEC)),
    ("idmap", Maps(false)),
    ("iversion", Nothing),
    ("lazytime", FileSystem),
    ("loud", Nothing),
    ("mand", Nothing),
    ("noacl", Nothing),
    ("noatime", AccessTime(NO_ACCESS_TIME)),
    ("nodev", Set(NO_DEV)),
    ("nodiratime", Set(NO_DIRECTORY_ACCESS_TIME)),
    ("noexec", Set(NO_EXEC)),
    ("noiversion", Nothing),
    ("nolazytime", FileSystem),
    ("nomand", Nothing),
    ("norelatime", NotAccessTime(RELATIME)),
    ("nostrictatime", NotAccessTime(STRICT_ACCESS_TIME)),
    ("nosuid", Set(NO_SUID)),
    ("nosymfollow", Set(NO_LINKS)),
    ("private", Propagates(Propagation::Private, false)),
    ("ratime", AccessTimeAll(RELATIME)),
    ("rbind", Binds(true)),
    ("rdev", ClearAll(NO_DEV)),
    ("rdiratime", ClearAll(NO_DIRECTORY_ACCESS_TIME)),
    ("relatime", AccessTime(RELATIME)),
    ("remount", Keeps),
    ("rexec", ClearAll(NO_EXEC)),
    ("ridmap", Maps(true)),
    ("rnoatime", AccessTimeAll(NO_ACCESS_TIME)),
    ("rnodev", SetAll(NO_DEV)),
    ("rnodiratime", SetAll(NO_DIRECTORY_ACCESS_TIME)),
    ("rnoexec", SetAll(NO_EXEC)),
    ("rnorelatime", Nothing),
    ("rnostrictatime", AccessTimeAll(RELATIME)),
    ("rnosuid", SetAll(NO_SUID)),
    ("rnosymfollow", SetAll(NO_LINKS)),
    ("ro", Set(READ_ONLY)),
    ("rprivate", Propagates(Propagation::Private, true)),
    ("rrelatime", AccessTimeAll(RELATIME)),
    ("rro", SetAll(READ_ONLY)),
    ("rrw", ClearAll(READ_ONLY)),
    ("rshared", Propagates(Propagation::Shared, true)),
    ("rslave", Propagates(Propagation::Slave, true)),
    ("rstrictatime", AccessTimeAll(STRICT_ACCESS_TIME)),
    ("rsuid", ClearAll(NO_SUID)),
    ("rsymfollow", ClearAll(NO_LINKS)),
    ("runbindable", Propagates(Propagation::Unbindable, true)),
    ("rw", Clear(READ_ONLY)),
    ("shared", Propagates(Propagation::Shared, false)),
    ("silent", Nothing),
    ("slave", Propagates(Propagation::Slave, false)),
    ("strictatime", AccessTime(STRICT_ACCESS_TIME)),
    ("suid", Clear(NO_SUID)),
    ("symfollow", Clear(NO_LINKS)),
    ("sync", FileSystem),
    ("tmpcopyup", CopiesUp),
    ("unbindable", Propagates(Propagation::Unbindable, false)),
];

/// Bits that are set and cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    pub(crate) set: u64,
    pub(crate) clear: u64,
}

impl Bits {
    fn set(&mut self, bit: u64) {
        self.set |= bit;
        self.clear &= !bit;
    }

    fn clear(&mut self, bit: u64) {
        self.set &= !bit;
        self.clear |= bit;
    }

    /// The kernel wants all bits of the access time cleared for any of its values.
    fn access_time(&mut self, value: u64) {
        self.set = self.set & !ACCESS_TIME | value;
        self.clear |= ACCESS_TIME;
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The options of a mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The bits of the mount.
    pub(crate) own: Bits,
    /// The way in which the mount keeps access times, if one is named.
    pub(crate) access: Option<u64>,
    /// The bits of the mount and of those below it, which are changed after the mount's own.
    pub(crate) all: Bits,
    /// The propagations, in order, each with whether the mounts below have it, too.
    pub(crate) propagations: Vec<(Propagation, bool)>,
    /// Whether the mount is a bind; with `true`, of the mounts below, too.
    pub(crate) binds: Option<bool>,
    /// Whether the new file system begins with the files that it covers.
    pub(crate) copies_up: bool,
    /// Whether the owners are mapped; with `true`, also on the mounts below.
    pub(crate) maps: Option<bool>,
    /// Whether a bind keeps the flags that are not named.
    pub(crate) keeps: bool,
    /// The options of the file system, in order.
    pub(crate) data: Vec<String>,
    /// The flags of the file system.
    pub(crate) flags: Vec<String>,
}

impl Options {
    /// Reads the words of the options. Of two that contradict each other, the later one counts; of
    /// the ways to keep access times, the one that counts in mount(2).
    #[must_use]
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        for word in words {
            let known = WORDS.iter().find(|(known, _)| *known == word);
            match known.map(|(_, meaning)| *meaning) {
                None => options.data.push(word.to_owned()),
                Some(Set(bit)) => options.own.set(bit),
                Some(Clear(bit)) => options.own.clear(bit),
                Some(AccessTime(value)) => {
                    options.access = Some(stronger(options.access, value));
                }
                Some(NotAccessTime(value)) => {
                    options.own.set &= !(value & NO_DIRECTORY_ACCESS_TIME);
                    options.access = options.access.filter(|access| *access != value);
                }
                Some(SetAll(bit)) => options.all.set(bit),
                Some(ClearAll(bit)) => options.all.clear(bit),
                Some(AccessTimeAll(value)) => options.all.access_time(value),
                Some(Propagates(kind, recursive)) => options.propagations.push((kind, recursive)),
                Some(Binds(recursive)) => options.binds = Some(recursive),
                Some(CopiesUp) => options.copies_up = true,
                Some(Maps(recursive)) => options.maps = Some(recursive),
                Some(FileSystem) => options.flags.push(word.to_owned()),
                Some(Keeps) => options.keeps = true,
                Some(Nothing) => {}
            }
        }
        options
    }

    /// Whether nothing can be written to the mount.
    pub(crate) fn is_read_only(&self) -> bool {
        self.own.set & READ_ONLY != 0
    }

    /// Returns the value of an option of the file system.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.data
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Returns the way to keep access times that mount(2) takes if it gets the flags of both.
fn stronger(one: Option<u64>, other: u64) -> u64 {
    [STRICT_ACCESS_TIME, NO_ACCESS_TIME]
        .into_iter()
        .find(|way| one == Some(*way) || other == *way)
        .unwrap_or(other)
}

/// Returns all words that are not passed to a file system, in order.
pub fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(word, _)| *word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_word_counts() {
        let options = Options::parse(["ro", "rw", "noexec", "mode=700", "rslave", "rbind"]);
        assert_eq!(
            options.own,
            Bits {
                set: NO_EXEC,
                clear: READ_ONLY
            }
        );
        assert_eq!(options.data, ["mode=700"]);
        assert_eq!(options.value("mode"), Some("700"));
        assert_eq!(options.propagations, [(Propagation::Slave, true)]);
        assert_eq!(options.binds, Some(true));
        assert!(!options.is_read_only());
    }

    #[test]
    fn of_the_ways_to_keep_access_times_one_counts() {
        let rows = [
            (&["noatime", "strictatime"][..], Some(STRICT_ACCESS_TIME)),
            (&["strictatime", "relatime"], Some(STRICT_ACCESS_TIME)),
            (
                &["strictatime", "nostrictatime", "relatime"],
                Some(RELATIME),
            ),
            (&["noatime", "relatime"], Some(NO_ACCESS_TIME)),
            (&["noatime", "atime"], None),
            (&["noatime", "nodiratime"], Some(NO_ACCESS_TIME)),
            (&["nodiratime"], None),
        ];
        for (words, access) in rows {
            let options = Options::parse(words.iter().copied());
            assert_eq!(options.access, access, "{words:?}");
        }
        assert!(Options::parse(["rbind"]).own.is_empty());
    }
}
