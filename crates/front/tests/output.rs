//! Runs `front` where nothing is started: the lists that it prints, and the plan of a container.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use elf_builder::{Elf, Root};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

/// A public key of 2026, for the tests alone.
const KEY: &str = "\
-----BEGIN PGP PUBLIC KEY BLOCK-----

xjMEawxtWxYJKwYBBAHaRw8BAQdAB8bi8wbyPMSZJEjlkp1TwL6Xo4r4vy4xoblf
aXAvfDPNFUFkYSA8YWRhQGV4YW1wbGUub3JnPsKGBBMWCAAuBQJrDG1bFiEESkuQ
gmXyDEF5RNUtbGJqOuwQWoACGwMCHgEBCwEVARYBJwIZAQAKCRBsYmo67BBagLS9
AP9KZ+r3jANxM5TCc4YcnKA5tXr1WgeqG0MpdlFY/BVc5AD/UKi/NYzkyULFIiTL
ztJ4zxBpNPx6hA5hcjPtACJ3YQrOOARrDG1bEgorBgEEAZdVAQUBAQdA36PlnCo+
nU2OPv+Yv5RC7MFBV2DFzgRpNA/h3xPxhkUDAQgHwngEGBYIACAFAmsMbVsCGwwW
IQRKS5CCZfIMQXlE1S1sYmo67BBagAAKCRBsYmo67BBagGAuAQCm/m1QmGAxjJ9Z
cfFBKKu+QWsS04e68HQhOG1DIOLhuQEAkFXM65WMEQsxYyAK/EIBUX3qYqkmyDh2
vCEeXg2e0gc=
=2PB4
-----END PGP PUBLIC KEY BLOCK-----
";

/// A user's directory, with a cache, a keyring and images.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path().join(name), content).unwrap();
    }

    /// Returns the output of front in the user's directory.
    fn front(&self, words: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_front"))
            .args(words.split(' '))
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("APPTAINER_CACHEDIR", self.path().join("cache"))
            .env("APPTAINER_CONFIGDIR", self.path().join("config"))
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "front {words}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.replace(self.path().to_str().unwrap(), "HERE")
    }
}

#[test]
fn the_list_of_the_cache() {
    let user = User::new();
    assert_snapshot!(user.front("cache list -v"), @r##"
    NAME                     LAST USED              SIZE             TYPE

    There are 0 container file(s) using 0.00 KiB and 0 oci blob file(s) using 0.00 KiB of space
    Total space used: 0.00 KiB
    "##);
}

#[test]
fn the_list_of_keys() {
    let user = User::new();
    user.write("key", KEY);
    user.front("key import key");
    assert_snapshot!(user.front("key list"), @r##"
    Public key listing (HERE/config/keys/pgp-public):

    0)  User:              Ada <ada@example.org>
        Creation time:     2026-11-29 18:22:19 +0000 UTC
        Fingerprint:       4A4B908265F20C417944D52D6C626A3AEC105A80
        Length (in bits):  256
    "##);
}

#[test]
fn the_list_of_a_sif() {
    let user = User::new();
    user.write("definition", "Bootstrap: scratch\n");
    user.write("labels", "{}\n");
    user.front("sif new image.sif");
    user.front("sif add --datatype 1 --groupid 1 image.sif definition");
    user.front("sif add --datatype 3 --groupid 1 image.sif labels");
    user.front("sif add --datatype 6 --groupid 2 image.sif labels");
    assert_snapshot!(user.front("sif list image.sif"), @r##"
    ------------------------------------------------------------------------------
    ID   |GROUP   |LINK    |SIF POSITION (start-end)  |TYPE
    ------------------------------------------------------------------------------
    1    |1       |NONE    |32176-32195               |Def.FILE
    2    |1       |NONE    |32195-32198               |JSON.Labels
    3    |2       |NONE    |32198-32201               |JSON.Generic
    "##);
}

#[test]
fn lists_of_containers_without_any() {
    let user = User::new();
    assert_snapshot!(user.front("instance list nothing-has-this-name"), @r##"
    INSTANCE NAME    PID    IP    IMAGE
    "##);
}

/// The parts of a container's configuration that are the same on each host and for each user.
#[test]
fn the_plan_of_a_contained_program() {
    let user = User::new();
    let image = Root::new().with("/bin/app", &Elf::program());
    std::os::unix::fs::symlink(image.path(), user.path().join("image")).unwrap();
    user.write("data", "");
    let words = "exec --dry-run -C -e --env A=1 --pwd /tmp -B data:/mnt/data:ro image app --flag";
    let config: Value = serde_json::from_str(&user.front(words)).unwrap();
    let words = |value: &Value| -> String {
        let all = value.as_array().unwrap().iter();
        let all: Vec<&str> = all.map(|word| word.as_str().unwrap()).collect();
        all.join(" ")
    };
    let process = &config["process"];
    let mut plan = format!(
        "{}, in {}, new privileges: {}\n",
        words(&process["args"]),
        process["cwd"],
        process["noNewPrivileges"] != true,
    );
    for name in process["env"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        if ["A=", "LANG=", "PATH=", "LD_LIBRARY_PATH="]
            .iter()
            .any(|own| name.starts_with(own))
        {
            plan += &format!("{name}\n");
        }
    }
    for mount in config["mounts"].as_array().unwrap() {
        let destination = mount["destination"].as_str().unwrap();
        if ["/proc", "/sys", "/dev", "/tmp", "/mnt", "/var/tmp"]
            .iter()
            .any(|own| destination.starts_with(own))
        {
            plan += &format!(
                "{destination} {} {} {}\n",
                mount["type"].as_str().unwrap(),
                mount["source"].as_str().unwrap(),
                words(&mount["options"]),
            );
        }
    }
    plan += &config["linux"]["namespaces"].to_string();
    assert_snapshot!(plan, @r##"
    app --flag, in "/tmp", new privileges: true
    A=1
    LANG=C
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    /proc proc proc nosuid nodev noexec
    /sys bind /sys rbind nosuid nodev rro
    /dev tmpfs tmpfs nosuid mode=755 size=65536k
    /tmp tmpfs tmpfs nosuid nodev mode=1777
    /dev/pts devpts devpts nosuid noexec newinstance ptmxmode=0666 mode=0620
    /dev/shm tmpfs tmpfs nosuid nodev mode=1777
    /var/tmp tmpfs tmpfs nosuid nodev mode=1777
    /mnt/data bind HERE/data rbind nosuid nodev ro
    [{"type":"mount"},{"type":"pid"},{"type":"ipc"}]
    "##);
}
