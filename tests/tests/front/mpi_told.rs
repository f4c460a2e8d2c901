//! Messages about ranks that have failed, or found no other ranks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tests::{Launcher, Outcome, fixture, front, home, run, succeed};

/// MPICH's launcher, which offers PMI.
const HYDRA: usize = 2;

/// Compiles a program that the ordinary user may run.
fn compile(home: &Path, name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let (program, file) = (home.join(name), home.join(format!("{name}.c")));
    fs::write(&file, source).unwrap();
    let mut compiler = Command::new("cc");
    succeed(compiler.arg("-o").arg(&program).arg(&file).args(flags));
    program
}

fn told(outcome: &Outcome, line: &str, times: usize) {
    let told = outcome.stdout.matches(line).count() + outcome.stderr.matches(line).count();
    assert_eq!(told, times, "{line}: {outcome:?}");
}

#[test]
fn an_instruction_that_is_missing_is_told_once() {
    let home = home();
    let trap = "int main(void) { __builtin_trap(); }";
    let program = compile(home.path(), "newer", trap, &["-static"]);
    let (program, image) = (program.display().to_string(), fixture("bb"));
    let image = image.display().to_string();
    let launcher = &Launcher::of_mpis(4)[HYDRA];
    let line = "was killed by an instruction that this processor (x86-64";
    let outcome = launcher.front(&["exec", &image, &program]);
    told(&outcome, &format!("WARNING: {program} {line}"), 1);
    assert_ne!(outcome.code, 0);
    // Under a shell, which turns the signal into an exit code.
    let outcome = launcher.front(&["exec", &image, "sh", "-c", &format!("{program}; exit $?")]);
    told(&outcome, &format!("WARNING: sh {line}"), 1);
    told(&launcher.front(&["-s", "exec", &image, &program]), line, 0);
    told(&launcher.front(&["exec", &image, "true"]), "WARNING", 0);
}

#[test]
fn a_library_that_is_missing_is_told() {
    let home = home();
    compile(
        home.path(),
        "libgone.so",
        "int gone(void) { return 0; }",
        &["-shared", "-fPIC"],
    );
    let here = format!("-L{}", home.path().display());
    let use_it = "int gone(void); int main(void) { return gone(); }";
    let program = compile(home.path(), "app", use_it, &[&here, "-lgone"]);
    let (program, image) = (program.display().to_string(), fixture("py"));
    let image = image.display().to_string();
    // The bound directory might have contained the library, so the program is started.
    let outcome = Launcher::of_mpis(2)[HYDRA].front(&["exec", "-B", "/usr:/mnt", &image, &program]);
    told(&outcome, "libgone.so: cannot open shared object file", 2);
    let line = format!(
        "exited with status 127, which often means a missing library; see `front doctor {image} {program}`"
    );
    told(&outcome, &line, 1);
}

#[test]
fn ranks_that_found_nobody_are_told_of() {
    let library = fixture("mpi").join("openmpi/lib/libmpi.so.40");
    let script = format!(
        "import ctypes, time; mpi = ctypes.CDLL('{}', ctypes.RTLD_GLOBAL); mpi.MPI_Init(None, None); time.sleep(4)",
        library.display()
    );
    let image = fixture("py").display().to_string();
    let words = ["exec", &image, "python3", "-c", &script];
    let outcome = Launcher::of_mpis(2)[HYDRA].front(&words);
    let line = "WARNING: python3 has loaded an MPI library that does not find the other ranks: Open MPI needs \
        PMIx to find its ranks, but Hydra (mpiexec) offers PMI: each of the 2 ranks would run alone; start it with Open MPI's mpirun";
    told(&outcome, line, 1);
}

#[test]
fn nobody_waits_for_what_may_be_told() {
    // Processes that continue after a rank, such as the server of a SIF, have none of its streams.
    // Launchers wait until these are closed.
    let left = "sleep 30 >/dev/null 2>&1 </dev/null & true";
    for (flags, image) in [(&[][..], "bb.sif"), (&["--pid"], "bb")] {
        let image = fixture(image).display().to_string();
        let words = [&["exec"], flags, &[&image, "sh", "-c", left]].concat();
        let mut rank = front(&words);
        for (name, value) in [
            ("PMI_RANK", "0"),
            ("PMI_SIZE", "1"),
            ("MPI_LOCALNRANKS", "1"),
        ] {
            rank.env(name, value);
        }
        let begin = Instant::now();
        let outcome = run(&mut rank);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(begin.elapsed() < Duration::from_secs(15), "{image}");
    }
}
