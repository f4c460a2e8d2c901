//! A mount that a container wants.

use std::path::{Path, PathBuf};

use rootfs::plain;
use serde_json::Value;

use crate::options::Options;

/// An entry of the specification's `mounts`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    pub(crate) destination: PathBuf,
    pub(crate) source: PathBuf,
    /// The type of the file system; empty for a bind.
    pub(crate) kind: String,
    pub(crate) options: Options,
    /// The maps of users and groups, if the mount has its own.
    pub(crate) maps: Option<(Value, Value)>,
}

impl Mount {
    /// Reads a mount.
    ///
    /// # Errors
    ///
    /// Returns a message about a mount that cannot be made.
    pub fn parse(mount: &Value) -> Result<Self, String> {
        let text = |name: &str| mount[name].as_str().unwrap_or_default();
        let destination = plain(Path::new(text("destination")));
        let refuse = |reason: &str| {
            let path = destination.display();
            Err(format!("the mount at {path}: {reason}"))
        };
        if destination == Path::new("/") {
            return refuse("the root cannot be mounted on");
        }
        let words = mount["options"].as_array().into_iter().flatten();
        let mut options = Options::parse(words.filter_map(Value::as_str));
        let mut kind = text("type").to_owned();
        if kind == "bind" || options.binds.is_some() {
            kind.clear();
            options.binds.get_or_insert(false);
            if let Some(word) = options.data.first() {
                return refuse(&format!("a bind has no option {word:?}"));
            }
        } else if kind.is_empty() {
            return refuse("it has no type");
        }
        if options.copies_up && kind != "tmpfs" {
            return refuse("tmpcopyup is an option of tmpfs only");
        }
        let maps = |name: &str| Some(mount[name].clone()).filter(is_filled);
        let maps = match (maps("uidMappings"), maps("gidMappings")) {
            (Some(users), Some(groups)) => Some((users, groups)),
            (None, None) => None,
            _ => return refuse("uidMappings and gidMappings belong together"),
        };
        if maps.is_some() {
            options.maps.get_or_insert(false);
        }
        if options.maps.is_some() && options.binds.is_none() {
            return refuse("only a bind can have mapped owners");
        }
        Ok(Self {
            source: text("source").into(),
            destination,
            kind,
            options,
            maps,
        })
    }

    /// Takes a destination that begins with the path of the container's root on the host for one inside
    /// of the container, as runc does.
    #[must_use]
    pub fn inside(mut self, root: &Path) -> Self {
        if let Ok(rest) = self.destination.strip_prefix(root)
            && !rest.as_os_str().is_empty()
        {
            self.destination = Path::new("/").join(rest);
        }
        self
    }

    /// Returns the path inside of the container.
    #[must_use]
    pub fn destination(&self) -> &Path {
        &self.destination
    }

    /// Returns the type of the file system; empty for a bind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the source, a path of the host for a bind.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Whether the mount shows a directory or file of the host.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.options.binds.is_some()
    }

    /// Whether the bind brings the mounts below its source along.
    #[must_use]
    pub fn is_recursive(&self) -> bool {
        self.options.binds == Some(true)
    }

    /// Whether nothing can be written to the mount.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options.is_read_only() || self.options.all.set & sys::mount_bits::READ_ONLY != 0
    }

    /// Whether the owners of the files are mapped; with `true`, also on the mounts below.
    #[must_use]
    pub fn maps_owners(&self) -> Option<bool> {
        self.options.maps
    }

    /// Returns the mount's own maps of users and groups.
    #[must_use]
    pub fn maps(&self) -> Option<(&Value, &Value)> {
        self.maps.as_ref().map(|(users, groups)| (users, groups))
    }
}

fn is_filled(list: &Value) -> bool {
    list.as_array().is_some_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mounts_that_contradict_themselves_are_refused() {
        let rows = [
            (json!({"destination": "/a/..", "type": "tmpfs"}), "the root"),
            (json!({"destination": "/a"}), "no type"),
            (
                json!({"destination": "/a", "type": "bind", "options": ["size=1"]}),
                "no option \"size=1\"",
            ),
            (
                json!({"destination": "/a", "type": "proc", "options": ["tmpcopyup"]}),
                "tmpcopyup",
            ),
            (
                json!({"destination": "/a", "type": "proc", "options": ["idmap"]}),
                "only a bind",
            ),
            (
                json!({"destination": "/a", "type": "bind", "uidMappings": [1]}),
                "belong together",
            ),
        ];
        for (mount, reason) in rows {
            let refused = Mount::parse(&mount).unwrap_err();
            assert!(refused.contains(reason), "{mount}: {refused}");
        }
        let bind = json!({"destination": "b/./c", "source": "/x", "type": "none", "options": ["rbind", "ro"]});
        let bind = Mount::parse(&bind).unwrap();
        assert!(bind.is_bind() && bind.is_recursive() && bind.is_read_only());
        assert_eq!(bind.destination(), Path::new("/b/c"));
    }
}
