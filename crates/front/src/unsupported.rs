//! Apptainer's variables for flags that front does not have, and variables that look like known ones.
//! The former cause an error, the latter a warning: none is ignored silently.

use anyhow::{Result, bail};

use crate::flags;
use crate::variables::Variables;

/// Flags that are on or off: names of variables, and of the flags.
const SWITCHES: [(&str, &str); 21] = [
    ("BOOT", "--boot"),
    ("COMPAT", "--compat"),
    ("DMTCP_RESTART", "--dmtcp-restart"),
    ("FAKEROOT", "--fakeroot"),
    ("KEEP_PRIVS", "--keep-privs"),
    ("ALLOW_SETUID", "--allow-setuid"),
    ("NET", "--net"),
    ("UNSHARE_NET", "--net"),
    ("NOSHIMINIT", "--no-init"),
    ("NO_EVAL", "--no-eval"),
    ("NO_HOME", "--no-home"),
    ("NO_NV", "--no-nv"),
    ("NV_OFF", "--no-nv"),
    ("NO_ROCM", "--no-rocm"),
    ("ROCM_OFF", "--no-rocm"),
    ("NO_UMASK", "--no-umask"),
    ("OOM_KILL_DISABLE", "--oom-kill-disable"),
    ("UTS", "--uts"),
    ("UNSHARE_UTS", "--uts"),
    ("WRITABLE", "--writable"),
    ("WRITABLE_TMPFS", "--writable-tmpfs"),
];

/// Flags with a value.
const VALUES: [(&str, &str); 37] = [
    ("ADD_CAPS", "--add-caps"),
    ("APP", "--app"),
    ("APPNAME", "--app"),
    ("APPLY_CGROUPS", "--apply-cgroups"),
    ("BLKIO_WEIGHT", "--blkio-weight"),
    ("BLKIO_WEIGHT_DEVICE", "--blkio-weight-device"),
    ("CONTAINLIBS", "--containlibs"),
    ("CPUS", "--cpus"),
    ("CPUSET_CPUS", "--cpuset-cpus"),
    ("CPUSET_MEMS", "--cpuset-mems"),
    ("CPU_SHARES", "--cpu-shares"),
    ("DMTCP_LAUNCH", "--dmtcp-launch"),
    ("DNS", "--dns"),
    ("DROP_CAPS", "--drop-caps"),
    ("ENCRYPTION_PASSPHRASE", "--passphrase"),
    ("ENCRYPTION_PEM_DATA", "--pem-path"),
    ("ENCRYPTION_PEM_PATH", "--pem-path"),
    ("ENV_FILE", "--env-file"),
    ("FUSESPEC", "--fusemount"),
    ("HOME", "--home"),
    ("HOSTNAME", "--hostname"),
    ("MEMORY", "--memory"),
    ("MEMORY_RESERVATION", "--memory-reservation"),
    ("MEMORY_SWAP", "--memory-swap"),
    ("MOUNT", "--mount"),
    ("NETNS_PATH", "--netns-path"),
    ("NETWORK", "--network"),
    ("NETWORK_ARGS", "--network-args"),
    ("NO_MOUNT", "--no-mount"),
    ("OVERLAY", "--overlay"),
    ("OVERLAYIMAGE", "--overlay"),
    ("PIDS_LIMIT", "--pids-limit"),
    ("PID_FILE", "--pid-file"),
    ("SCRATCH", "--scratch"),
    ("SCRATCHDIR", "--scratch"),
    ("SECURITY", "--security"),
    ("WORKDIR", "--workdir"),
];

/// Variables that Apptainer sets inside of containers, or that only describe an installation.
const HARMLESS: [&str; 12] = [
    "APPNAME",
    "COMMAND",
    "CONTAINER",
    "ENVIRONMENT",
    "IMAGE",
    "INIT",
    "INSTANCE",
    "NAME",
    "PATH",
    "ROOT",
    "SHELL",
    "VERSION",
];

/// Returns a warning for each variable that is unknown and looks like a known one.
pub fn misspelled(variables: &Variables) -> Vec<String> {
    let own = || flags::variables().flat_map(|variable| variable.names.iter().copied());
    let others = || SWITCHES.iter().chain(&VALUES).map(|(name, _)| *name);
    let known = || own().chain(others()).chain(HARMLESS);
    let unknown = variables.names_of_flags();
    let unknown = unknown.filter(|(_, name)| !known().any(|one| one == *name));
    let meant = unknown.filter_map(|(family, name)| {
        let meant = known().find(|one| is_near(name, one))?;
        Some(format!(
            "{family}{name} is unknown and has no effect; did you mean {family}{meant}?"
        ))
    });
    meant.collect()
}

/// Whether two names differ by one letter that was forgotten, added, changed or swapped, or by two if
/// they are long.
fn is_near(name: &str, known: &str) -> bool {
    let most = match known.len() {
        0..4 => 0,
        4..8 => 1,
        _ => 2,
    };
    name.len().abs_diff(known.len()) <= most && strsim::damerau_levenshtein(name, known) <= most
}

/// Refuses a variable for a flag that front does not have.
///
/// # Errors
///
/// Fails with the first such variable.
pub fn check(variables: &Variables) -> Result<()> {
    let find = |table: &[(&str, &'static str)], name: &str| {
        let mut rows = table.iter();
        rows.find(|(own, _)| *own == name).map(|(_, flag)| *flag)
    };
    for (_, name) in variables.names_of_flags() {
        let flag = match find(&SWITCHES, name) {
            Some(flag) => variables.switch(name)?.then_some(flag),
            None => find(&VALUES, name),
        };
        if let Some(flag) = flag
            && let Some((full, _)) = variables.flag(name)
        {
            bail!("{full}: front has no {flag} yet; unset the variable")
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_known_name_is_told() {
        let warnings = |name: &str| misspelled(&Variables(vec![(name.into(), "1".into())]));
        assert_eq!(
            warnings("APPTAINER_BINDPAHT"),
            ["APPTAINER_BINDPAHT is unknown and has no effect; did you mean APPTAINER_BINDPATH?"]
        );
        for name in [
            "SINGULARITY_CONTAINAL",
            "FRONT_NO_HOM",
            "APPTAINER_WRITABLETMPFS",
        ] {
            assert_eq!(warnings(name).len(), 1, "{name}");
        }
        for name in [
            "APPTAINER_CONTAINER",
            "SINGULARITY_NAME",
            "APPTAINER_BINDPATH",
            "SINGULARITY_DIR",
            "APPTAINER_MODULE_VERSION",
            "BINDPAHT",
        ] {
            assert_eq!(warnings(name), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn what_is_not_given_is_refused_by_name() {
        let check = |name: &str, value: &str| {
            check(&Variables(vec![(name.into(), value.into())])).map_err(|error| error.to_string())
        };
        let error = check("SINGULARITY_NO_HOME", "1").unwrap_err();
        assert_eq!(
            error,
            "SINGULARITY_NO_HOME: front has no --no-home yet; unset the variable"
        );
        assert!(check("APPTAINER_NETWORK", "none").is_err());
        for (name, value) in [
            ("SINGULARITY_NO_HOME", "0"),
            ("SINGULARITY_NO_HOME", ""),
            ("SINGULARITY_NV", "1"),
            ("SINGULARITY_NAME", "x"),
            ("NO_HOME", "1"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
    }
}
