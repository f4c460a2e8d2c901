//! The libraries that an image lacks for the host's network, on root file systems that are made for
//! this. The network is Slingshot, whose library is libcxi.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::ffi::OsStr;

use elf::Object;
use elf_builder::{Elf, Root};
use inject::fabric::{Program, Resolved, resolve};
use inject::{Host, View};
use rootfs::Directory;

fn libfabric() -> Elf {
    Elf::library("libfabric.so.1")
        .needs("libc.so.6")
        .defines("fi_getinfo")
}

/// A host with a card and a libfabric that supports it.
fn host() -> Root {
    Root::glibc()
        .with_file("/dev/cxi0", b"")
        .with(
            "/usr/lib64/libcxi.so.1",
            &Elf::library("libcxi.so.1").needs("libc.so.6"),
        )
        .with(
            "/usr/lib64/libfabric.so.1",
            &libfabric().needs("libcxi.so.1"),
        )
}

fn resolved(image: &Root, host: &Root) -> Resolved {
    let root = Directory::open_root(image.path()).unwrap();
    let host = Host::new(host.path(), OsStr::new("/usr/bin")).unwrap();
    let view = View {
        host: &host,
        image: &root,
        machine: Object::parse(&Elf::program().bytes()).unwrap(),
        library_path: None,
    };
    resolve(view, Program::default()).unwrap()
}

#[test]
fn nothing_is_injected_without_a_network() {
    assert_eq!(
        resolved(&Root::glibc(), &Root::glibc()),
        Resolved::default()
    );
}

/// The image's libfabric supports the network, and only the network's own library is missing.
#[test]
fn the_library_that_is_missing_comes_from_the_host() {
    let image = Root::glibc().with(
        "/usr/lib64/libfabric.so.1",
        &libfabric().needs("libcxi.so.1"),
    );
    let resolved = resolved(&image, &host());
    assert!(resolved.is_reached(), "{resolved:?}");
    assert_eq!(resolved.names, ["libcxi.so.1"]);
    assert_eq!(resolved.networks[0].by, ["the image's libfabric"]);
}

#[test]
fn a_libfabric_that_does_not_know_the_network_is_replaced() {
    let image = Root::glibc().with("/usr/lib64/libfabric.so.1", &libfabric());
    let resolved = resolved(&image, &host());
    assert!(resolved.is_reached(), "{resolved:?}");
    assert_eq!(resolved.networks[0].by, ["the host's libfabric"]);
    for name in ["libfabric.so.1", "libcxi.so.1"] {
        assert!(resolved.names.contains(&name.to_owned()), "{resolved:?}");
    }
}

#[test]
fn a_network_that_is_not_reached_has_its_reason() {
    let newer = libfabric().defines("fi_newer");
    let rows = [
        (Root::glibc(), "the image has neither libfabric nor UCX"),
        (
            Root::new().with(
                "/lib/ld-musl-x86_64.so.1",
                &Elf::library("libc.musl-x86_64.so.1"),
            ),
            "the image has no GNU C library, and the host's libraries need it",
        ),
        (
            Root::glibc().with("/usr/lib64/libfabric.so.1", &newer),
            "the image's libfabric does not support this network, and the host's is older: it lacks fi_newer",
        ),
    ];
    for (image, expected) in rows {
        let resolved = resolved(&image, &host());
        let reason = resolved.networks[0].reason.as_deref();
        assert_eq!(reason, Some(expected));
        assert!(!resolved.is_reached() && resolved.names.is_empty());
    }
}
