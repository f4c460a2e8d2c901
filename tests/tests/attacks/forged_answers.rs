//! A payload with `CAP_SYS_PTRACE` can open the pipe of a process that enters its container, and
//! answers the caller of `slipway exec` in that process's place.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::Bundle;

/// Longest time that an `exec` may take, whatever it is told.
const LONGEST: Duration = Duration::from_secs(10);

/// Starts a payload that writes `answer` into each pipe that a new process has besides its standard
/// streams. The shell's own commands do all of it, so that it is quick.
fn begin_forger(answer: &str) -> Bundle {
    let script = format!(
        "touch /ready; own=$$; while :; do for p in /proc/[0-9]*; do \
         [ ${{p#/proc/}} -gt $own ] || continue; for f in $p/fd/[3-9] $p/fd/[1-9][0-9]*; do \
         [ -p $f ] && {{ {answer}; }} >$f 2>/dev/null && : >/forged; done; done; done"
    );
    crate::begin_payload(&script, "CAP_SYS_PTRACE")
}

/// Calls `exec` until the payload has answered three times. The outcome of each call is checked.
fn while_it_answers(bundle: &Bundle, mut call: impl FnMut()) {
    let forged = bundle.path().join("rootfs/forged");
    let mut answered = 0;
    for _ in 0..60 {
        let _ = fs::remove_file(&forged);
        let began = Instant::now();
        call();
        assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
        answered += u32::from(forged.exists());
        if answered == 3 {
            return;
        }
    }
    panic!("the payload has answered {answered} times");
}

fn quiet(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

#[test]
fn no_process_of_the_hosts_is_believed_to_be_the_new_one() {
    let mut victim = Command::new("sleep").arg("1000").spawn().unwrap();
    let bytes = victim.id().to_ne_bytes();
    let number: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let bundle = begin_forger(&format!("printf 'p\\004\\000{number}'"));
    let _deleted = crate::Deleted(&bundle);
    let file = bundle.path().join("pid");
    let path = file.display().to_string();
    while_it_answers(&bundle, || {
        let _ = fs::remove_file(&file);
        let args = ["exec", "-d", "--pid-file", &path, "c1", "sleep", "1"];
        let _ = quiet(bundle.slipway(&args)).status().unwrap();
        let told = fs::read_to_string(&file).unwrap_or_default();
        assert_ne!(told, victim.id().to_string());
    });
    while_it_answers(&bundle, || {
        let mut exec = quiet(bundle.slipway(&["exec", "c1", "sleep", "2"]));
        let exec = exec.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let _ = kill(Pid::from_raw(exec.id().cast_signed()), Signal::SIGTERM);
        assert!(exec.wait_with_output().is_ok());
    });
    assert_eq!(victim.try_wait().unwrap(), None, "the signal went to it");
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn a_program_that_is_said_to_have_failed_is_not_waited_for() {
    let bundle = begin_forger("printf 'e\\003\\000abc'");
    let _deleted = crate::Deleted(&bundle);
    let log = bundle.path().join("error");
    while_it_answers(&bundle, || {
        let began = Instant::now();
        let mut exec = quiet(bundle.slipway(&["exec", "c1", "sleep", "5"]));
        exec.stderr(File::create(&log).unwrap());
        let status = exec.status().unwrap();
        if fs::read_to_string(&log).unwrap().contains("abc") {
            assert!(!status.success());
            assert!(began.elapsed() < Duration::from_secs(4));
        }
    });
}

#[test]
fn a_flood_of_answers_is_not_read() {
    // The first process of a PID namespace survives SIGPIPE.
    let bundle = begin_forger("while printf '%01000d' 0; do :; done");
    let _deleted = crate::Deleted(&bundle);
    while_it_answers(&bundle, || {
        let _ = quiet(bundle.slipway(&["exec", "c1", "sleep", "1"]))
            .status()
            .unwrap();
    });
}
