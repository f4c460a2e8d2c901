//! The MPI library of a program, and its replacement by the host's, on root file systems that are
//! made for this.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::OsStr;
use std::path::Path;

use elf::{Loader, Object};
use elf_builder::{Elf, Root};
use inject::mpi::{Family, Found, Hints, Swap, Wanted, find, swap};
use inject::{Host, View};
use launcher::Wireup;
use rootfs::Directory;

fn machine() -> Object {
    Object::parse(&Elf::program().bytes()).unwrap()
}

/// A library that defines the symbols of an MPI.
fn mpi(soname: &str) -> Elf {
    let library = Elf::library(soname).needs("libc.so.6");
    library.defines("MPI_Init").defines("MPI_Send")
}

/// A program that is linked to an MPI library.
fn program(library: &str) -> Elf {
    let program = Elf::program().needs(library).needs("libc.so.6");
    program.uses("MPI_Init").uses("printf")
}

/// Finds the MPI of `/bin/app` in an image, and hands it to `check`.
fn with_found(image: &Root, check: impl FnOnce(Option<Found<'_>>)) {
    let root = Directory::open_root(image.path()).unwrap();
    let loader = Loader::new(&root, machine()).unwrap();
    check(find(&loader, &root, (&root, Path::new("/bin/app"))).unwrap());
}

#[test]
fn families_and_releases_are_known_by_the_library() {
    let rows = [
        ("libmpi.so.12", "/usr/lib/libmpi.so.12", Family::Mpich, None),
        (
            "libmpich.so.12",
            "/usr/lib/libmpich.so.12.1.6",
            Family::Mpich,
            None,
        ),
        (
            "libmpi.so.40",
            "/usr/lib/libmpi.so.40.30.4",
            Family::OpenMpi(40),
            Some("4.1"),
        ),
        (
            "libmpi.so.40",
            "/usr/lib/libmpi.so.40.40.7",
            Family::OpenMpi(40),
            Some("5.0"),
        ),
        (
            "libmpi.so.20",
            "/usr/lib/libmpi.so.20",
            Family::OpenMpi(20),
            None,
        ),
        (
            "libmpi_abi.so.1",
            "/usr/lib/libmpi_abi.so.1",
            Family::Forum,
            None,
        ),
    ];
    for (name, path, family, release) in rows {
        let image = Root::glibc()
            .with("/bin/app", &program(name))
            .with(path, &mpi(name));
        let link = image.path().join("usr/lib").join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(Path::new(path).file_name().unwrap(), link).unwrap();
        }
        with_found(&image, |found| {
            let found = found.unwrap();
            assert_eq!((found.family, found.linked), (family, true), "{path}");
            let implementation = found.implementation.unwrap();
            assert_eq!(implementation.release.as_deref(), release, "{path}");
            assert_eq!(implementation.path, Path::new(path));
        });
    }
}

#[test]
fn a_wire_up_is_known_by_the_libraries_needs() {
    let rows: [(&str, &[Wireup]); 3] = [
        ("libpmix.so.2", &[Wireup::Pmix]),
        (
            "libpmi2.so.0",
            &[Wireup::Pmi, Wireup::SlurmLibrary, Wireup::Cray],
        ),
        ("libm.so.6", &[Wireup::Pmi]),
    ];
    for (needs, expected) in rows {
        let image = Root::glibc()
            .with("/bin/app", &program("libmpi.so.12"))
            .with("/usr/lib/libmpi.so.12", &mpi("libmpi.so.12").needs(needs));
        with_found(&image, |found| {
            let implementation = found.unwrap().implementation.unwrap();
            assert_eq!(implementation.speaks, expected, "{needs}");
        });
    }
}

#[test]
fn a_library_that_the_image_lacks_has_a_family_too() {
    let image = Root::glibc().with("/bin/app", &program("libmpi.so.40"));
    with_found(&image, |found| {
        let found = found.unwrap();
        assert_eq!(found.family, Family::OpenMpi(40));
        assert!(found.implementation.is_none() && found.linked);
    });
    with_found(&Root::glibc(), |found| assert!(found.is_none()));
    let later = Root::glibc().with("/usr/lib/libmpi.so.12", &mpi("libmpi.so.12"));
    with_found(&later, |found| assert!(!found.unwrap().linked));
}

/// Replaces the MPI of `/bin/app`.
fn replace(image: &Root, host: &Root) -> Result<Swap, String> {
    let root = Directory::open_root(image.path()).unwrap();
    let host = Host::new(host.path(), OsStr::new("/usr/bin")).unwrap();
    let view = View {
        host: &host,
        image: &root,
        machine: machine(),
        library_path: None,
    };
    let mut result = None;
    with_found(image, |found| {
        let found = found.unwrap();
        let wanted = Wanted {
            family: found.family,
            own: found.implementation.as_ref(),
        };
        let (files, path) = &found.by;
        result = Some(swap(view, (*files, path), wanted, &Hints::default()).unwrap());
    });
    result.unwrap()
}

#[test]
fn the_hosts_library_comes_with_what_it_needs() {
    let image = Root::glibc()
        .with("/bin/app", &program("libmpi.so.12"))
        .with("/usr/lib/libmpi.so.12", &mpi("libmpi.so.12"));
    let host = Root::glibc()
        .with(
            "/usr/lib/libmpi.so.12",
            &mpi("libmpi.so.12").needs("libfabric.so.1"),
        )
        .with(
            "/usr/lib/libfabric.so.1",
            &Elf::library("libfabric.so.1").needs("libc.so.6"),
        );
    let swap = replace(&image, &host).unwrap();
    assert_eq!(swap.implementation.path, Path::new("/usr/lib/libmpi.so.12"));
    let text = format!("{:?}", swap.host_libraries);
    for name in ["libmpi.so.12", "libfabric.so.1"] {
        assert!(text.contains(name), "{text}");
    }
    assert!(!text.contains("libc.so.6"), "{text}");
}

#[test]
fn a_replacement_that_cannot_work_is_refused_with_its_reason() {
    let image = |library: &str, path: &str| {
        Root::glibc()
            .with("/bin/app", &program(library).uses("MPI_Send"))
            .with(path, &mpi(library))
    };
    let mpich = || image("libmpi.so.12", "/usr/lib/libmpi.so.12");
    let without = Elf::library("libmpi.so.12").defines("MPI_Init");
    let musl = Root::new()
        .with("/bin/app", &program("libmpi.so.12"))
        .with(
            "/lib/ld-musl-x86_64.so.1",
            &Elf::library("libc.musl-x86_64.so.1"),
        )
        .with("/usr/lib/libmpi.so.12", &mpi("libmpi.so.12"));
    let has = |path: &str, library: &Elf| Root::glibc().with(path, library);
    let rows = [
        (mpich(), Root::glibc(), "the host has no MPICH"),
        (
            mpich(),
            has("/usr/lib/libmpi.so.40", &mpi("libmpi.so.40")),
            "the host has no MPICH",
        ),
        (
            mpich(),
            has("/usr/lib/libmpi.so.12", &without),
            "the host's MPICH has no MPI_Send, which the program uses",
        ),
        (
            musl,
            has("/usr/lib/libmpi.so.12", &mpi("libmpi.so.12")),
            "the image has no GNU C library",
        ),
    ];
    for (image, host, expected) in rows {
        assert_eq!(replace(&image, &host).unwrap_err(), expected);
    }
}
