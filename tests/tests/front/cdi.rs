//! CDI files: those of `front cdi generate` in podman and in `front`, and those of others in
//! `front`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{
    Outcome, TestDirectory, fixture, front, front_in, keep_below, nvidia_driver, program,
    rocm_driver, run, small_glibc, succeed, tester,
};

const RUNC: &str = "/usr/sbin/runc";
const HOST: &str = "nvidia-550";

/// Returns podman with the CDI files of a directory as the host's.
fn podman(home: &Path, cdi: &Path, args: &[&str]) -> Command {
    // podman looks only in /etc/cdi, which is the test's own here.
    let mut command = Command::new("unshare");
    let script = "mkdir -p /etc/cdi && mount --bind \"$0\" /etc/cdi && exec podman \"$@\"";
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(cdi);
    keep_below(&mut command, home).args(args);
    command
}

fn generate(driver: &str, output: &Path, flags: &[&str]) {
    let mut generate = Command::new(program("front"));
    generate.args(["-q", "cdi", "generate", "--driver-root", driver, "--output"]);
    succeed(generate.arg(output).args(flags));
}

#[test]
fn podman_takes_what_is_generated() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = |name: &str| home.path().join(name).display().to_string();
    let driver = nvidia_driver().display().to_string();
    let hook = program("slipway-hook").display().to_string();
    let tar = file("image.tar");
    succeed(
        Command::new("tar")
            .arg("-C")
            .arg(small_glibc(home.path()))
            .args(["-cf", &tar, "."]),
    );
    for (kind, flags) in [
        ("hook", vec!["--hook", &hook]),
        ("mounts", vec!["--no-hook"]),
    ] {
        let cdi = home.path().join(kind);
        fs::create_dir(&cdi).unwrap();
        let output = cdi.join("nvidia.yaml");
        generate(&driver, &output, &flags);
        assert_eq!(
            fs::metadata(&output).unwrap().permissions().mode() & 0o777,
            0o644
        );
        let mut list = front(["cdi", "list", "--cdi-dirs"]);
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let names = succeed(list.arg(&cdi));
        assert_eq!(
            names,
            "nvidia.com/gpu=0\nnvidia.com/gpu=1\nnvidia.com/gpu=all\n"
        );
        let podman = |args: &[&str]| podman(home.path(), &cdi, args);
        if run(&mut podman(&["image", "exists", "image"])).code != 0 {
            succeed(&mut podman(&["import", "-q", &tar, "image"]));
        }
        let slipway = program("slipway").display().to_string();
        for runtime in [RUNC, &slipway] {
            let container = |device: &str| {
                let words = [
                    "--runtime",
                    runtime,
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "--device",
                    device,
                ];
                run(&mut podman(
                    &[
                        &words[..],
                        &[
                            "image",
                            "sh",
                            "-c",
                            "ls /dev; nvidia-smi; ls /.singularity.d/libs",
                        ],
                    ]
                    .concat(),
                ))
            };
            let one = container("nvidia.com/gpu=1");
            let what = format!("{kind} {runtime}: {one:?}");
            assert!(
                one.stdout
                    .contains("couldn't communicate with the NVIDIA driver"),
                "{what}"
            );
            assert!(
                one.stdout.contains("nvidia1\n") && !one.stdout.contains("nvidia0\n"),
                "{what}"
            );
            assert!(one.stdout.contains("libcuda.so.1\n"), "{what}");
            let all = container("nvidia.com/gpu=all");
            assert!(all.stdout.contains("nvidia0\nnvidia1\n"), "{all:?}");
            assert_ne!(container("nvidia.com/gpu=7").code, 0);
        }
    }
}

#[test]
fn podman_takes_what_is_generated_for_amd() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let (driver, image) = rocm_driver(home.path());
    let hook = program("slipway-hook").display().to_string();
    for (kind, flags) in [
        ("hook", vec!["--hook", &hook]),
        ("mounts", vec!["--no-hook"]),
    ] {
        let cdi = home.path().join(kind);
        fs::create_dir(&cdi).unwrap();
        generate(driver.to_str().unwrap(), &cdi.join("amd.json"), &flags);
        for runtime in [PathBuf::from(RUNC), program("slipway")] {
            let container = |device: &str| {
                let words = [
                    "--runtime",
                    runtime.to_str().unwrap(),
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "--device",
                    device,
                ];
                let script = [
                    "--rootfs",
                    image.to_str().unwrap(),
                    "sh",
                    "-c",
                    "ls /dev/kfd /dev/dri; rocminfo",
                ];
                run(&mut podman(
                    home.path(),
                    &cdi,
                    &[&words[..], &script].concat(),
                ))
            };
            for device in ["amd.com/gpu=0", "amd.com/gpu=all"] {
                let seen = container(device);
                let what = format!("{kind} {} {device}: {seen:?}", runtime.display());
                assert!(
                    seen.stdout
                        .starts_with("/dev/kfd\n\n/dev/dri:\ncard1\nrenderD128\n"),
                    "{what}"
                );
                assert!(seen.stdout.contains("ROCk module is NOT loaded"), "{what}");
            }
            assert_ne!(container("amd.com/gpu=1").code, 0);
        }
    }
}

/// Runs `front` in a Debian root that has the driver's packages.
fn front_there(args: &[&str]) -> Outcome {
    front_in(env!("CARGO_BIN_EXE_enter"), HOST, args)
}

#[test]
fn front_takes_what_is_generated() {
    for (index, flags) in [&["--hook", "/opt/slipway-hook"][..], &["--no-hook"][..]]
        .iter()
        .enumerate()
    {
        let file = format!("/tmp/cdi{index}/nvidia.json");
        let directory = Path::new(&file).parent().unwrap().display().to_string();
        let there = fixture(HOST).join(directory.trim_start_matches('/'));
        fs::create_dir_all(&there).unwrap();
        std::os::unix::fs::chown(&there, Some(tester()), None).unwrap();
        let generated =
            front_there(&[&["-q", "cdi", "generate", "--output", &file], *flags].concat());
        assert_eq!(
            (generated.code, generated.stderr.as_str()),
            (0, ""),
            "{generated:?}"
        );
        let words = [
            "exec",
            "--cdi-dirs",
            &directory,
            "--device",
            "nvidia.com/gpu=all",
            "/images/old",
            "nvidia-smi",
        ];
        let smi = front_there(&words);
        assert!(
            smi.stdout
                .contains("couldn't communicate with the NVIDIA driver"),
            "{smi:?}"
        );
    }
}

/// A file as NVIDIA's own toolkit writes it.
const NVIDIA: &str = r#"
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=void]
  deviceNodes:
  - path: /dev/nvidiactl
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, create-symlinks, --link, "libcuda.so.1::/usr/lib/x86_64-linux-gnu/libcuda.so"]
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, update-ldcache, --folder, /usr/lib/x86_64-linux-gnu]
  mounts:
"#;

#[test]
fn front_takes_nvidias_own() {
    let directory = fixture(HOST).join("tmp/cdi-nvidia");
    fs::create_dir_all(&directory).unwrap();
    let version =
        fs::read_dir(fixture(HOST).join("usr/lib/x86_64-linux-gnu/nvidia/current")).unwrap();
    let names = version.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let version = names
        .filter_map(|name| name.strip_prefix("libcuda.so.").map(str::to_owned))
        .find(|rest| rest.len() > 2);
    let version = version.unwrap();
    let mut text = NVIDIA.to_owned();
    for library in ["libcuda.so", "libnvidia-ml.so"] {
        let (from, to) = (
            "/usr/lib/x86_64-linux-gnu/nvidia/current",
            "/usr/lib/x86_64-linux-gnu",
        );
        text += &format!(
            "  - hostPath: {from}/{library}.{version}\n    containerPath: {to}/{library}.{version}\n    options: [ro, nosuid, nodev, bind]\n"
        );
    }
    text += "  - hostPath: /usr/lib/nvidia/current/nvidia-smi\n    containerPath: /usr/bin/nvidia-smi\n    options: [ro]\n";
    fs::write(directory.join("nvidia.yaml"), text).unwrap();
    let words = [
        "exec",
        "--cdi-dirs",
        "/tmp/cdi-nvidia",
        "--device",
        "nvidia.com/gpu=0",
        "/images/old",
    ];
    let smi = front_there(&[&words[..], &["nvidia-smi"]].concat());
    assert!(
        smi.stdout
            .contains("couldn't communicate with the NVIDIA driver"),
        "{smi:?}"
    );
    assert_eq!(smi.stderr, "", "{smi:?}");
    let script = "echo $NVIDIA_VISIBLE_DEVICES; /sbin/ldconfig -p | grep -cE 'libcuda.so(.1)? '";
    let seen = front_there(&[&words[..], &["sh", "-c", script]].concat());
    assert_eq!(seen.stdout, "void\n2\n", "{seen:?}");
}

/// Returns a file as a person writes it, of a device whose hook leaves a mark.
fn thing(hosts: &str, mark: &str) -> String {
    format!(
        "{{\"cdiVersion\": \"0.6.0\", \"kind\": \"example.com/thing\", \"devices\": [{{\"name\": \"a\", \"containerEdits\": {{\
         \"env\": [\"THING=a\", \"USERS=file\"], \
         \"deviceNodes\": [{{\"path\": \"/dev/thing\", \"hostPath\": \"/dev/zero\"}}], \
         \"mounts\": [{{\"hostPath\": \"{hosts}\", \"containerPath\": \"/opt/thing/hosts\", \"options\": [\"ro\", \"bind\"]}}], \
         \"hooks\": [{{\"hookName\": \"createRuntime\", \"path\": \"/bin/sh\", \
         \"args\": [\"sh\", \"-c\", \"cat > {mark}\"]}}, \
         {{\"hookName\": \"poststart\", \"path\": \"/bin/true\"}}]}}}}]}}"
    )
}

/// Devices that do not exist, and what is said of them.
const REFUSED: [(&str, &str); 2] = [
    (
        "example.com/thing=b",
        "there is no device example.com/thing=b: there are example.com/thing=a",
    ),
    (
        "thing",
        "thing is no name of a device: VENDOR/CLASS=NAME is",
    ),
];

#[test]
fn front_takes_what_people_write() {
    let place = TestDirectory::new();
    let cdi = place.file("cdi");
    fs::create_dir(&cdi).unwrap();
    let (hosts, mark) = (place.file("hosts"), place.file("mark"));
    fs::write(&hosts, "of the host\n").unwrap();
    fs::write(Path::new(&cdi).join("thing.json"), thing(&hosts, &mark)).unwrap();
    for file in ["cdi", "cdi/thing.json", "hosts"] {
        std::os::unix::fs::chown(place.file(file), Some(tester()), Some(tester())).unwrap();
    }
    let image = fixture("bb").display().to_string();
    let script = "echo $THING $USERS; cat /opt/thing/hosts; head -c 4 /dev/thing | od -An -tx1; \
        touch /opt/thing/hosts 2>&1";
    let words = [
        "exec",
        "--cdi-dirs",
        &cdi,
        "--device",
        "example.com/thing=a",
        "--env",
        "USERS=mine",
        &image,
    ];
    let outcome = run(&mut place.front(&[&words[..], &["sh", "-c", script]].concat()));
    let expected = "a mine\nof the host\n 00 00 00 00\n\
        touch: /opt/thing/hosts: Read-only file system\n";
    assert_eq!(outcome.stdout, expected, "{outcome:?}");
    assert!(
        outcome.stderr.contains(
            "WARNING: --device: the hook /bin/true is not run: the stage poststart is not supported"
        ),
        "{outcome:?}"
    );
    // The hook has received the state.
    let state: serde_json::Value = serde_json::from_slice(&fs::read(&mark).unwrap()).unwrap();
    assert!(
        state["bundle"].is_string() && state["pid"].is_number(),
        "{state}"
    );
    for (device, words) in REFUSED {
        let refused = run(&mut place.front(&[
            "exec",
            "--cdi-dirs",
            &cdi,
            "--device",
            device,
            &image,
            "true",
        ]));
        assert_eq!(
            (refused.code, refused.stderr.lines().count()),
            (255, 1),
            "{refused:?}"
        );
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    fs::write(Path::new(&cdi).join("broken.yaml"), "kind: [").unwrap();
    let warned = run(&mut place.front(&[
        "exec",
        "--cdi-dirs",
        &cdi,
        "--device",
        "example.com/thing=a",
        &image,
        "true",
    ]));
    assert!(
        warned.code == 0 && warned.stderr.contains("broken.yaml"),
        "{warned:?}"
    );
}
