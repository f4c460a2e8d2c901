//! Findings about an image and its programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{TestDirectory, fixture, small_glibc, succeed};

use super::{doctor, doctor_where, finds, image, is_well, where_root_did};

/// Makes a changed copy of an image.
fn changed(place: &TestDirectory, of: &str, change: impl Fn(&Path)) -> String {
    let copy = place.file("changed");
    let _ = fs::remove_dir_all(&copy);
    succeed(Command::new("cp").arg("-a").arg(fixture(of)).arg(&copy));
    change(Path::new(&copy));
    copy
}

#[test]
fn what_is_broken_in_an_image_is_found() {
    let place = TestDirectory::new();
    let nowhere = doctor(&[&image("bb"), "nosuch"]);
    finds(
        &nowhere,
        "fails",
        "program",
        "nosuch is not in the image",
        "PATH in the container is /usr/local/sbin",
    );
    let hello = fixture("mpich").join("usr/bin/hello").display().to_string();
    let older = doctor(&[&image("old"), &hello]);
    finds(
        &older,
        "fails",
        "libraries",
        "hello needs GLIBC_2.34 of libc.so.6",
        "build the program in an equally old image",
    );
    // A program of the host may find more of the host's libraries.
    assert!(
        older.stdout.contains(
            "slow   MPI library    the program needs MPICH, which the image does not have, and libmpi.so.12: "
        ),
        "{older:?}"
    );
    let new = fixture("new").join("usr/bin/cat").display().to_string();
    let old = doctor(&[&image("old"), &new]);
    finds(
        &old,
        "fails",
        "libraries",
        "of libc.so.6, which is older",
        "use a newer image",
    );
    let lacking = place.file("lacking");
    fs::create_dir(&lacking).unwrap();
    let lacking = small_glibc(Path::new(&lacking));
    fs::copy(fixture("old").join("bin/ls"), lacking.join("bin/real-ls")).unwrap();
    let dangling = lacking.display().to_string();
    let incomplete = doctor(&[&dangling, "real-ls"]);
    finds(
        &incomplete,
        "fails",
        "libraries",
        "real-ls needs libselinux.so.1, which is not there",
        "install libselinux.so.1 in the image",
    );
    let foreign = changed(&place, "bb", |root| {
        let busybox = root.join("bin/busybox");
        let mut bytes = fs::read(&busybox).unwrap();
        bytes[18] = 183;
        fs::write(&busybox, bytes).unwrap();
    });
    let foreign = doctor(&[&foreign, "true"]);
    finds(
        &foreign,
        "fails",
        "processor",
        "the image is for aarch64, but this machine is x86-64",
        "front pull --arch amd64",
    );
}

#[test]
fn an_old_processor_is_told() {
    let place = TestDirectory::new();
    let source = place.file("x.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let program = place.file("x");
    succeed(Command::new("cc").args(["-o", &program, &source, "-march=x86-64-v3", "-mneeded"]));
    let cpuinfo = place.file("cpuinfo");
    fs::write(
        &cpuinfo,
        "flags\t\t: fpu cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3\n",
    )
    .unwrap();
    let change = format!("mount --bind {cpuinfo} /proc/cpuinfo");
    let old = doctor_where(&change, &[&image("py"), &program]);
    finds(
        &old,
        "fails",
        "processor",
        "x needs x86-64-v3, but this machine has x86-64-v2: it would be killed by SIGILL",
        "choose other nodes",
    );
    is_well(&doctor(&[&image("py"), &program]));
    // A rank is not started if it would end so.
    let front = tests::program("front").display().to_string();
    let job = where_root_did(
        &change,
        &[
            "mpiexec.hydra",
            "-n",
            "2",
            &front,
            "exec",
            &image("py"),
            &program,
        ],
    );
    let line = format!(
        "FATAL:   {program}: it needs x86-64-v3, but this machine has x86-64-v2; run `front doctor` for details"
    );
    assert_eq!(job.stderr.matches(&line).count(), 1, "{job:?}");
}
