//! Limits for a container's resources, by a cgroup of version 2.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Group, Variable};
use crate::caller::Caller;
use crate::small_file;

/// The flags for limits.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitFlags {
    /// Limit the processors to this number, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,
    /// Give this weight to the processors, relative to 1024
    #[arg(long, value_name = "WEIGHT")]
    pub cpu_shares: Option<String>,
    /// Use only these processors, such as 0-3,8
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Use only the memory of these nodes, such as 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Limit the memory, such as 2G
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Keep this memory as long as the machine has enough
    #[arg(long, value_name = "SIZE")]
    pub memory_reservation: Option<String>,
    /// Limit memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub memory_swap: Option<String>,
    /// Limit the number of processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<String>,
    /// Give this weight to the storage, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<String>,
    /// Read limits from a TOML file
    #[arg(long, value_name = "FILE")]
    pub apply_cgroups: Option<PathBuf>,
}

impl Group for LimitFlags {
    const LONG: &'static [&'static str] = &[
        "cpus",
        "cpu-shares",
        "cpuset-cpus",
        "cpuset-mems",
        "memory",
        "memory-reservation",
        "memory-swap",
        "pids-limit",
        "blkio-weight",
        "apply-cgroups",
    ];
    const SHORT: &'static str = "";
}

const CPUS: Variable = Variable::of("cpus", &["CPUS"]);
const CPU_SHARES: Variable = Variable::of("cpu_shares", &["CPU_SHARES"]);
const CPUSET_CPUS: Variable = Variable::of("cpuset_cpus", &["CPUSET_CPUS"]);
const CPUSET_MEMS: Variable = Variable::of("cpuset_mems", &["CPUSET_MEMS"]);
const MEMORY: Variable = Variable::of("memory", &["MEMORY"]);
const MEMORY_RESERVATION: Variable = Variable::of("memory_reservation", &["MEMORY_RESERVATION"]);
const MEMORY_SWAP: Variable = Variable::of("memory_swap", &["MEMORY_SWAP"]);
const PIDS_LIMIT: Variable = Variable::of("pids_limit", &["PIDS_LIMIT"]);
const BLKIO_WEIGHT: Variable = Variable::of("blkio_weight", &["BLKIO_WEIGHT"]);
const APPLY_CGROUPS: Variable = Variable::of("apply_cgroups", &["APPLY_CGROUPS"]);

/// The variables of these flags.
pub(super) const VARIABLES: &[Variable] = &[
    CPUS,
    CPU_SHARES,
    CPUSET_CPUS,
    CPUSET_MEMS,
    MEMORY,
    MEMORY_RESERVATION,
    MEMORY_SWAP,
    PIDS_LIMIT,
    BLKIO_WEIGHT,
    APPLY_CGROUPS,
];

/// A limit of a cgroup of version 2 ([cgroup-v2]).
///
/// [cgroup-v2]: https://docs.kernel.org/admin-guide/cgroup-v2.html
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limit {
    /// The flag that asks for it.
    pub flag: &'static str,
    /// The controller.
    pub controller: &'static str,
    /// The file of the cgroup.
    pub file: &'static str,
    /// The text for the file.
    pub value: String,
}

impl LimitFlags {
    /// Returns the name of a limit that is given as a flag, not as a variable.
    pub fn typed(&self) -> Option<&'static str> {
        let given = [
            (self.cpus.is_some(), "--cpus"),
            (self.cpu_shares.is_some(), "--cpu-shares"),
            (self.cpuset_cpus.is_some(), "--cpuset-cpus"),
            (self.cpuset_mems.is_some(), "--cpuset-mems"),
            (self.memory.is_some(), "--memory"),
            (self.memory_reservation.is_some(), "--memory-reservation"),
            (self.memory_swap.is_some(), "--memory-swap"),
            (self.pids_limit.is_some(), "--pids-limit"),
            (self.blkio_weight.is_some(), "--blkio-weight"),
            (self.apply_cgroups.is_some(), "--apply-cgroups"),
        ];
        given
            .into_iter()
            .find_map(|(is_given, name)| is_given.then_some(name))
    }

    /// Combines flags, variables and the file of limits.
    ///
    /// # Errors
    ///
    /// Fails on invalid values. The error names the flag.
    pub fn resolve(&self, caller: &Caller) -> Result<Vec<Limit>> {
        let variables = &caller.variables;
        let text = |flag: &Option<String>, variable: &Variable| {
            let by_variable = || {
                let (_, value) = variables.value(variable)?;
                Some(value.to_string_lossy().into_owned())
            };
            flag.clone().or_else(by_variable)
        };
        let mut given = Given {
            cpus: text(&self.cpus, &CPUS),
            cpu_shares: text(&self.cpu_shares, &CPU_SHARES),
            cpuset_cpus: text(&self.cpuset_cpus, &CPUSET_CPUS),
            cpuset_mems: text(&self.cpuset_mems, &CPUSET_MEMS),
            memory: text(&self.memory, &MEMORY),
            memory_reservation: text(&self.memory_reservation, &MEMORY_RESERVATION),
            memory_swap: text(&self.memory_swap, &MEMORY_SWAP),
            pids_limit: text(&self.pids_limit, &PIDS_LIMIT),
            blkio_weight: text(&self.blkio_weight, &BLKIO_WEIGHT),
        };
        let by_variable = || Some(PathBuf::from(variables.value(&APPLY_CGROUPS)?.1));
        if let Some(path) = self.apply_cgroups.clone().or_else(by_variable) {
            let path = caller.absolute(&path)?;
            let named = || format!("--apply-cgroups {}", path.display());
            let text = small_file::read_text(&path);
            let text = text.map_err(|error| std::io::Error::other(text::message(&error)));
            given.fill(&text.with_context(named)?).with_context(named)?;
        }
        given.limits()
    }
}

/// The values of the flags.
#[derive(Debug, Default)]
struct Given {
    cpus: Option<String>,
    cpu_shares: Option<String>,
    cpuset_cpus: Option<String>,
    cpuset_mems: Option<String>,
    memory: Option<String>,
    memory_reservation: Option<String>,
    memory_swap: Option<String>,
    pids_limit: Option<String>,
    blkio_weight: Option<String>,
}

impl Given {
    /// Takes what is not given from a file in the form of Apptainer's `cgroups.toml`.
    fn fill(&mut self, text: &str) -> Result<()> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.unwrap_or_default().matches('\n').count() + 1;
            anyhow::anyhow!("line {line}: {}", error.message())
        })?;
        for (section, values) in &table {
            let values = values.as_table();
            let values = values
                .with_context(|| format!("{section}: expected a section such as [memory], once"))?;
            for (key, value) in values {
                let value = match value {
                    toml::Value::String(text) => text.clone(),
                    toml::Value::Integer(number) => number.to_string(),
                    _ => bail!("{section}.{key}: expected a number or a text"),
                };
                let own = match (section.as_str(), key.as_str()) {
                    ("cpu", "shares") => &mut self.cpu_shares,
                    ("cpu", "cpus") => &mut self.cpuset_cpus,
                    ("cpu", "mems") => &mut self.cpuset_mems,
                    ("memory", "limit") => &mut self.memory,
                    ("memory", "reservation") => &mut self.memory_reservation,
                    ("memory", "swap") => &mut self.memory_swap,
                    ("pids", "limit") => &mut self.pids_limit,
                    ("blockIO", "weight") => &mut self.blkio_weight,
                    _ => bail!("{section}.{key}: front has no such limit"),
                };
                own.get_or_insert(value);
            }
        }
        Ok(())
    }

    fn limits(self) -> Result<Vec<Limit>> {
        let memory = self.memory.as_deref().map(|text| bytes("--memory", text));
        let memory = memory.transpose()?;
        let mut limits = Vec::new();
        let mut add = |flag, controller, file, value: Option<String>| {
            limits.extend(value.map(|value| Limit {
                flag,
                controller,
                file,
                value,
            }));
        };
        add(
            "--cpus",
            "cpu",
            "cpu.max",
            self.cpus.map(quota).transpose()?,
        );
        let weight = self.cpu_shares.map(cpu_weight).transpose()?;
        add("--cpu-shares", "cpu", "cpu.weight", weight);
        let list = |flag, text: Option<String>| text.map(|text| set(flag, text)).transpose();
        add(
            "--cpuset-cpus",
            "cpuset",
            "cpuset.cpus",
            list("--cpuset-cpus", self.cpuset_cpus)?,
        );
        add(
            "--cpuset-mems",
            "cpuset",
            "cpuset.mems",
            list("--cpuset-mems", self.cpuset_mems)?,
        );
        add(
            "--memory",
            "memory",
            "memory.max",
            memory.map(|bytes| bytes.to_string()),
        );
        let kept = self.memory_reservation.as_deref();
        let kept = kept
            .map(|text| bytes("--memory-reservation", text))
            .transpose()?;
        add(
            "--memory-reservation",
            "memory",
            "memory.low",
            kept.map(|bytes| bytes.to_string()),
        );
        let swap = self.memory_swap.as_deref();
        let swap = swap.map(|text| swap_beside(text, memory)).transpose()?;
        add("--memory-swap", "memory", "memory.swap.max", swap);
        let processes = self.pids_limit.map(|text| match text.as_str() {
            "-1" => Ok("max".to_owned()),
            _ => number("--pids-limit", &text, 1, u64::MAX).map(|number| number.to_string()),
        });
        add("--pids-limit", "pids", "pids.max", processes.transpose()?);
        let storage = self.blkio_weight.map(|text| {
            let weight = number("--blkio-weight", &text, 10, 1000)?;
            // From 10–1000 to 1–10000, as runc and crun do.
            Ok::<_, anyhow::Error>((1 + (weight - 10) * 9999 / 990).to_string())
        });
        add("--blkio-weight", "io", "io.weight", storage.transpose()?);
        Ok(limits)
    }
}

fn bytes(flag: &str, text: &str) -> Result<u64> {
    text::parse_size(text).with_context(|| format!("{flag} {text}: expected a size such as 2G"))
}

fn number(flag: &str, text: &str, least: u64, most: u64) -> Result<u64> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number.with_context(|| match most {
        u64::MAX => format!("{flag} {text}: expected a number from {least}"),
        _ => format!("{flag} {text}: expected a number from {least} to {most}"),
    })
}

/// Returns the quota of a period of 100 ms for a number of processors.
fn quota(text: String) -> Result<String> {
    let number: Option<f64> = text.trim().parse().ok();
    let number = number.filter(|number| number.is_finite() && *number >= 0.01 && *number <= 1e6);
    let number = number.with_context(|| format!("--cpus {text}: expected a number such as 1.5"))?;
    Ok(format!("{:.0} 100000", number * 100_000.0))
}

/// Converts shares of version 1, from 2 to 262144, to a weight from 1 to 10000, as runc and crun do.
fn cpu_weight(text: String) -> Result<String> {
    let shares = number("--cpu-shares", &text, 2, 262_144)?;
    Ok((1 + (shares - 2) * 9999 / 262_142).to_string())
}

/// Checks a list of numbers and ranges.
fn set(flag: &str, text: String) -> Result<String> {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut ranges = text
        .split(',')
        .map(|range| range.split_once('-').unwrap_or((range, range)));
    match ranges.all(|(first, last)| is_number(first) && is_number(last)) {
        true => Ok(text),
        false => bail!("{flag} {text}: expected a list such as 0-3,8"),
    }
}

/// Returns the limit of swap alone, from the limit of memory and swap together.
fn swap_beside(text: &str, memory: Option<u64>) -> Result<String> {
    if text == "-1" {
        return Ok("max".to_owned());
    }
    let both = bytes("--memory-swap", text)?;
    let memory =
        memory.context("--memory-swap: needs --memory, because it limits both together")?;
    let swap = both.checked_sub(memory);
    let swap = swap.with_context(|| format!("--memory-swap {text}: less than --memory"))?;
    Ok(swap.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::Variables;

    fn resolve(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let caller = Caller::new(Variables::of(variables), Some("/".into()));
        let limits = LimitFlags::default().resolve(&caller);
        let limits = limits.map_err(|error| format!("{error:#}"))?;
        let lines = limits
            .iter()
            .map(|limit| format!("{}={}", limit.file, limit.value));
        Ok(lines.collect())
    }

    #[test]
    fn limits_are_those_of_version_2() {
        for (name, value, expected) in [
            ("CPUS", "1.5", "cpu.max=150000 100000"),
            ("CPU_SHARES", "1024", "cpu.weight=39"),
            ("CPUSET_CPUS", "0-3,8", "cpuset.cpus=0-3,8"),
            ("MEMORY", "2G", "memory.max=2147483648"),
            ("PIDS_LIMIT", "-1", "pids.max=max"),
            ("PIDS_LIMIT", "10", "pids.max=10"),
            ("BLKIO_WEIGHT", "1000", "io.weight=10000"),
        ] {
            let name = format!("APPTAINER_{name}");
            assert_eq!(resolve(&[(&name, value)]).unwrap(), [expected]);
        }
        let both = [("APPTAINER_MEMORY", "1G"), ("APPTAINER_MEMORY_SWAP", "3G")];
        assert_eq!(resolve(&both).unwrap()[1], "memory.swap.max=2147483648");
        for (name, value) in [
            ("CPUS", "0"),
            ("CPUS", "many"),
            ("CPU_SHARES", "1"),
            ("CPUSET_CPUS", "0-"),
            ("MEMORY", "much"),
            ("MEMORY_SWAP", "1G"),
            ("PIDS_LIMIT", "0"),
            ("BLKIO_WEIGHT", "5"),
        ] {
            let name = format!("APPTAINER_{name}");
            assert!(resolve(&[(&name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_file_gives_what_no_flag_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[memory]\nlimit = 1073741824\n[pids]\nlimit = 5\n[cpu]\ncpus = \"0-1\"\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        let variables = [
            ("APPTAINER_APPLY_CGROUPS", path.as_str()),
            ("APPTAINER_MEMORY", "2G"),
        ];
        let expected = ["cpuset.cpus=0-1", "memory.max=2147483648", "pids.max=5"];
        assert_eq!(resolve(&variables).unwrap(), expected);
        for (text, reason) in [
            (
                "[memory]\nkernel = 1\n",
                "memory.kernel: front has no such limit",
            ),
            (
                "[[memory]]\nlimit = 1\n",
                "memory: expected a section such as [memory], once",
            ),
            (
                "[[devices]]\nallow = false\n",
                "devices: expected a section such as [memory], once",
            ),
            (
                "nonsense = 1\n",
                "nonsense: expected a section such as [memory], once",
            ),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = resolve(&variables).unwrap_err();
            assert!(error.ends_with(reason), "{error}");
        }
    }
}
