//! A machine with another kernel, Debian 12's, which has a network card in software.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::{Outcome, fixture, run};

/// Runs a script as root in a guest of Linux 6.1 with the network card `rxe0`. The guest sees this
/// machine's files, read-only except for `/tmp`. The script is left in `directory`, which the guest
/// must be able to see. The output combines both streams.
///
/// # Panics
///
/// Panics when the guest does not reach the script's end.
#[must_use]
pub fn in_guest(directory: &Path, script: &str) -> Outcome {
    let (guest, path) = (fixture("guest"), directory.join("script"));
    let mut file = fs::File::create(&path).expect("it can be made");
    let card = "ip link add d0 type dummy\nip address add 10.9.0.1/24 dev d0\nip link set d0 up\n\
        rdma link add rxe0 type rxe netdev d0\n";
    write!(
        file,
        "#!/bin/bash\nexport PATH=/usr/sbin:/usr/bin\n{card}{script}"
    )
    .expect("it can be written");
    drop(file);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be made");
    let kernel = format!("console=ttyS0 quiet panic=-1 script={}", path.display());
    let mut command = Command::new("timeout");
    command
        .args([
            "300",
            "qemu-system-x86_64",
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
        ])
        .args([
            "-serial", "stdio", "-machine", "q35", "-cpu", "max", "-smp", "2", "-m", "2048",
        ])
        .arg("-kernel")
        .arg(guest.join("vmlinuz"))
        .arg("-initrd")
        .arg(guest.join("initrd.gz"))
        .args(["-append", &kernel, "-virtfs"])
        .arg("local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap");
    let mut outcome = run(&mut command);
    outcome.stdout = outcome.stdout.replace('\r', "");
    let (text, rest) = outcome
        .stdout
        .rsplit_once("exit status ")
        .unwrap_or_else(|| panic!("{outcome:?}"));
    let code = rest.lines().next().and_then(|code| code.parse().ok());
    outcome.code = code.expect("the guest tells it");
    outcome.stdout = text.to_owned();
    outcome
}
