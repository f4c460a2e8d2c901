//! Findings about MPI, its launchers and the nodes of a job.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{Cluster, Launcher, front, home, open_to_all, program, run, small_glibc, succeed};

use super::{doctor, finds, image, is_well};

#[test]
fn what_mpi_lacks_is_found() {
    let shared = doctor(&["--no-share", &image("mpich"), "hello"]);
    finds(
        &shared,
        "slow",
        "shared memory",
        "MPI copies long messages twice",
        "omit --no-share",
    );
    let host = doctor(&["--mpi=host", &image("ompi"), "hello"]);
    finds(
        &host,
        "fails",
        "MPI library",
        "the host's Open MPI 4.1 is older than the image's",
        "--mpi=container",
    );
    let launchers = Launcher::of_mpis(2);
    let cluster = Cluster::own();
    let slurm = Launcher::of_slurm(&cluster, 2);
    let (pmi, pmix, nothing) = (&slurm[0], &slurm[1], &slurm[2]);
    let rows = [
        (
            &launchers[0],
            "mpich",
            "Open MPI's mpirun offers PMIx",
            "srun --mpi=pmi2",
        ),
        (
            &launchers[1],
            "rpath",
            "Open MPI's mpirun offers PMIx",
            "MPICH's mpiexec",
        ),
        (
            &launchers[2],
            "ompi",
            "Hydra (mpiexec) offers PMI:",
            "Open MPI's mpirun",
        ),
        (
            &launchers[4],
            "ompi",
            "Hydra (mpiexec) offers PMI:",
            "srun --mpi=pmix",
        ),
        (pmi, "ompi", "srun offers PMI:", "srun --mpi=pmix"),
        (pmix, "mpich", "srun offers PMIx:", "srun --mpi=pmi2"),
        (
            nothing,
            "mpich",
            "srun offers no wire-up:",
            "srun --mpi=pmi2",
        ),
    ];
    for (launcher, name, words, remedy) in rows {
        let outcome = launcher.front(&["doctor", &image(name), "hello"]);
        finds(&outcome, "fails", "wire-up", words, remedy);
    }
    for (launcher, name) in [
        (&launchers[2], "mpich"),
        (&launchers[4], "rpath"),
        (&launchers[0], "ompi"),
        (pmi, "rpath"),
        (pmix, "ompi"),
    ] {
        is_well(&launcher.front(&["doctor", &image(name), "hello"]));
    }
    let swapped = launchers[4].front(&["doctor", "--mpi=host", &image("mpich"), "hello"]);
    is_well(&swapped);
    assert!(
        swapped
            .stdout
            .contains("the host's MPICH replaces the image's MPICH"),
        "{swapped:?}"
    );
}

#[test]
fn the_other_nodes_of_a_job_are_looked_at() {
    let cluster = Cluster::newer(|_| {});
    let doctor = || {
        let mut srun = cluster.inside();
        srun.args(["srun", "-N2", "-n4", "--mpi=pmix"]);
        run(srun
            .arg(program("front"))
            .args(["doctor", &image("ompi"), "hello"]))
    };
    is_well(&doctor());
    let second = fs::read_to_string(cluster.directory().join("n2.pid")).unwrap();
    let mut small = Command::new("nsenter");
    small.args(["--target", second.trim(), "--mount"]);
    succeed(small.args(["mount", "-o", "remount,size=8m", "/dev/shm"]));
    let outcome = doctor();
    let lines = outcome.stdout.lines();
    let others: Vec<&str> = lines.filter(|line| !line.starts_with("works")).collect();
    assert_eq!(others.len(), 1, "{outcome:?}");
    let line = "slow   shared memory  n2: /dev/shm has 8 MiB";
    assert!(
        others.iter().all(|own| own.starts_with(line)),
        "{outcome:?}"
    );
}

/// The image's MPICH finds ranks only by PMIx, the launcher offers PMI, and the host's MPICH can
/// use it.
#[test]
fn the_doctor_expects_what_the_launch_does() {
    let home = home();
    let image = small_glibc(home.path());
    let at = |name: &str| home.path().join(name).display().to_string();
    // This machine's C library, for the output of its compiler.
    for file in [
        "lib/x86_64-linux-gnu/libc.so.6",
        "lib64/ld-linux-x86-64.so.2",
    ] {
        fs::copy(Path::new("/").join(file), image.join(file)).unwrap();
    }
    let library = "image/lib/x86_64-linux-gnu";
    fs::create_dir(at("host")).unwrap();
    fs::write(at("mpi.c"), "int MPI_Init(void) { return 0; }").unwrap();
    fs::write(at("pmix.c"), "int PMIx_Init(void) { return 0; }").unwrap();
    fs::write(
        at("hello.c"),
        "int MPI_Init(void); int write(int, const char *, int); int main(void) { write(1, \"started\\n\", 8); return MPI_Init(); }",
    )
    .unwrap();
    let compile = |words: &[&str]| succeed(Command::new("gcc").args(words));
    let (own, pmix) = (
        at(&format!("{library}/libmpi.so.12")),
        at(&format!("{library}/libpmix.so.2")),
    );
    let shared = ["-shared", "-fPIC", "-nostdlib"];
    compile(
        &[
            &shared[..],
            &["-Wl,-soname,libpmix.so.2", "-o", &pmix, &at("pmix.c")],
        ]
        .concat(),
    );
    let needs = [
        "-Wl,--no-as-needed,-soname,libmpi.so.12",
        "-o",
        &own,
        &at("mpi.c"),
        &pmix,
    ];
    compile(&[&shared[..], &needs].concat());
    let host = at("host/libmpi.so.12");
    compile(
        &[
            &shared[..],
            &["-Wl,-soname,libmpi.so.12", "-o", &host, &at("mpi.c")],
        ]
        .concat(),
    );
    let hello = at("image/bin/hello");
    compile(&["-o", &hello, &at("hello.c"), &own, &pmix]);
    open_to_all(home.path());
    let image = image.display().to_string();
    let under_pmi = |words: &[&str]| {
        let mut command = front(words);
        command
            .env("PMI_RANK", "0")
            .env("PMI_SIZE", "2")
            .env("PMI_FD", "0")
            .env("MPI_LOCALNRANKS", "1")
            .env("LD_LIBRARY_PATH", at("host"));
        run(&mut command)
    };
    let told = under_pmi(&["doctor", &image, "hello"]);
    assert!(told.stdout.contains("the host's MPICH"), "{told:?}");
    assert!(!told.stdout.contains("fails"), "{told:?}");
    let started = under_pmi(&["exec", &image, "hello"]);
    assert_eq!(
        (started.code, started.stdout.as_str()),
        (0, "started\n"),
        "{started:?}"
    );
}
