use clap::CommandFactory;

use super::*;

#[test]
fn the_table_of_flags_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn takes_what_podman_and_containerd_give() {
    let lines = [
        "slipway --log-format=json --log /x create --bundle /b --pid-file /p --no-pivot id",
        "slipway --root /r --log /l --log-format json --systemd-cgroup start id",
        "slipway kill id 9",
        "slipway kill --all id SIGKILL",
        "slipway delete --force id",
        "slipway run --detach -b /b --no-new-keyring --preserve-fds 2 id",
        "slipway list -f json",
        "slipway features",
        "slipway --log /l exec --process /p --console-socket /c --detach --pid-file /f id",
        "slipway exec -t -e A=B -u 1:2 -g 3,4 -c CAP_KILL id sh -c ls",
        "slipway ps --format json id",
        "slipway ps id -o pid,cmd",
        "slipway update --resources - id",
        "slipway update --memory 1g --memory-swap -1 --pids-limit -1 id",
        "slipway events --stats id",
    ];
    for line in lines {
        assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
    assert!(Cli::try_parse_from(["slipway", "frobnicate"]).is_err());
}

#[test]
fn help_has_the_form_of_runcs() {
    for (words, beginning) in [
        (
            ["/usr/bin/runc", "-h"].as_slice(),
            "NAME:\n   runc - Open Container Initiative runtime",
        ),
        (
            &["slipway", "run", "-h"],
            "NAME:\n   slipway run - Create and start a container\n\nUSAGE:\n   slipway run ",
        ),
    ] {
        let help = Cli::of(words.iter().map(OsString::from))
            .unwrap_err()
            .to_string();
        assert!(help.starts_with(beginning), "{help}");
    }
}
