//! Faults at any moment: SIGKILL of any process of ours, and launches under any limits, while launches of all kinds are
//! under way. None hangs, and nothing is left.
//!
//! `SLIPWAY_KILLS` and `SLIPWAY_LIMITS` say how many; a release is tried with 10,000 and 500.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{mark, marked};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::{TESTER, fixture, front, program, run, tester, wait_for};

/// How long a launch may take, with all others under way.
const LIMIT: Duration = Duration::from_secs(10);

/// How many launches are under way at once.
const AT_ONCE: usize = 6;

fn count(variable: &str, usual: u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Numbers without an order, the same in each run.
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

/// A launch of some kind.
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

/// Waits until nothing of ours is left.
fn nothing_left(test: &str) {
    let _ = run(&mut front(["instance", "stop", "-F", &format!("{test}*")]));
    wait_for("all of it to end", Duration::from_secs(30), || {
        marked(&mark(test).1).is_empty()
    });
}

#[test]
fn whatever_is_killed_nothing_hangs_and_nothing_is_left() {
    let kills = count("SLIPWAY_KILLS", 400);
    let mut dice = Dice(4711);
    let mut running: Vec<(Child, Instant, String)> = Vec::new();
    let (mut done, mut number) = (0, 0);
    while done < kills {
        while running.len() < AT_ONCE {
            number += 1;
            let mut command = launch(&mut dice, number, "kills");
            running.push((
                command.spawn().unwrap(),
                Instant::now(),
                format!("{command:?}"),
            ));
        }
        std::thread::sleep(Duration::from_micros(dice.below(20_000)));
        if let Some(pid) = dice.of(&marked(&mark("kills").1)) {
            // It may have ended, or be another's by now, which is ours as well.
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
    nothing_left("kills");
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
