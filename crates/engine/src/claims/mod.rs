//! Claims of a container to its id and to its cgroup. Of two creations with one id, the second must
//! not remove what the first has made; of two in one cgroup, the one that fails must not kill the
//! other.

mod maker;
mod record;

pub(crate) use maker::Maker;
pub(crate) use record::Records;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Instant;

use record::Record;
use rustix::fs::{Access, access};

use crate::Error;
use crate::cgroup::{Cgroup, INTERVAL, deadline, refuse_occupied};
use crate::shadow_bundle::{make_private, remove_directories, scratch_directory};

/// The claims of a container that is being made.
#[derive(Debug)]
pub(crate) struct Claims {
    // Dropped before the id, whose record names the cgroup of an interrupted creation.
    cgroup: Option<CgroupClaim>,
    _id: IdClaim,
}

impl Claims {
    /// Takes an id and, if its path is given, a cgroup.
    ///
    /// # Errors
    ///
    /// Fails when one of them is taken.
    pub(crate) fn take(
        root: &Path,
        id: &str,
        cgroup: Option<&str>,
        maker: &Maker,
    ) -> Result<Self, Error> {
        let of_id = IdClaim::take(root, id, cgroup, maker)?;
        let of_cgroup = cgroup.map(|path| CgroupClaim::take(path, root, id, maker));
        Ok(Self {
            cgroup: of_cgroup.transpose()?,
            _id: of_id,
        })
    }

    /// Whether no other container can be made in the cgroup meanwhile.
    pub(crate) fn have_cgroup(&self) -> bool {
        self.cgroup.is_some()
    }

    /// Records that the container is complete.
    ///
    /// # Errors
    ///
    /// Fails when the record cannot be written.
    pub(crate) fn keep(&mut self) -> Result<(), Error> {
        self.cgroup.as_mut().map_or(Ok(()), CgroupClaim::keep)
    }
}

/// The claim of a container that is being made to its id. It ends with this value.
#[derive(Debug)]
struct IdClaim {
    root: PathBuf,
    id: String,
}

impl IdClaim {
    /// Takes an id. Ends and removes what a maker that was killed has left of a container of this
    /// id.
    ///
    /// # Errors
    ///
    /// Fails when there is a container of that id, or one is being made.
    fn take(root: &Path, id: &str, cgroup: Option<&str>, maker: &Maker) -> Result<Self, Error> {
        let records = Records::lock(&ids(root))?;
        let before = records.read(id);
        let is_taken = before.as_ref().is_some_and(Record::may_be_being_made);
        if is_taken || root.join(id).symlink_metadata().is_ok() {
            return Err(Error::Exists);
        }
        if let Some(before) = before {
            remove_interrupted(&before)?;
        }
        let record = Record {
            root: root.to_owned(),
            id: id.to_owned(),
            cgroup: cgroup.map(str::to_owned),
            maker: Some(maker.clone()),
        };
        records.write(id, &record)?;
        Ok(Self {
            root: root.to_owned(),
            id: id.to_owned(),
        })
    }
}

impl Drop for IdClaim {
    fn drop(&mut self) {
        if let Ok(records) = Records::lock(&ids(&self.root)) {
            records.remove(&self.id);
        }
    }
}

/// The claim of a container to its cgroup while the container is made, ended or removed. With this
/// value, the cgroup goes back to its owner of before, unless the claim is [kept](Self::keep) or
/// [given up](Self::give_up).
#[derive(Debug)]
pub(crate) struct CgroupClaim {
    /// The directory of the record.
    directory: PathBuf,
    record: Record,
    before: Option<Record>,
    is_over: bool,
}

impl CgroupClaim {
    /// Waits until nobody else works on the cgroup, and takes it for a new container.
    ///
    /// # Errors
    ///
    /// Fails when the other one takes too long, or the cgroup has processes.
    fn take(path: &str, root: &Path, id: &str, maker: &Maker) -> Result<Self, Error> {
        let record = Record {
            root: root.to_owned(),
            id: id.to_owned(),
            cgroup: Some(path.to_owned()),
            maker: Some(maker.clone()),
        };
        let claim = Self::lock(record, |_| true)?.ok_or(Error::Exists)?;
        refuse_occupied(path)?;
        Ok(claim)
    }

    /// Takes the cgroup of a container that is complete, if it is still that container's. Nobody
    /// makes another one in it as long as the claim is held.
    ///
    /// # Errors
    ///
    /// Fails when somebody else works on the cgroup for long.
    pub(crate) fn of_owner(path: &str, root: &Path, id: &str) -> Result<Option<Self>, Error> {
        let record = Record {
            root: root.to_owned(),
            id: id.to_owned(),
            cgroup: Some(path.to_owned()),
            maker: Some(Maker::this(None)?),
        };
        Self::lock(record, |owner| {
            owner.is_none_or(|owner| owner.is_of(root, id))
        })
    }

    /// Removes the record of a complete container if `remove` has removed its cgroup, which it must
    /// do at once: nobody else can claim any cgroup meanwhile. Returns whether both are removed.
    ///
    /// # Errors
    ///
    /// Fails when another process keeps the records locked for long.
    pub(crate) fn give_up_if(
        path: &str,
        root: &Path,
        id: &str,
        remove: impl FnOnce() -> bool,
    ) -> Result<bool, Error> {
        let records = Records::lock(&cgroups(root))?;
        let owner = read_owner(&records, path);
        let is_right = owner.is_none_or(|owner| !owner.is_being_made() && owner.is_of(root, id));
        let is_removed = is_right && remove();
        if is_removed {
            records.remove(&name(path));
        }
        Ok(is_removed)
    }

    /// Writes a record as soon as nobody works on the cgroup. Returns `None` if the owner that is
    /// recorded then is not the right one.
    fn lock(
        record: Record,
        is_right: impl Fn(Option<&Record>) -> bool,
    ) -> Result<Option<Self>, Error> {
        let path = record.cgroup.clone().unwrap_or_default();
        let directory = cgroups(&record.root);
        let end = deadline();
        loop {
            let records = Records::lock(&directory)?;
            let before = read_owner(&records, &path);
            if !before.as_ref().is_some_and(Record::is_being_made) {
                if !is_right(before.as_ref()) {
                    return Ok(None);
                }
                records.write(&name(&path), &record)?;
                drop(records);
                return Ok(Some(Self {
                    directory,
                    record,
                    before,
                    is_over: false,
                }));
            }
            drop(records);
            if Instant::now() > end {
                return Err(Error::Refused(format!(
                    "cgroupsPath: another container is being made in {path}"
                )));
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Whether no other container was made in a cgroup below.
    pub(crate) fn is_alone(&self) -> Result<bool, Error> {
        let record = &self.record;
        let path = self.path();
        let is_below = |other: &Record| {
            let cgroup = other.cgroup.as_deref().map(Path::new);
            let is_there = other.is_being_made() || other.root.join(&other.id).is_dir();
            !other.is_of(&record.root, &record.id)
                && is_there
                && cgroup.is_some_and(|cgroup| cgroup.starts_with(path))
        };
        let all = Records::lock(&self.directory)?.all();
        Ok(!all.iter().any(is_below))
    }

    /// Records that the container is complete. The cgroup is its own then, until another one is
    /// made in the empty cgroup.
    ///
    /// # Errors
    ///
    /// Fails when the record cannot be written.
    pub(crate) fn keep(&mut self) -> Result<(), Error> {
        self.record.maker = None;
        let own = self.record.clone();
        self.end(Some(&own))
    }

    /// Removes the record: the cgroup is nobody's.
    ///
    /// # Errors
    ///
    /// Fails when the record cannot be removed.
    pub(crate) fn give_up(mut self) -> Result<(), Error> {
        self.end(None)
    }

    fn end(&mut self, then: Option<&Record>) -> Result<(), Error> {
        self.is_over = true;
        let records = Records::lock(&self.directory)?;
        match then {
            Some(record) => records.write(&name(self.path()), record),
            None => {
                records.remove(&name(self.path()));
                Ok(())
            }
        }
    }

    fn path(&self) -> &str {
        self.record.cgroup.as_deref().unwrap_or_default()
    }
}

impl Drop for CgroupClaim {
    fn drop(&mut self) {
        if !self.is_over {
            let before = self.before.take();
            let _ = self.end(before.as_ref());
        }
    }
}

/// Locks the ids of a state root for a moment: no container is made and none is forgotten meanwhile.
///
/// # Errors
///
/// Fails when another process holds the lock for long.
pub(crate) fn lock_ids(root: &Path) -> Result<Records, Error> {
    Records::lock(&ids(root))
}

/// The state of a creation that somebody wants to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// Nobody makes the container.
    None,
    /// Its maker has ended, and completed the container or removed it.
    Ended,
    /// Its maker was killed. Everything that it had made is removed.
    Removed,
}

/// Ends the creation of a container.
///
/// # Errors
///
/// Fails when the container is being made and `force` is not set, or something cannot be ended or
/// removed.
pub(crate) fn end_creation(root: &Path, id: &str, force: bool) -> Result<Creation, Error> {
    // A record is there before anything of the container is.
    if !ids(root).join(id).exists() {
        return Ok(Creation::None);
    }
    let Some(record) = Records::lock(&ids(root))?.read(id) else {
        return Ok(Creation::None);
    };
    let working = record.maker.as_ref();
    let working = working.filter(|maker| maker.is_alive() || maker.is_elsewhere());
    if let Some(maker) = working {
        if !force {
            return Err(Error::WrongStatus(format!(
                "cannot delete container {id} that is not stopped: it is being made"
            )));
        }
        // It removes its claim itself, or is killed.
        maker.end()?;
    }
    let records = Records::lock(&ids(root))?;
    if records.read(id).as_ref() != Some(&record) {
        return Ok(Creation::Ended);
    }
    remove_interrupted(&record)?;
    records.remove(id);
    Ok(Creation::Removed)
}

/// Ends and removes what a maker that was killed has left. Other processes in the cgroup are not
/// the maker's: somebody else has used the cgroup since.
fn remove_interrupted(record: &Record) -> Result<(), Error> {
    let (root, id) = (&record.root, &record.id);
    if let Some(maker) = &record.maker {
        maker.end_orphans()?;
    }
    if let Some(path) = &record.cgroup
        && let Some(claim) = CgroupClaim::of_owner(path, root, id)?
    {
        Cgroup::of_path(path, id).remove()?;
        claim.give_up()?;
    }
    remove_directories(root, id)
}

/// Returns the owner of a cgroup. The name of a record can be the same for two paths.
fn read_owner(records: &Records, path: &str) -> Option<Record> {
    let record = records.read(&name(path))?;
    (record.cgroup.as_deref() == Some(path)).then_some(record)
}

/// Returns the name of the record of a cgroup, whose path may be longer than a file's name.
fn name(path: &str) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Returns the directory with the claims to ids.
fn ids(root: &Path) -> PathBuf {
    scratch_directory(root, "claims")
}

/// Returns the directory with the claims to cgroups. State roots share it, because they share the
/// cgroups.
fn cgroups(root: &Path) -> PathBuf {
    let uid = rustix::process::geteuid();
    let common = match uid.is_root() {
        true => PathBuf::from("/run/slipway"),
        false => PathBuf::from(format!("/run/user/{}/slipway", uid.as_raw())),
    };
    let may_use = || access(&common, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let is_usable = may_use() || make_private(&common).is_ok() && may_use();
    scratch_directory(if is_usable { &common } else { root }, "cgroups")
}
