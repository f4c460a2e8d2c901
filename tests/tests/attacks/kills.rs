//! Faults at any moment: SIGKILL of any process of ours, and launches under any limits, while
//! launches of all kinds run. None hangs, and nothing is left.
//!
//! `SLIPWAY_KILLS` and `SLIPWAY_LIMITS` set the numbers. A release is tested with 10,000 and 500.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{mark, marked};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{TESTER, fixture, front, program, run, tester, wait_for};

/// Longest time for a launch while the others run.
const LIMIT: Duration = Duration::from_secs(10);

/// Longest time until everything has ended after the last launch.
const LEFT: Duration = Duration::from_secs(30);

/// Number of launches that run at once.
const AT_ONCE: usize = 6;

/// Number of kills after which everything must end. A later kill could hit a process that an earlier
/// one has left.
const ROUND: u64 = 40;

fn count(variable: &str, usual: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Pseudo-random numbers, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % most.max(1)
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let place = self.below(list.len() as u64);
        list.get(usize::try_from(place).unwrap())
    }
}

/// Returns a launch of some kind.
fn launch(dice: &mut Dice, number: u64, test: &str) -> Command {
    let images = ["bb", "bb.sif", "py.sif"].map(|name| fixture(name).display().to_string());
    let image = dice.of(&images).unwrap().clone();
    let name = format!("{test}{}", number % 8);
    let mut command = match dice.below(9) {
        0 => front(["-q", "instance", "start", &image, &name]),
        1 => front(["-q", "instance", "stop", "-F", &name]),
        2 => front(["-q", "exec", &format!("instance://{name}"), "sleep", "0.1"]),
        3 => front(["-q", "exec", "-c", &image, "sleep", "0.1"]),
        4 => front(["-q", "exec", "-C", &image, "sleep", "0.1"]),
        5 => front(["-q", "exec", "-p", &image, "true"]),
        6 => front(["-q", "exec", "--no-share", &image, "true"]),
        7 => {
            // A rank of a job of four.
            let mut rank = front(["-q", "exec", &image, "sleep", "0.1"]);
            let (job, rank_number) = ((number / 4).to_string(), (number % 4).to_string());
            for (name, value) in [
                ("SLURM_JOB_ID", job.as_str()),
                ("SLURM_STEP_ID", "0"),
                ("SLURM_NTASKS", "4"),
                ("SLURM_NODEID", "0"),
                ("SLURM_STEP_TASKS_PER_NODE", "4"),
                ("SLURM_PROCID", &rank_number),
                ("SLURM_LOCALID", &rank_number),
            ] {
                rank.env(name, value);
            }
            rank
        }
        _ => front(["-q", "exec", &image, "sleep", "0.1"]),
    };
    let (mark, value) = mark(test);
    command.env(mark, value);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Waits until no process of ours is left.
fn nothing_left(test: &str) {
    let stopped = run(&mut front(["instance", "stop", "-F", &format!("{test}*")]));
    let begin = Instant::now();
    loop {
        let left = marked(&mark(test).1);
        if left.is_empty() {
            return;
        }
        let described: Vec<String> = left.iter().map(|pid| describe(*pid)).collect();
        assert!(
            begin.elapsed() < LEFT,
            "left after {stopped:?}: {described:#?}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns what is known of a process: its state, its parent, its command and its files.
fn describe(pid: u32) -> String {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let text = |name: &str| String::from_utf8_lossy(&read(name)).replace('\0', " ");
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter();
    let files = files.flatten().flatten().map(|entry| {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        format!("{:?} -> {}", entry.file_name(), target.display())
    });
    format!(
        "{pid}: {} | {} | waits in {} | {:?}",
        text("cmdline"),
        text("stat"),
        text("wchan"),
        files.collect::<Vec<_>>()
    )
}

#[test]
fn whatever_is_killed_nothing_hangs_and_nothing_is_left() {
    let kills = count("SLIPWAY_KILLS", 400);
    let mut dice = Dice(4711);
    let mut number = 0;
    for _ in 0..kills.div_ceil(ROUND) {
        kill_some(&mut dice, &mut number, ROUND);
        nothing_left("kills");
    }
}

/// Kills some processes at random moments, and waits until all launches have ended.
fn kill_some(dice: &mut Dice, number: &mut u64, kills: u64) {
    let mut running: Vec<(Child, Instant, String)> = Vec::new();
    let mut done = 0;
    while done < kills {
        while running.len() < AT_ONCE {
            *number += 1;
            let mut command = launch(dice, *number, "kills");
            running.push((
                command.spawn().unwrap(),
                Instant::now(),
                format!("{command:?}"),
            ));
        }
        std::thread::sleep(Duration::from_micros(dice.below(20_000)));
        if let Some(pid) = dice.of(&marked(&mark("kills").1)) {
            // The process may have ended, or the id may belong to another process by now, which is
            // ours as well.
            done += u64::from(kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).is_ok());
        }
        running.retain_mut(|(child, begin, what)| {
            let has_ended = child.try_wait().unwrap().is_some();
            assert!(has_ended || begin.elapsed() < LIMIT, "it hangs: {what}");
            !has_ended
        });
    }
    for (mut child, begin, what) in running {
        wait_for(
            &what,
            LIMIT.saturating_sub(begin.elapsed()) + Duration::from_secs(1),
            || child.try_wait().unwrap().is_some(),
        );
    }
}

#[test]
fn under_any_limits_nothing_hangs_and_nothing_is_left() {
    let rounds = count("SLIPWAY_LIMITS", 100);
    let mut dice = Dice(815);
    let uid = tester().to_string();
    for round in 0..rounds {
        let limits = [
            format!("ulimit -n {}", 3 + dice.below(120)),
            format!("ulimit -s {}", 16 << dice.below(10)),
            format!("ulimit -v {}", 30_000 << dice.below(6)),
            format!("ulimit -f {}", dice.below(6000)),
            format!("ulimit -u {}", 1 + dice.below(60)),
            format!(
                "ulimit -l {}; ulimit -t {}",
                dice.below(64),
                1 + dice.below(3)
            ),
        ];
        let (first, second) = (
            dice.of(&limits).unwrap().clone(),
            dice.of(&limits).unwrap().clone(),
        );
        let launched = launch(&mut dice, round, "rounds");
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            &uid,
            "--regid",
            &uid,
            "--clear-groups",
            "--inh-caps=-all",
        ]);
        command.args([
            "bash",
            "-c",
            &format!("{first}; {second}; exec \"$@\""),
            "bash",
        ]);
        command.arg(program("front")).args(launched.get_args());
        command
            .env("HOME", format!("/home/{TESTER}"))
            .current_dir(format!("/home/{TESTER}"));
        for (name, value) in launched
            .get_envs()
            .filter(|(name, _)| name.to_string_lossy().starts_with("SL"))
        {
            command.env(name, value.unwrap_or_default());
        }
        let begin = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&format!("{first}; {second}; {launched:?}"), LIMIT, || {
            child.try_wait().unwrap().is_some()
        });
        assert!(begin.elapsed() < LIMIT);
        let mut said = String::new();
        let _ = std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said);
        assert!(
            !said.contains("panicked") && !said.contains("overflowed its stack"),
            "{first}; {second}: {said}"
        );
    }
    nothing_left("rounds");
}
