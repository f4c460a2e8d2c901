//! `--mpi`: the host's library replaces the image's if it is compatible.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use tests::{Card, Launcher, Outcome, Wireup, fixture, run};

/// The launchers of Debian and of Python's packages, in the order of `Launcher::of_mpis`.
const DEBIANS_OPEN_MPI: usize = 0;
const OPEN_MPI: usize = 1;
const DEBIANS_MPICH: usize = 2;
const MPICH: usize = 3;
const INTEL: usize = 4;

/// All tests that run meanwhile see a network that comes and goes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Prints the rank, the number of ranks, and the library.
const SAY: &str = "from mpi4py import MPI; w = MPI.COMM_WORLD; \
    print(f'rank {w.rank} of {w.size}, sum {w.allreduce(w.rank)}: {MPI.Get_library_version()[:60]}', flush=True)";

fn image(name: &str) -> String {
    fixture(name).display().to_string()
}

/// Checks that two ranks met, using a library.
fn met(outcome: &Outcome, library: &str) {
    let lines = outcome
        .stdout
        .lines()
        .filter(|line| line.contains(" of 2, sum 1: "));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(
        (outcome.code, lines.len()),
        (0, 2),
        "{library}: {outcome:?}"
    );
    assert!(
        lines.iter().all(|line| line.contains(library)),
        "{library}: {outcome:?}"
    );
}

#[test]
fn the_hosts_stands_in_where_it_can() {
    let _turn = ONE_AT_A_TIME.lock();
    let launchers = Launcher::of_mpis(2);
    let rows = [
        (DEBIANS_MPICH, "mpich", &["hello"][..], "MPICH Version:"),
        (DEBIANS_MPICH, "rpath", &["hello"], "MPICH Version:"),
        (MPICH, "mpich", &["hello"], "MPICH Version:      4.3.2"),
        (INTEL, "mpich", &["hello"], "Intel(R) MPI Library"),
        // Neither the program's own library path nor a shell before it prevents this.
        (INTEL, "rpath", &["hello"], "Intel(R) MPI Library"),
        (
            INTEL,
            "mpich",
            &["sh", "-c", "hello"],
            "Intel(R) MPI Library",
        ),
        (
            INTEL,
            "mpich",
            &["python3", "-c", SAY],
            "Intel(R) MPI Library",
        ),
        // It needs a newer libfabric than the image has, which is injected with it.
        (OPEN_MPI, "ompi", &["hello"], "Open MPI v5.0.11"),
        (
            OPEN_MPI,
            "ompi",
            &["python3", "-c", SAY],
            "Open MPI v5.0.11",
        ),
    ];
    for (launcher, name, command, library) in rows {
        let image = image(name);
        let words = [&["exec", "--mpi=host", &image], command].concat();
        met(&launchers[launcher].front(&words), library);
        let words = [&["exec", "--mpi=container", &image], command].concat();
        let own = launchers[launcher].front(&words);
        let theirs = if name == "ompi" {
            "Open MPI v5.0.7"
        } else {
            "MPICH Version:      4."
        };
        met(&own, theirs);
    }
    let refused =
        launchers[DEBIANS_OPEN_MPI].front(&["exec", "--mpi=host", &image("ompi"), "hello"]);
    let line = "FATAL:   hello: the host's MPI cannot replace the image's Open MPI 5.0: the host's Open MPI 4.1 \
        is older than the image's Open MPI 5.0; ";
    assert!(
        refused.code != 0 && refused.stdout.is_empty(),
        "{refused:?}"
    );
    assert_eq!(refused.stderr.matches(line).count(), 1, "{refused:?}");
}

#[test]
fn a_fast_network_makes_the_hosts_library_worth_it() {
    let _turn = ONE_AT_A_TIME.lock();
    let launchers = Launcher::of_mpis(2);
    // Without an advantage, the image's library is kept.
    met(
        &launchers[INTEL].front(&["exec", &image("mpich"), "hello"]),
        "MPICH Version:      4.2",
    );
    let network = Card::new("/dev/cxi77");
    met(
        &launchers[INTEL].front(&["exec", &image("mpich"), "hello"]),
        "Intel(R) MPI Library",
    );
    met(
        &launchers[INTEL].front(&["exec", "--mpi=container", &image("mpich"), "hello"]),
        "MPICH Version:      4.2",
    );
    // The user's setting wins.
    let set = launchers[INTEL].front(&[
        "exec",
        "--env",
        "LD_LIBRARY_PATH=/nowhere",
        &image("mpich"),
        "hello",
    ]);
    met(&set, "MPICH Version:      4.2");
    let told = launchers[DEBIANS_OPEN_MPI].front(&["exec", &image("ompi"), "hello"]);
    met(&told, "Open MPI v5.0.7");
    let line = "WARNING: the image's Open MPI 5.0 does not reach this host's Slingshot: ";
    assert_eq!(told.stderr.matches(line).count(), 1, "{told:?}");
    let why = "; the host's MPI cannot replace the image's: the host's Open MPI 4.1 is older";
    assert_eq!(told.stderr.matches(why).count(), 1, "{told:?}");
    drop(network);
    assert!(!Path::new("/dev/cxi77").exists());
}

#[test]
fn the_bind_model_works_as_it_does_today() {
    let _turn = ONE_AT_A_TIME.lock();
    let intel = fixture("mpi").join("impi_rt");
    let launcher = &Launcher::of_mpis(2)[INTEL];
    assert_eq!(launcher.offers, Wireup::Pmi);
    let front = tests::program("front").display().to_string();
    let image = image("mpich");
    let words = [&front, "exec", &image, "python3", "-c", SAY];
    let bound = |command: &mut Command| {
        command.env("SINGULARITY_BINDPATH", &intel);
        command.env("SINGULARITYENV_LD_LIBRARY_PATH", intel.join("lib"));
        run(command)
    };
    met(
        &bound(&mut launcher.command(&words)),
        "Intel(R) MPI Library",
    );
    // Intel's launcher sets the path of its library for mpi4py.
    let own = &mut Launcher::of_mpis(2)[DEBIANS_MPICH].command(&words);
    met(
        &run(own.env("FRONT_MPI", "container")),
        "MPICH Version:      4.2",
    );
    let library = "import ctypes; ctypes.CDLL('libmpi.so.12'); print([line.split()[-1] for line in open('/proc/self/maps') \
        if 'libmpi' in line][0])";
    let words = [&front, "exec", &image, "python3", "-c", library];
    let mut command = tests::front(&words[1..]);
    assert_eq!(
        bound(&mut command).stdout.trim(),
        intel.join("lib/libmpi.so.12").display().to_string()
    );
    let own = run(&mut tests::front(&words[1..]));
    assert!(
        own.stdout
            .starts_with("/usr/lib/x86_64-linux-gnu/libmpich.so.12."),
        "{own:?}"
    );
}
