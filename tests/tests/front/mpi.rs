//! Jobs of several ranks, by real launchers: Debian's Open MPI and MPICH, those of Python's
//! packages including Intel's, and Slurm.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tests::{Cluster, Launcher, Wireup, fixture, front, program, run, wait_for};

/// Each image, the way in which its MPI finds ranks, and the name of its library.
const IMAGES: [(&str, Wireup, &str); 3] = [
    ("ompi", Wireup::Pmix, "Open MPI v5.0"),
    ("mpich", Wireup::Pmi, "MPICH Version:      4.2"),
    ("rpath", Wireup::Pmi, "MPICH Version:      4.3"),
];

fn image(name: &str) -> String {
    fixture(name).display().to_string()
}

#[test]
fn every_pair_runs_as_one_job_or_is_refused_before() {
    let cluster = Cluster::own();
    let mut pairs = 0;
    let launchers = Launcher::of_mpis(2)
        .into_iter()
        .chain(Launcher::of_slurm(&cluster, 2));
    for launcher in launchers {
        for (name, speaks, library) in IMAGES {
            let outcome = launcher.front(&["exec", "--mpi=container", &image(name), "hello"]);
            let what = format!("{:?} {name}: {outcome:?}", launcher.words);
            if launcher.offers == speaks {
                assert_eq!(outcome.code, 0, "{what}");
                let lines: BTreeSet<&str> = outcome.stdout.lines().collect();
                for rank in 0..2 {
                    let beginning = format!("rank {rank} of 2, sum 1: {library}");
                    assert!(
                        lines.iter().any(|line| line.starts_with(&beginning)),
                        "{what}"
                    );
                }
            } else {
                assert!(outcome.code != 0 && outcome.stdout.is_empty(), "{what}");
                let ours = outcome
                    .stderr
                    .lines()
                    .filter(|line| line.starts_with("FATAL:"));
                let ours: Vec<&str> = ours.collect();
                let [line] = ours.as_slice() else {
                    panic!("{what}")
                };
                assert!(
                    line.contains("each of the 2 ranks would run alone; start it with "),
                    "{what}"
                );
            }
            pairs += 1;
        }
    }
    assert_eq!(pairs, 24);
}

#[test]
fn why_there_is_no_job_is_said_once_however_the_ranks_come() {
    let cluster = Cluster::own();
    let launcher = Launcher::of_slurm(&cluster, 4).remove(2);
    let front = program("front").display().to_string();
    let image = image("mpich");
    let late = "sleep $((SLURM_LOCALID / 2))";
    for first in [&["true"; 20][..], &[late]].concat() {
        let script = format!(r#"{first}; exec "$@""#);
        let words = [
            "sh",
            "-c",
            &script,
            "sh",
            &front,
            "exec",
            "--mpi=container",
            &image,
            "hello",
        ];
        let outcome = run(&mut launcher.command(&words));
        assert_eq!(
            outcome.stderr.matches("FATAL:").count(),
            1,
            "{first}: {outcome:?}"
        );
    }
}

#[test]
fn what_joins_the_ranks_survives_containment() {
    let cluster = Cluster::own();
    let launchers = Launcher::of_mpis(2)
        .into_iter()
        .chain(Launcher::of_slurm(&cluster, 2));
    for launcher in launchers {
        for (name, speaks, _) in &IMAGES[..2] {
            for flag in ["-e", "-c", "-C"] {
                if launcher.offers != *speaks {
                    continue;
                }
                let outcome =
                    launcher.front(&["exec", flag, "--mpi=container", &image(name), "hello"]);
                let what = format!("{:?} {name} {flag}: {outcome:?}", launcher.words);
                assert_eq!(outcome.code, 0, "{what}");
                assert_eq!(outcome.stdout.matches(" of 2, sum 1").count(), 2, "{what}");
            }
        }
    }
}

/// Reads a rank's memory from another, as MPI libraries do with long messages.
const PEEK: &str = r"
import ctypes, os
from mpi4py import MPI
world = MPI.COMM_WORLD
word = ctypes.create_string_buffer(b'of rank %d' % world.rank)
known = world.allgather((os.getpid(), ctypes.addressof(word), len(word)))
class Vector(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
pid, address, length = known[(world.rank + 1) % world.size]
own = ctypes.create_string_buffer(length)
read = ctypes.CDLL(None, use_errno=True).process_vm_readv
here, there = Vector(ctypes.addressof(own), length), Vector(address, length)
count = read(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
print(own.value.decode() if count > 0 else os.strerror(ctypes.get_errno()), flush=True)
world.Barrier()
";

#[test]
fn ranks_share_a_container_and_read_each_others_memory() {
    let launcher = &Launcher::of_mpis(4)[0];
    let lines = |flags: &[&str]| {
        let image = image("ompi");
        let words = [&["exec"], flags, &[image.as_str(), "python3", "-c", PEEK]].concat();
        let outcome = launcher.front(&words);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let mut lines: Vec<String> = outcome.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let ranks = ["of rank 0", "of rank 1", "of rank 2", "of rank 3"];
    assert_eq!(lines(&[]), ranks);
    assert_eq!(lines(&["--contain"]), ranks);
    assert_eq!(lines(&["--no-share"]), ["Operation not permitted"; 4]);
}

#[test]
fn a_rank_that_differs_is_told() {
    let launcher = &Launcher::of_mpis(2)[2];
    let front = program("front");
    let script = format!(
        "if [ $PMI_RANK = 1 ]; then sleep 1; exec timeout 4 {0} exec -B /etc:/mnt {1} hello; fi; exec {0} exec {1} sleep 3",
        front.display(),
        image("mpich")
    );
    let outcome = run(&mut launcher.command(&["sh", "-c", &script]));
    let expected =
        "are in another container (other flags): these ranks cannot read each other's memory";
    assert_eq!(outcome.stderr.matches(expected).count(), 1, "{outcome:?}");
}

#[test]
fn a_batch_job_asks_the_doctor_first() {
    let cluster = Cluster::own();
    let place = tests::TestDirectory::new();
    let submit = |wireup: &str, name: &str| {
        let output = place.file(&format!("{wireup}-{name}"));
        let mut sbatch = tests::as_tester("sbatch");
        let front = program("front");
        let path = format!("{}:/usr/bin:/bin", front.parent().unwrap().display());
        sbatch
            .args(["--wait", "--output", &output])
            .arg(Cluster::integration("job.sh"));
        sbatch
            .args([&image(name), "hello"])
            .env("SLURM_CONF", cluster.conf());
        let outcome = run(sbatch.env("PATH", path).env("MPI", wireup));
        (outcome.code, fs::read_to_string(output).unwrap())
    };
    let (code, text) = submit("pmi2", "mpich");
    assert_eq!(
        (code, text.matches(" of 2, sum 1: MPICH").count()),
        (0, 2),
        "{text}"
    );
    let (code, text) = submit("pmi2", "ompi");
    assert!(code != 0 && !text.contains(" of 2, sum"), "{text}");
    assert!(
        text.contains("fails  wire-up        Open MPI 5.0 needs PMIx to find its ranks"),
        "{text}"
    );
}

/// Returns the entries of `front ps --json` about an image.
fn sessions(image: &str) -> Vec<serde_json::Value> {
    let all = run(&mut front(["ps", "--json"]));
    let all: serde_json::Value = serde_json::from_str(&all.stdout).unwrap();
    let all = all["sessions"].as_array().unwrap().iter();
    all.filter(|session| session["img"] == image)
        .cloned()
        .collect()
}

#[test]
fn a_job_is_listed_and_joined() {
    let cluster = Cluster::own();
    let image = image("rpath");
    let front_program = program("front").display().to_string();
    let words = [front_program.as_str(), "exec", &image, "sleep", "1234"];
    let mut jobs: Vec<_> = [2, 3]
        .map(|ranks| {
            let mut command = Launcher::of_slurm(&cluster, ranks)[0].command(&words);
            command.stderr(Stdio::null()).spawn().unwrap()
        })
        .into();
    let started = || {
        let found = sessions(&image);
        let members = found
            .iter()
            .map(|one| one["pids"].as_array().unwrap().len());
        found.len() == 2 && members.sum::<usize>() == 5
    };
    wait_for("both jobs", Duration::from_secs(30), started);
    for session in sessions(&image) {
        let job = session["job"].as_str().unwrap();
        let members = session["pids"].as_array().unwrap();
        for member in members {
            let line = fs::read(format!("/proc/{member}/cmdline")).unwrap();
            assert_eq!(line, b"sleep\x001234\0");
        }
        // By the step's name, and by the job's name.
        for name in [job, job.split('.').next().unwrap()] {
            let script = format!("readlink /proc/self/ns/mnt /proc/{}/ns/mnt", members[0]);
            let inside = run(&mut front([
                "exec", "--join", name, &image, "sh", "-c", &script,
            ]));
            let namespaces: BTreeSet<&str> = inside.stdout.lines().collect();
            assert_eq!((inside.code, namespaces.len()), (0, 1), "{inside:?}");
        }
    }
    let other = run(&mut front([
        "exec",
        "--join",
        "1",
        &fixture("bb").display().to_string(),
        "true",
    ]));
    assert_eq!(
        (other.code, other.stderr.lines().count()),
        (255, 1),
        "{other:?}"
    );
    // Whichever process is killed, nothing is left.
    for session in sessions(&image) {
        for member in session["pids"].as_array().unwrap() {
            let pid = i32::try_from(member.as_i64().unwrap()).unwrap();
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
    for job in &mut jobs {
        job.wait().unwrap();
    }
    let begin = Instant::now();
    while !sessions(&image).is_empty() {
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            sessions(&image)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns the time that the monitors of the ordinary user's sessions have run, in clock ticks.
fn monitors_time() -> u64 {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let times = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let (name, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let is_monitor = name.ends_with("(front: session");
        is_monitor.then(|| fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
    });
    times.sum()
}

#[test]
fn who_waits_for_the_last_rank_sleeps() {
    let mut job = Launcher::of_mpis(2)[2].command(&[
        program("front").to_str().unwrap(),
        "exec",
        &image("rpath"),
        "sh",
        "-c",
        "[ $PMI_RANK = 0 ] || sleep 3",
    ]);
    let mut job = job.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let before = monitors_time();
    std::thread::sleep(Duration::from_secs(1));
    let spent = monitors_time().saturating_sub(before);
    assert!(spent < 20, "{spent} of 100");
    job.wait().unwrap();
}

#[test]
fn sixty_four_ranks_that_end_at_once_never_fail() {
    let launcher = &Launcher::of_mpis(64)[2];
    for round in 0..50 {
        let name = if round % 2 == 0 { "bb" } else { "bb.sif" };
        let outcome = launcher.front(&["exec", &image(name), "echo", "here"]);
        assert_eq!(
            outcome.stdout.matches("here\n").count(),
            64,
            "{round}: {outcome:?}"
        );
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{round}");
    }
}

#[test]
fn ranks_of_several_programs_are_each_looked_at() {
    let launcher = &Launcher::of_mpis(2)[2];
    let front = program("front").display().to_string();
    let image = image("ompi");
    // Whichever rank comes first, a rank that would be alone does not start.
    for delays in [[0, 1], [1, 0]] {
        let script = format!(
            "[ $PMI_RANK = 0 ] && sleep {} && exec {front} exec {image} sleep 2; sleep {}; exec {front} exec {image} hello",
            delays[0], delays[1]
        );
        let outcome = run(&mut launcher.command(&["sh", "-c", &script]));
        let told = "FATAL:   hello: Open MPI 5.0 needs PMIx to find its ranks";
        assert_eq!(outcome.stderr.matches(told).count(), 1, "{outcome:?}");
        assert_eq!(outcome.stdout, "", "{outcome:?}");
    }
}

#[test]
fn a_script_before_the_program_is_no_launcher() {
    let launcher = &Launcher::of_mpis(3)[2];
    let front = program("front").display().to_string();
    let script = format!(
        "{front} exec {} readlink /proc/self/ns/user; true",
        image("rpath")
    );
    let outcome = run(&mut launcher.command(&["sh", "-c", &script]));
    let spaces: BTreeSet<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        (outcome.stdout.lines().count(), spaces.len()),
        (3, 1),
        "{outcome:?}"
    );
}

#[test]
fn a_container_has_its_own_launcher() {
    for (name, words) in [
        ("ompi", &["mpirun", "-np", "4", "--oversubscribe"][..]),
        ("mpich", &["mpirun", "-np", "4"]),
    ] {
        let image = image(name);
        let outcome = run(&mut front([&["exec", &image], words, &["hello"]].concat()));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(
            outcome.stdout.matches(" of 4, sum 6").count(),
            4,
            "{outcome:?}"
        );
    }
}

#[test]
fn a_program_of_the_hosts_is_looked_at_too() {
    let place = tests::TestDirectory::new();
    let hello = PathBuf::from(place.file("hello"));
    fs::copy(fixture("ompi").join("usr/bin/hello"), &hello).unwrap();
    let launcher = &Launcher::of_mpis(2)[2];
    let outcome = launcher.front(&["exec", &image("ompi"), hello.to_str().unwrap()]);
    assert!(
        outcome
            .stderr
            .contains("Open MPI 5.0 needs PMIx to find its ranks, but Hydra"),
        "{outcome:?}"
    );
    // A program without MPI runs as often as requested.
    let outcome = launcher.front(&["exec", &image("ompi"), "echo", "x"]);
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("x\nx\n", "")
    );
    // The user is warned about a program that may use MPI later, if its arguments or its script
    // name it.
    let script = place.file("script.py");
    fs::write(&script, "print('x')\n# MPI comes later\n").unwrap();
    for words in [
        &["-c", "print('x')  # MPI"][..],
        &[script.as_str()],
        &["-B", &script],
    ] {
        let image = image("ompi");
        let outcome = launcher.front(&[&["exec", &image, "python3"], words].concat());
        assert_eq!(outcome.stdout, "x\nx\n");
        let told = "WARNING: if the program uses MPI, it may fail: Open MPI 5.0 needs PMIx to find its ranks";
        assert_eq!(outcome.stderr.matches(told).count(), 1, "{outcome:?}");
    }
}
