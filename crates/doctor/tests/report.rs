//! Reports about images and hosts that are made for this: the findings, as `front doctor` prints
//! them.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::OsStr;
use std::path::Path;

use doctor::{Processor, Program, Wanted};
use elf::Object;
use elf_builder::{Elf, Root};
use inject::mpi::{Hints, Policy};
use inject::{Host, View};
use launcher::Job;
use rootfs::Directory;

fn machine() -> Object {
    Object::parse(&Elf::program().bytes()).unwrap()
}

/// A job of two ranks under MPICH's launcher.
fn job() -> Job {
    let variables = [("PMI_RANK", "0"), ("PMI_SIZE", "2"), ("PMI_FD", "7")];
    let get = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Job::find(&get, &|| "1-1".to_owned()).unwrap()
}

/// Returns the report about `/bin/app` of an image on a host.
fn report(image: &Root, host: &Root, job: Option<&Job>) -> String {
    let root = Directory::open_root(image.path()).unwrap();
    let host = Host::new(host.path(), OsStr::new("/usr/bin")).unwrap();
    let processor = Processor {
        machine: machine(),
        level: 3,
    };
    let program = Program {
        name: "app",
        files: &root,
        path: Path::new("/bin/app"),
        library_path: None,
        is_whole: true,
        mpi_apart: true,
    };
    let view = View {
        host: &host,
        image: &root,
        machine: machine(),
        library_path: None,
    };
    let wanted = Wanted {
        policy: Policy::Auto,
        hints: &Hints::default(),
        job,
        shared: true,
    };
    let mut findings = doctor::program(&root, None, processor, Some(program)).unwrap();
    findings.extend(doctor::mpi(view, program, &wanted).unwrap());
    let lines = findings.iter().map(|finding| {
        let remedy = finding.remedy.as_ref();
        let remedy = remedy.map(|remedy| format!("; {remedy}"));
        let (verdict, topic) = (finding.verdict.word(), finding.topic);
        format!(
            "{verdict} {topic}: {}{}\n",
            finding.what,
            remedy.unwrap_or_default()
        )
    });
    lines.collect()
}

fn app() -> Elf {
    Elf::program().needs("libmpi.so.12").needs("libc.so.6")
}

fn mpi() -> Elf {
    Elf::library("libmpi.so.12").needs("libc.so.6")
}

#[test]
fn a_program_without_mpi() {
    let image = Root::glibc().with(
        "/bin/app",
        &Elf::program().needs("libz.so.1").needs("libc.so.6"),
    );
    insta::assert_snapshot!(report(&image, &Root::glibc(), None), @r##"
    works C library: glibc
    works processor: x86-64-v3
    fails libraries: app needs libz.so.1, which is not there; install libz.so.1 in the image, or bind it and set --env LD_LIBRARY_PATH=…
    "##);
}

#[test]
fn ranks_whose_mpi_has_another_wire_up() {
    let image = Root::glibc()
        .with("/bin/app", &app())
        .with("/usr/lib/libmpi.so.12", &mpi().needs("libpmix.so.2"))
        .with("/usr/lib/libpmix.so.2", &Elf::library("libpmix.so.2"));
    insta::assert_snapshot!(report(&image, &Root::glibc(), Some(&job())), @r##"
    works C library: glibc
    works processor: x86-64-v3
    works libraries: all 3 that app needs are there
    works MPI library: the image's MPICH
    fails wire-up: MPICH needs PMIx to find its ranks, but Hydra (mpiexec) offers PMI: each of the 2 ranks would run alone; start it with Open MPI's mpirun, or srun --mpi=pmix
    works shared memory: ranks on a node share a container and can read each other's memory
    "##);
}

#[test]
fn ranks_that_get_the_hosts_mpi() {
    let image = Root::glibc().with("/bin/app", &app());
    let host = Root::glibc().with("/usr/lib/libmpi.so.12", &mpi());
    insta::assert_snapshot!(report(&image, &host, Some(&job())), @r##"
    works C library: glibc
    works processor: x86-64-v3
    works libraries: the one that app needs is there
    works MPI library: the host's MPICH; the image has none
    works wire-up: Hydra (mpiexec) offers PMI
    works shared memory: ranks on a node share a container and can read each other's memory
    "##);
}

#[test]
fn a_network_that_the_image_does_not_reach() {
    let image = Root::glibc()
        .with("/bin/app", &app())
        .with("/usr/lib/libmpi.so.12", &mpi());
    let host = Root::glibc().with_file("/dev/cxi0", b"");
    insta::assert_snapshot!(report(&image, &host, Some(&job())), @r##"
    works C library: glibc
    works processor: x86-64-v3
    works libraries: all 2 that app needs are there
    works MPI library: the image's MPICH
    slow network: this host's Slingshot is not reached: the image has neither libfabric nor UCX; the host's MPI cannot replace the image's: the host has no MPICH; load a module with a host MPI of the same kind, or build the image with the network's libraries
    works wire-up: Hydra (mpiexec) offers PMI
    works shared memory: ranks on a node share a container and can read each other's memory
    "##);
}
