//! Several launches that share a container do not notice it: as an ordinary user, in jobs and
//! outside.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tests::{Launcher, TestDirectory, Wireup, fixture, front, program, run, succeed, tester};

/// Gives a command the variables of a rank in a step of Slurm.
fn in_step(command: &mut Command, rank: u32, size: u32) -> &mut Command {
    let variables = [
        ("SLURM_JOB_ID", std::process::id()),
        ("SLURM_STEP_ID", 0),
        ("SLURM_PROCID", rank),
        ("SLURM_LOCALID", rank),
        ("SLURM_STEP_NUM_TASKS", size),
        ("SLURM_STEP_TASKS_PER_NODE", size),
        ("SLURM_NODEID", 0),
    ];
    for (name, value) in variables {
        command.env(name, value.to_string());
    }
    command
}

fn image(name: &str) -> String {
    fixture(name).display().to_string()
}

#[test]
fn singularity_3949_commands_of_one_task_do_not_see_each_others_files() {
    for (image, size) in [(image("bb"), 1), (image("bb.sif"), 1), (image("bb.sif"), 2)] {
        for flag in ["-c", "-C"] {
            let write = [
                "exec",
                flag,
                &image,
                "sh",
                "-c",
                "echo secret >/tmp/x; ls /tmp",
            ];
            let first = succeed(in_step(&mut front(write), 0, size));
            assert_eq!(first, "x\n");
            let look = ["exec", flag, &image, "ls", "/tmp", "/var/tmp", "/dev/shm"];
            let second = succeed(in_step(&mut front(look), 0, size));
            assert!(!second.contains('x'), "{image} {flag} {size}: {second}");
        }
    }
}

#[test]
fn quantms_723_tasks_at_once_have_a_tmp_each() {
    let image = image("bb.sif");
    let script = "echo $SLURM_PROCID >/tmp/result; sleep 0.5; cat /tmp/result";
    let tasks: Vec<_> = (0..3)
        .map(|rank| {
            let image = image.clone();
            let words = ["exec", "-c", &image, "sh", "-c", script].map(str::to_owned);
            std::thread::spawn(move || succeed(in_step(&mut front(words), rank, 3)))
        })
        .collect();
    for (rank, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), format!("{rank}\n"));
    }
}

#[test]
fn one_tasks_kill_spares_the_others() {
    let image = image("bb.sif");
    for flag in ["-C", "--pid"] {
        let other = ["exec", flag, &image, "sh", "-c", "sleep 1; echo alive"].map(str::to_owned);
        let other = std::thread::spawn(move || succeed(in_step(&mut front(other), 0, 2)));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let kill = ["exec", flag, &image, "sh", "-c", "kill -9 -1"];
        let _ = run(in_step(&mut front(kill), 1, 2));
        assert_eq!(other.join().unwrap(), "alive\n", "{flag}");
    }
}

#[test]
fn what_has_its_own_of_something_has_it_alone() {
    let image = image("bb");
    for (flag, namespace) in [
        ("--ipc", "ipc"),
        ("--pid", "pid"),
        ("-c", "mnt"),
        ("-C", "mnt"),
    ] {
        for job in [false, true] {
            let link = format!("/proc/self/ns/{namespace}");
            let words = ["exec", flag, &image, "readlink", &link];
            let look = || {
                let mut command = front(words);
                match job {
                    true => succeed(in_step(&mut command, 0, 2)),
                    false => succeed(&mut command),
                }
            };
            // The kernel may reuse the number of a namespace, so a shared one is held.
            let held = ["exec", flag, &image, "sleep", "5"];
            let mut held = front(held);
            let mut held = if job {
                in_step(&mut held, 1, 2)
            } else {
                &mut held
            }
            .spawn()
            .unwrap();
            std::thread::sleep(std::time::Duration::from_millis(300));
            let theirs = std::fs::read_link(format!("/proc/{}/ns/{namespace}", held.id()));
            let ours = look();
            held.kill().unwrap();
            held.wait().unwrap();
            assert_ne!(
                theirs.unwrap().display().to_string(),
                ours.trim(),
                "{flag} {job}"
            );
        }
    }
}

/// Writes to the container's own `/tmp`, and prints what it found there. It names an MPI, but the
/// ranks meet in a directory: Open MPI 5 itself may crash when a rank initialises it a second time.
const PROGRAM: &str = r"
import mpi4py
mpi4py.rc.initialize = False
from mpi4py import MPI
import os, sys, time
rank, ranks = int(os.environ['PMIX_RANK']), 2
def meet(place):
    open('/meet/%s-%s-%d' % (sys.argv[1], place, rank), 'w').close()
    while sum(name.startswith('%s-%s-' % (sys.argv[1], place)) for name in os.listdir('/meet')) < ranks:
        time.sleep(0.01)
found = sorted(os.listdir('/tmp')) if rank == 0 else []
meet('looked')
open('/tmp/of-%d' % rank, 'w').close()
meet('written')
shared = all(os.path.exists('/tmp/of-%d' % one) for one in range(ranks))
print('found', [name for name in found if name.startswith('of-')], 'shared', shared, flush=True)
";

#[test]
fn the_next_mpi_program_of_the_same_ranks_begins_anew() {
    let launcher = &Launcher::of_mpis(2)[0];
    let front = program("front").display().to_string();
    let image = image("ompi");
    for flag in ["-c", "-C"] {
        let meeting = TestDirectory::new();
        let bind = format!("{}:/meet", meeting.path().display());
        let script = r#"for i in 1 2 3; do
            timeout 20 "$0" exec "$1" -B "$2" "$3" python3 -c "$4" $i || exit 1; done"#;
        let words = ["sh", "-c", script, &front, flag, &bind, &image, PROGRAM];
        let outcome = run(&mut launcher.command(&words));
        let lines: Vec<&str> = outcome.stdout.lines().collect();
        assert_eq!(lines, ["found [] shared True"; 6], "{flag}: {outcome:?}");
    }
}

/// Ranks that a launcher itself starts need no new look at the image, but a script may change the
/// image before it starts one.
#[test]
fn a_rank_sees_what_its_script_has_changed_in_a_sandbox() {
    let place = TestDirectory::new();
    let root = place.path().join("root").display().to_string();
    succeed(Command::new("cp").arg("-a").arg(fixture("bb")).arg(&root));
    succeed(
        Command::new("chown")
            .arg("-R")
            .arg(tester().to_string())
            .arg(&root),
    );
    let front = program("front").display().to_string();
    let script = r#"own=/etc/of-${PMIX_RANK:-$PMI_RANK}
        "$0" exec "$1" test ! -e $own && echo changed >"$1$own" && "$0" exec "$1" cat $own && rm "$1$own""#;
    for launcher in Launcher::of_mpis(3) {
        let outcome = run(&mut launcher.command(&["sh", "-c", script, &front, &root]));
        assert_eq!(
            outcome.stdout,
            "changed\n".repeat(3),
            "{launcher:?}: {outcome:?}"
        );
        for text in ["first\n", "second\n"] {
            fs::write(format!("{root}/etc/marker"), text).unwrap();
            let outcome = launcher.front(&["exec", &root, "cat", "/etc/marker"]);
            assert_eq!(outcome.stdout, text.repeat(3), "{launcher:?}: {outcome:?}");
            fs::remove_file(format!("{root}/etc/marker")).unwrap();
        }
    }
}

#[test]
fn a_farm_without_mpi_is_not_told_of_it() {
    // Hydra offers PMI, and the image's library finds ranks by PMIx.
    let launchers = Launcher::of_mpis(2);
    let launcher = launchers
        .iter()
        .find(|one| one.offers == Wireup::Pmi)
        .unwrap();
    for flags in [&[][..], &["-c"], &["--env", "A=1"]] {
        let image = image("ompi");
        let words = [
            &["exec"],
            flags,
            &[image.as_str(), "python3", "-c", "print(1)"],
        ]
        .concat();
        let outcome = launcher.front(&words);
        assert_eq!(
            (outcome.stdout.as_str(), outcome.stderr.as_str()),
            ("1\n1\n", "")
        );
    }
}

/// Pseudo-random numbers, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        // The constants of Knuth's MMIX.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Changes something that a launch sees: a bound file, the caller's directory, or the image.
fn change(place: &Path, numbers: &mut Numbers, text: &str) {
    let (dir, file, root) = (place.join("dir"), place.join("file"), place.join("root"));
    let fresh = |path: &Path| {
        let _ = fs::remove_dir_all(path);
        let _ = fs::remove_file(path);
    };
    match numbers.below(12) {
        // A directory that is made anew, renamed, replaced by a link, or changed.
        0 => {
            fresh(&dir);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("in"), text).unwrap();
        }
        1 => {
            let (old, new) = (place.join("old"), place.join("new"));
            fresh(&old);
            fresh(&new);
            fs::create_dir(&new).unwrap();
            fs::write(new.join("in"), text).unwrap();
            fs::rename(&dir, &old).unwrap();
            fs::rename(&new, &dir).unwrap();
        }
        2 => {
            let target = place.join(format!("target{}", numbers.below(3)));
            fs::create_dir_all(&target).unwrap();
            fs::write(target.join("in"), text).unwrap();
            fresh(&dir);
            symlink(&target, &dir).unwrap();
        }
        3 => fs::write(dir.join("in"), text).unwrap(),
        // A file that is edited in place, as by sed -i and by editors, or behind a link.
        4 => fs::write(&file, text).unwrap(),
        5 => {
            fs::write(place.join("edited"), text).unwrap();
            fs::rename(place.join("edited"), &file).unwrap();
        }
        6 => {
            let target = place.join(format!("text{}", numbers.below(3)));
            fs::write(&target, text).unwrap();
            fresh(&file);
            symlink(&target, &file).unwrap();
        }
        // The image.
        7 => fs::write(root.join("etc/marker"), text).unwrap(),
        8 => {
            fresh(&root.join("etc/marker"));
            symlink("os-release", root.join("etc/marker")).unwrap();
        }
        9 => {
            let env = root.join(".singularity.d/env");
            fs::create_dir_all(&env).unwrap();
            fs::write(env.join("50.sh"), format!("export OF_IMAGE='{text}'\n")).unwrap();
        }
        10 => {
            fresh(&place.join("before"));
            fs::rename(&root, place.join("before")).unwrap();
            succeed(
                Command::new("cp")
                    .arg("-al")
                    .arg(place.join("before"))
                    .arg(&root),
            );
            fresh(&root.join("etc/marker"));
            fs::write(root.join("etc/marker"), text).unwrap();
        }
        _ => {
            let mount_point = root.join("shown");
            match mount_point.exists() {
                true => fresh(&mount_point),
                false => fs::create_dir(&mount_point).unwrap(),
            }
        }
    }
    tests::open_to_all(place);
}

const SHOW: &str = "pwd; cat in /shown/in /file /etc/marker 2>&1; echo $OF_IMAGE; ls /tmp 2>/dev/null | grep ^left- ; ls -d /shown";

/// A shared container shows the same as a private one, whatever changes between launches.
#[test]
fn a_shared_container_shows_what_one_of_ones_own_does() {
    let sequences: u64 =
        std::env::var("SLIPWAY_SEQUENCES").map_or(60, |text| text.parse().unwrap());
    for sequence in 0..sequences {
        let mut numbers = Numbers(sequence);
        let home = tests::home();
        let place = home.path();
        succeed(
            Command::new("cp")
                .arg("-a")
                .arg(fixture("bb"))
                .arg(place.join("root")),
        );
        fs::create_dir(place.join("dir")).unwrap();
        for name in ["dir/in", "file", "root/etc/marker"] {
            fs::write(place.join(name), "first").unwrap();
        }
        tests::open_to_all(place);
        let path = |name: &str| place.join(name).display().to_string();
        let binds = [
            format!("{}:/shown", path("dir")),
            format!("{}:/file", path("file")),
        ];
        let job = numbers.below(3);
        for step in 0..6 {
            if step > 0 {
                change(place, &mut numbers, &format!("text {step}"));
            }
            let contained = [&[][..], &["-c"], &["-C"]][usize::try_from(numbers.below(3)).unwrap()];
            let cwd = if numbers.below(2) == 0 {
                place.join("dir")
            } else {
                place.to_owned()
            };
            let show = format!("{SHOW}; touch /tmp/left-{step} 2>/dev/null");
            let show = match contained {
                [] => SHOW,
                _ => &show,
            };
            let launch = |share: &[&str]| {
                let flags = [contained, share].concat();
                let image = path("root");
                let words = ["-B", &binds[0], "-B", &binds[1], &image, "sh", "-c", show];
                let mut command = front([&["exec"], &flags[..], &words].concat());
                command.current_dir(&cwd);
                match job {
                    0 => run(&mut command),
                    size => run(in_step(&mut command, 0, u32::try_from(size).unwrap())),
                }
            };
            let shared = launch(&[]);
            let own = launch(&["--no-share"]);
            assert_eq!(
                (&shared.stdout, &shared.stderr, shared.code),
                (&own.stdout, &own.stderr, own.code),
                "sequence {sequence}, step {step}, {contained:?}, job of {job}"
            );
            assert!(!shared.stdout.contains("left-"), "{shared:?}");
        }
    }
}
