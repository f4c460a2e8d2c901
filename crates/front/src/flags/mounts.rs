//! The paths of the host that a container sees.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bundle::{Bind, Content, DefaultMount, MountSpec, Scratch, parse_binds, parse_mount};
use clap::Args;

use super::{Group, Variable};
use crate::caller::Caller;

/// The flags for paths of the host.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Mounts")]
pub struct MountFlags {
    /// Bind a path of the host: SOURCE[:DESTINATION[:ro|rw]], several separated by commas
    #[arg(short = 'B', long, value_name = "SPEC")]
    pub bind: Vec<OsString>,
    /// Mount as docker does: type=bind,source=PATH,destination=PATH,ro or
    /// type=tmpfs,destination=PATH,size=BYTES
    #[arg(long, value_name = "SPEC")]
    pub mount: Vec<OsString>,
    /// Leave out default mounts: proc, sys, dev, devpts, home, tmp, cwd, bind-paths, /etc/hosts or
    /// /etc/localtime, several separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub no_mount: Vec<String>,
    /// Add an empty directory at this path, several separated by commas; its content is lost at the
    /// end, or kept in --workdir
    #[arg(short = 'S', long, value_name = "PATH", value_delimiter = ',')]
    pub scratch: Vec<PathBuf>,
    /// Keep the home, /tmp and /var/tmp of --contain, and --scratch, in this directory of the host
    #[arg(short = 'W', long, value_name = "DIRECTORY")]
    pub workdir: Option<PathBuf>,
    /// Mount what a FUSE program serves: container:COMMAND PATH, or host:COMMAND PATH for a program of
    /// the host
    #[arg(long, value_name = "SPEC")]
    pub fusemount: Vec<String>,
    /// Add these libraries of the host, several separated by commas; programs find them last
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub containlibs: Vec<PathBuf>,
}

const BIND: Variable = Variable::of("bind", &["BIND", "BINDPATH"]);
const MOUNT: Variable = Variable::of("mount", &["MOUNT"]);
const NO_MOUNT: Variable = Variable::of("no_mount", &["NO_MOUNT"]);
const SCRATCH: Variable = Variable::of("scratch", &["SCRATCH", "SCRATCHDIR"]);
const WORKDIR: Variable = Variable::of("workdir", &["WORKDIR"]);
const FUSEMOUNT: Variable = Variable::of("fusemount", &["FUSESPEC"]);
const CONTAINLIBS: Variable = Variable::of("containlibs", &["CONTAINLIBS"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[
    BIND,
    MOUNT,
    NO_MOUNT,
    SCRATCH,
    WORKDIR,
    FUSEMOUNT,
    CONTAINLIBS,
];

/// The paths of the host that a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mounts {
    /// The user's binds, with absolute sources: those of flags, then those of variables.
    pub binds: Vec<Bind>,
    /// The directories for temporary data.
    pub scratch: Vec<Scratch>,
    /// The directory of the host that keeps temporary data.
    pub workdir: Option<PathBuf>,
    /// The default mounts that the container does not get.
    pub omitted: Vec<DefaultMount>,
    /// The words of `--no-mount` that mean nothing.
    pub unknown: Vec<String>,
    /// The libraries of the host, by absolute paths.
    pub libraries: Vec<PathBuf>,
    /// The file systems of FUSE programs.
    pub fuse: Vec<FuseMount>,
}

/// A file system that a FUSE program serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FuseMount {
    /// Whether the program runs on the host, and not in the container.
    pub on_host: bool,
    /// The program and its arguments, without the mount point.
    pub command: Vec<OsString>,
    /// The absolute path in the container.
    pub mount_point: PathBuf,
}

impl FuseMount {
    /// Parses `container:COMMAND ARGUMENT… MOUNTPOINT`.
    fn parse(spec: &str) -> Result<Self> {
        let wrong = || {
            format!("--fusemount {spec:?}: expected container:COMMAND PATH or host:COMMAND PATH")
        };
        let (kind, rest) = spec.split_once(':').with_context(wrong)?;
        let on_host = match kind {
            "container" | "container-daemon" => false,
            "host" | "host-daemon" => true,
            _ => bail!(wrong()),
        };
        let mut words = shlex::split(rest).with_context(wrong)?;
        let mount_point = words
            .pop()
            .filter(|_| !words.is_empty())
            .with_context(wrong)?;
        Ok(Self {
            on_host,
            command: words.into_iter().map(OsString::from).collect(),
            mount_point: bundle::clean(Path::new(&mount_point)).with_context(wrong)?,
        })
    }
}

impl Group for MountFlags {
    const LONG: &'static [&'static str] = &[
        "bind",
        "mount",
        "no-mount",
        "scratch",
        "workdir",
        "containlibs",
        "fusemount",
    ];
    const SHORT: &'static str = "BSW";
}

impl MountFlags {
    /// Combines flags and variables. The binds and mounts of both are used.
    ///
    /// # Errors
    ///
    /// Fails on invalid values, and on sources and directories that do not exist.
    pub fn resolve(&self, caller: &Caller) -> Result<Mounts> {
        let variables = &caller.variables;
        let site = caller.site()?;
        let workdir = variables.value(&WORKDIR).map(|(_, path)| path.into());
        let workdir = self.workdir.clone().or(workdir);
        let workdir = workdir.map(|path| directory("--workdir", &path, caller));
        let workdir = workdir.transpose()?;
        let mut mounts = Mounts {
            binds: Vec::new(),
            scratch: Vec::new(),
            omitted: Vec::new(),
            unknown: Vec::new(),
            libraries: self.libraries(caller)?,
            fuse: self.fuse(caller)?,
            workdir,
        };
        for argument in all(&self.bind, &BIND, caller) {
            mounts.binds.extend(parse_binds(&argument)?);
        }
        for argument in all(&self.mount, &MOUNT, caller) {
            match parse_mount(&argument)? {
                MountSpec::Bind(bind) => mounts.binds.push(bind),
                MountSpec::Empty(scratch) => mounts.scratch.push(scratch),
            }
        }
        if site.refuses_binds && !mounts.binds.is_empty() {
            bail!("--bind and --mount: this site does not allow them");
        }
        mounts.binds.extend(site_binds(&site.binds)?);
        for bind in &mut mounts.binds {
            bind.source = caller.absolute(&bind.source)?;
            if let Err(error) = std::fs::metadata(&bind.source) {
                bail!(
                    "bind source {}: {}",
                    bind.source.display(),
                    text::message(&error)
                );
            }
        }
        let scratch = self.scratch(caller)?;
        let scratch = scratch.into_iter().map(|path| mounts.at(path));
        let scratch: Vec<_> = scratch.collect();
        mounts.scratch.extend(scratch);
        let words = match self.no_mount.is_empty() {
            true => variables.list(&NO_MOUNT),
            false => self.no_mount.clone(),
        };
        for word in words.into_iter().chain(site.no_mount.iter().cloned()) {
            match omitted(&word) {
                Some(omitted) => mounts.omitted.extend(omitted),
                None => mounts.unknown.push(word),
            }
        }
        Ok(mounts)
    }

    /// Returns the directories of `--scratch`, without `.` and `..`.
    fn scratch(&self, caller: &Caller) -> Result<Vec<PathBuf>> {
        let paths = match self.scratch.is_empty() {
            true => { caller.variables.values(&SCRATCH) }
                .flat_map(|(_, value)| paths(value.as_bytes()))
                .collect(),
            false => self.scratch.clone(),
        };
        let cleaned = paths.iter().map(|path| bundle::clean(path));
        let cleaned: Result<Vec<_>, _> = cleaned.collect();
        cleaned.context("--scratch")
    }

    fn fuse(&self, caller: &Caller) -> Result<Vec<FuseMount>> {
        let variables = caller.variables.values(&FUSEMOUNT);
        let variables = variables.map(|(_, value)| value.to_string_lossy().into_owned());
        let specs = self.fusemount.iter().cloned().chain(variables);
        specs.map(|spec| FuseMount::parse(&spec)).collect()
    }

    fn libraries(&self, caller: &Caller) -> Result<Vec<PathBuf>> {
        let listed = caller.variables.value(&CONTAINLIBS);
        let listed = listed.map(|(_, value)| paths(value.as_bytes()).collect());
        let files = match self.containlibs.is_empty() {
            true => listed.unwrap_or_default(),
            false => self.containlibs.clone(),
        };
        let found = files.iter().map(|file| {
            let file = caller.absolute(file)?;
            let metadata = std::fs::metadata(&file);
            let metadata = metadata.map_err(|error| std::io::Error::other(text::message(&error)));
            let metadata = metadata.with_context(|| format!("--containlibs {}", file.display()))?;
            if metadata.is_dir() {
                bail!("--containlibs {}: is a directory", file.display());
            }
            Ok(file)
        });
        found.collect()
    }
}

/// Returns the site's binds whose sources exist.
fn site_binds(specs: &[OsString]) -> Result<Vec<Bind>> {
    let binds = specs.iter().map(|spec| parse_binds(spec));
    let binds = binds.collect::<Result<Vec<_>, _>>();
    let binds = binds
        .context("the site's configuration: bind")?
        .into_iter()
        .flatten();
    Ok(binds.filter(|bind| bind.source.exists()).collect())
}

/// Returns the values of a flag, then those of its variables.
fn all<'a>(
    flags: &'a [OsString],
    variable: &'a Variable,
    caller: &'a Caller,
) -> impl Iterator<Item = OsString> + 'a {
    let of_variables = caller.variables.values(variable);
    let of_variables = of_variables.map(|(_, value)| value.to_owned());
    flags.iter().cloned().chain(of_variables)
}

/// Returns the comma-separated paths of a variable.
fn paths(value: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    let parts = value.split(|byte| *byte == b',');
    let parts = parts.filter(|part| !part.is_empty());
    parts.map(|part| PathBuf::from(std::ffi::OsStr::from_bytes(part)))
}

/// Returns a directory that the user named for a flag, by its absolute path.
pub(super) fn directory(flag: &str, path: &Path, caller: &Caller) -> Result<PathBuf> {
    let path = caller.absolute(path)?;
    if path.to_str().is_none() {
        bail!("{flag} {}: the name is not UTF-8", path.display());
    }
    match std::fs::metadata(&path) {
        Err(error) => bail!("{flag} {}: {}", path.display(), text::message(&error)),
        Ok(found) if !found.is_dir() => bail!("{flag} {}: not a directory", path.display()),
        Ok(_) => Ok(path),
    }
}

impl Mounts {
    /// Returns the content of a contained container's own directory, which `--workdir` keeps under
    /// this name.
    pub fn kept(&self, name: &str) -> Content {
        let kept = self.workdir.as_ref().map(|workdir| workdir.join(name));
        kept.map_or(Content::Empty, Content::Host)
    }

    /// Returns a directory for temporary data, which is in the working directory if there is one.
    fn at(&self, destination: PathBuf) -> Scratch {
        let name = destination.strip_prefix("/").unwrap_or(&destination);
        let kept = self.workdir.as_ref();
        let kept = kept.map(|workdir| workdir.join("scratch").join(name));
        Scratch {
            content: kept.map_or(Content::Empty, Content::Host),
            destination,
            size: None,
        }
    }
}

/// Returns the default mounts that a word of `--no-mount` stands for.
fn omitted(word: &str) -> Option<&'static [DefaultMount]> {
    Some(match word {
        "proc" => &[DefaultMount::Proc],
        "sys" => &[DefaultMount::Sys],
        "dev" => &[DefaultMount::Dev],
        "devpts" => &[DefaultMount::Devpts],
        "home" => &[DefaultMount::Home],
        "tmp" => &[DefaultMount::Tmp],
        "cwd" => &[DefaultMount::Cwd],
        "bind-paths" => &[DefaultMount::Hosts, DefaultMount::Localtime],
        "/etc/hosts" => &[DefaultMount::Hosts],
        "/etc/localtime" => &[DefaultMount::Localtime],
        // No container gets them, or there are none.
        "hostfs" | "" => &[],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Variables;

    fn resolve(flags: &MountFlags, variables: &[(&str, &str)]) -> Result<Mounts> {
        flags.resolve(&Caller::new(Variables::of(variables), Some("/".into())))
    }

    fn binding(binds: &[&str], variables: &[(&str, &str)]) -> Result<Mounts> {
        let flags = MountFlags {
            bind: binds.iter().map(Into::into).collect(),
            ..Default::default()
        };
        resolve(&flags, variables)
    }

    #[test]
    fn binds_of_flags_and_variables_add_up() {
        let variables = [
            ("SINGULARITY_BIND", "/tmp:/b"),
            ("APPTAINER_BINDPATH", "/tmp:/c"),
            ("APPTAINER_MOUNT", "type=bind,src=/tmp,dst=/d"),
        ];
        let mounts = binding(&["tmp:/a"], &variables).unwrap();
        let binds = mounts.binds.iter().map(|bind| {
            let destination = bind.destination.as_ref().unwrap();
            (bind.source.to_str().unwrap(), destination.to_str().unwrap())
        });
        let expected = [
            ("/tmp", "/a"),
            ("/tmp", "/b"),
            ("/tmp", "/c"),
            ("/tmp", "/d"),
        ];
        assert_eq!(binds.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_missing_source_is_named() {
        let error = binding(&["/nosuch:/mnt"], &[]).unwrap_err().to_string();
        assert_eq!(error, "bind source /nosuch: no such file or directory");
        let flags = MountFlags {
            workdir: Some("nosuch".into()),
            ..Default::default()
        };
        let error = resolve(&flags, &[]).unwrap_err().to_string();
        assert_eq!(error, "--workdir /nosuch: no such file or directory");
    }

    #[test]
    fn scratch_directories_are_in_the_working_directory_if_there_is_one() {
        let variables = [("SINGULARITY_SCRATCHDIR", "/run,/var/lib/x/")];
        let places = |variables: &[(&str, &str)]| {
            let mounts = resolve(&MountFlags::default(), variables).unwrap();
            let scratch = mounts.scratch.into_iter();
            let scratch = scratch.map(|one| (one.destination, one.content));
            scratch.collect::<Vec<_>>()
        };
        let expected = ["/run", "/var/lib/x"].map(|path| (path.into(), Content::Empty));
        assert_eq!(places(&variables), expected);
        let kept = places(&[variables[0], ("APPTAINER_WORKDIR", "/tmp")]);
        let content = Content::Host("/tmp/scratch/var/lib/x".into());
        assert_eq!(kept[1], ("/var/lib/x".into(), content));
        let relative = MountFlags {
            scratch: vec!["run".into()],
            ..Default::default()
        };
        assert!(resolve(&relative, &[]).is_err());
    }

    #[test]
    fn a_fuse_program_has_a_mount_point() {
        let parse = |spec: &str| FuseMount::parse(spec).map_err(|error| error.to_string());
        let found = parse("container:cvmfs2 -o 'a b' repo /cvmfs/repo/").unwrap();
        assert_eq!(found.command, ["cvmfs2", "-o", "a b", "repo"]);
        assert_eq!(found.mount_point, Path::new("/cvmfs/repo"));
        assert!(!found.on_host && parse("host-daemon:x /y").unwrap().on_host);
        for wrong in [
            "",
            "x",
            "container:/x",
            "elsewhere:x /y",
            "host:x y",
            "host:'x /y",
        ] {
            assert!(
                parse(wrong).unwrap_err().starts_with("--fusemount"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn no_mount_takes_apptainers_words() {
        let mounts = resolve(
            &MountFlags::default(),
            &[("APPTAINER_NO_MOUNT", "tmp,bind-paths,hostfs,x")],
        );
        let mounts = mounts.unwrap();
        let expected = [
            DefaultMount::Tmp,
            DefaultMount::Hosts,
            DefaultMount::Localtime,
        ];
        assert_eq!(mounts.omitted, expected);
        assert_eq!(mounts.unknown, ["x"]);
    }
}
