//! MPI programs that are not in the image: the user's own, and packages that load the library
//! later. The image has no MPI.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Launcher, Outcome, fixture, front, home, open_to_all, run, succeed};

const DEBIANS_OPEN_MPI: usize = 0;
const DEBIANS_MPICH: usize = 2;

const SAY: &str = "from mpi4py import MPI; w = MPI.COMM_WORLD; \
    print(f'rank {w.rank} of {w.size}, sum {w.allreduce(w.rank)}: {MPI.Get_library_version()[:60]}', flush=True)";

fn image(name: &str) -> String {
    fixture(name).display().to_string()
}

/// Compiles a program for the host.
fn compile(compiler: &str, home: &Path, name: &str, words: &[&str]) -> String {
    let program = home.join(name);
    succeed(Command::new(compiler).arg("-o").arg(&program).args(words));
    open_to_all(home);
    program.display().to_string()
}

fn hello() -> String {
    let source: PathBuf = [env!("CARGO_MANIFEST_DIR"), "mpi", "hello.c"]
        .iter()
        .collect();
    source.display().to_string()
}

/// Checks that two ranks met, using a library, and that nothing else was printed.
fn met(outcome: &Outcome, library: &str) {
    let met = outcome.stdout.matches(" of 2, sum 1: ").count();
    assert_eq!((outcome.code, met), (0, 2), "{library}: {outcome:?}");
    let of_library = outcome.stdout.matches(library).count();
    assert_eq!(of_library, 2, "{library}: {outcome:?}");
    assert!(!outcome.stderr.contains("WARNING"), "{outcome:?}");
}

#[test]
fn a_program_of_the_users_has_the_hosts_mpi() {
    let home = home();
    let launchers = Launcher::of_mpis(2);
    for (compiler, launcher, library) in [
        ("mpicc.openmpi", DEBIANS_OPEN_MPI, "Open MPI v4.1"),
        ("mpicc.mpich", DEBIANS_MPICH, "MPICH Version:"),
    ] {
        let program = compile(compiler, home.path(), compiler, &[&hello()]);
        for name in ["py", "new"] {
            for flags in [&[][..], &["--mpi=host"], &["-c"]] {
                let mut words = [&["exec", "-B", home.path().to_str().unwrap()], flags].concat();
                let image = image(name);
                words.extend([image.as_str(), &program]);
                met(&launchers[launcher].front(&words), library);
            }
        }
    }
}

#[test]
fn a_package_that_is_bound_has_the_launchers_mpi() {
    let launchers = Launcher::of_mpis(2);
    let libraries = [
        "Open MPI v4.1",
        "Open MPI v5.0",
        "MPICH Version:\t4.0",
        "MPICH Version:      4.3",
        "Intel(R) MPI",
    ];
    let packages = fixture("mpich").join("usr/local/lib/python3.13/dist-packages");
    let bind = format!("{}:/packages", packages.display());
    for (launcher, library) in launchers.iter().zip(libraries) {
        let image = image("py");
        let words = ["exec", "-B", &bind, "--env", "PYTHONPATH=/packages", &image];
        let outcome = launcher.front(&[&words[..], &["python3", "-c", SAY]].concat());
        met(&outcome, library);
    }
}

/// Makes a stub library whose name the host does not have, and a program that uses it.
fn stub(home: &Path) -> (String, String) {
    std::fs::write(home.join("stub.c"), "int MPI_Init(void) { return 0; }").unwrap();
    std::fs::write(
        home.join("main.c"),
        "int MPI_Init(void); int main(void) { return MPI_Init(); }",
    )
    .unwrap();
    let at = |name: &str| home.join(name).display().to_string();
    let flags = [
        "-shared",
        "-fPIC",
        "-Wl,-soname,libmpi.so.99",
        &at("stub.c"),
    ];
    compile("cc", home, "libmpi.so.99", &flags);
    (at("main.c"), at("libmpi.so.99"))
}

#[test]
fn what_nobody_has_is_said_before_the_start() {
    let home = home();
    let (main, library) = stub(home.path());
    let alone = compile("cc", home.path(), "alone", &[&main, &library]);
    let launcher = &Launcher::of_mpis(4)[DEBIANS_OPEN_MPI];
    for (name, why) in [
        ("py", "the host has no Open MPI"),
        ("bb", "no GNU C library"),
    ] {
        let outcome = launcher.front(&["exec", &image(name), &alone]);
        let said: Vec<&str> = { outcome.stderr.lines() }
            .filter(|line| line.starts_with("FATAL") || line.contains("libmpi"))
            .collect();
        assert_eq!(said.len(), 1, "{outcome:?}");
        assert!(
            said[0].contains("which the image does not have") && said[0].contains(why),
            "{outcome:?}"
        );
    }
    let doctor = run(&mut front(["doctor", &image("py"), &alone]));
    assert!(
        doctor
            .stdout
            .contains("the program needs Open MPI, which the image does not have"),
        "{doctor:?}"
    );
}

#[test]
fn a_library_of_the_programs_own_is_left_to_it() {
    let home = home();
    let (main, library) = stub(home.path());
    let launcher = &Launcher::of_mpis(2)[DEBIANS_OPEN_MPI];
    for path in [
        "-Wl,-rpath,$ORIGIN",
        &format!("-Wl,-rpath,{}", home.path().display()),
    ] {
        let program = compile("cc", home.path(), "own", &[path, &main, &library]);
        let bind = home.path().display().to_string();
        let outcome = launcher.front(&["exec", "-B", &bind, &image("py"), &program]);
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (0, ""),
            "{path}: {outcome:?}"
        );
    }
}
