//! SIGKILL of any process of a job at any moment: the rest behaves as without a container, and
//! nothing is left.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::{Launcher, fixture, program, testers_processes, wait_for};

/// Returns the job's processes: those of the user whose environment has the marker.
fn marked(marker: &str) -> Vec<(u32, String)> {
    let processes = testers_processes().into_iter().map(|(pid, _)| pid);
    let ours = processes.filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(marker)
    });
    let named = ours.map(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        (pid, name.trim().to_owned())
    });
    named.collect()
}

/// Says of each process in which function of the kernel it waits, in which call, and whose child it
/// is.
fn doing(processes: &[(u32, String)]) -> String {
    let lines = processes.iter().map(|(pid, name)| {
        let of = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let [wchan, call, stat] =
            ["wchan", "syscall", "stat"].map(|file| of(file).unwrap_or_default());
        format!("\n{name}: {wchan}; {}; {}", call.trim(), stat.trim())
    });
    lines.collect()
}

/// Returns pseudo-random numbers, the same in each run.
fn scattered(round: u64) -> u64 {
    let mut number = round.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    number ^= number >> 29;
    number = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^ number >> 32
}

/// Runs a job, kills one of its processes, and waits for the end of all. Returns the name of the
/// killed process.
fn round(number: u64) -> Option<String> {
    let launchers = Launcher::of_mpis(4);
    let front = program("front").display().to_string();
    let (launcher, image) = match number % 2 {
        0 => (&launchers[2], "py.sif"),
        _ => (&launchers[0], "ompi"),
    };
    let image = fixture(image).display().to_string();
    let marker = format!("SLIPWAY_MARK={}-{number}-", std::process::id());
    let (key, value) = marker.split_once('=').unwrap();
    // A different session each time.
    let bind = format!("/usr/share:/round-{number}");
    let mut job = launcher
        .command(&[&front, "exec", "-B", &bind, &image, "sleep", "1"])
        .env(key, value)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let dice = scattered(number);
    std::thread::sleep(Duration::from_micros(dice % 200_000));
    let processes = marked(&marker);
    let victim = usize::try_from(dice >> 32).unwrap() % processes.len().max(1);
    let victim = processes.get(victim).map(|(pid, name)| {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(*pid).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        name.clone()
    });
    // Killing a monitor or a server ends nothing else; the ranks sleep to their end.
    let what = format!("round {number}, {victim:?} of {processes:?}");
    wait_for(&what, Duration::from_secs(20), || {
        job.try_wait().unwrap().is_some()
    });
    // A program that had just begun sleeps for a second, and its session lingers for 1.5. A rank
    // that asks a process that is just ending asks again after two. The machine is busy with other
    // rounds: a wait that ends late is no fault, one that does not end is.
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let left = marked(&marker);
        if left.is_empty() {
            return victim;
        }
        assert!(Instant::now() < end, "{what}: left: {}", doing(&left));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn whoever_is_killed_the_job_ends_and_nothing_is_left() {
    let rounds: u64 = std::env::var("SLIPWAY_KILLS").map_or(200, |n| n.parse().unwrap());
    const AT_ONCE: u64 = 4;
    let workers = (0..AT_ONCE).map(|worker| {
        std::thread::spawn(move || -> Vec<String> {
            (worker..rounds)
                .step_by(AT_ONCE as usize)
                .filter_map(round)
                .collect()
        })
    });
    let workers: Vec<_> = workers.collect();
    let mut killed = std::collections::BTreeMap::new();
    for name in workers
        .into_iter()
        .flat_map(|worker| worker.join().unwrap())
    {
        *killed.entry(name).or_insert(0) += 1;
    }
    // Ranks, launchers, monitors and servers.
    for name in ["sleep", "front: session", "front: image", "mpirun.openmpi"] {
        assert!(killed.contains_key(name), "{name}: {killed:?}");
    }
}
