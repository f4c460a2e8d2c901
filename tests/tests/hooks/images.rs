//! Containers without an engine get what they ask for, and hostile images get nothing of the host.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Bundle, program, rocm_driver, run, small_glibc};

use super::{CRUN, LOOK, RUNC, STAGES, asking, bundle, by_hand, hook, hook_of, unified};

#[test]
fn devices_are_allowed_where_cgroups_are_of_version_2_alone() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = small_glibc(home.path());
    for (runtime, stage) in [
        ("slipway", "prestart"),
        ("slipway", "createRuntime"),
        (RUNC, "createRuntime"),
    ] {
        let runtime = match runtime {
            "slipway" => program("slipway"),
            other => PathBuf::from(other),
        };
        let script = "nvidia-smi; cat /dev/other";
        let bundle = Bundle::new(&["sh", "-c", script], |spec| {
            asking(
                spec,
                &image,
                &["NVIDIA_VISIBLE_DEVICES=0"],
                json!({stage: [hook()]}),
            );
            spec["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
            // The other GPU, which was not requested.
            let other = json!({"path": "/dev/other", "type": "c", "major": 195, "minor": 1, "fileMode": 438});
            spec["linux"]["devices"] = json!([other]);
        });
        let mut command = Command::new(&runtime);
        command
            .args(["run", "-b"])
            .arg(bundle.path())
            .arg(bundle.id())
            .stdin(Stdio::null());
        let outcome = run(&mut unified(command));
        assert!(
            outcome
                .stdout
                .contains("couldn't communicate with the NVIDIA driver"),
            "{}: {outcome:?}",
            runtime.display()
        );
        assert!(
            outcome.stderr.contains("Operation not permitted"),
            "{outcome:?}"
        );
    }
}

#[test]
fn amds_is_the_same_under_every_runtime() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let (driver, image) = rocm_driver(home.path());
    let script =
        "awk '{print $5}' /proc/self/mountinfo | grep -E 'kfd|dri|libs|rocm' | sort; rocminfo";
    let mut all: Vec<(String, String)> = Vec::new();
    for stage in STAGES {
        for runtime in [program("slipway"), RUNC.into(), CRUN.into()] {
            let what = format!("{} {stage}", runtime.display());
            let of = |variables: &[&str]| {
                let hooks = json!({stage: [hook_of("rocm", &driver)]});
                let bundle = Bundle::new(&["sh", "-c", script], |spec| {
                    asking(spec, &image, variables, hooks.clone());
                });
                by_hand(&runtime, &bundle)
            };
            let nothing = of(&[]);
            assert!(!nothing.stdout.contains('/'), "{what}: {nothing:?}");
            let asked = of(&["AMD_VISIBLE_DEVICES=0"]);
            // The program has loaded its libraries, and asked for the driver.
            assert!(
                asked.stdout.contains("ROCk module is NOT loaded"),
                "{what}: {asked:?}"
            );
            for place in [
                "/dev/kfd",
                "/dev/dri/card1",
                "/dev/dri/renderD128",
                "/usr/bin/rocminfo",
            ] {
                assert!(
                    asked.stdout.lines().any(|line| line == place),
                    "{what}: {place}: {asked:?}"
                );
            }
            let unknown = of(&["AMD_VISIBLE_DEVICES=1"]);
            assert!(
                unknown.code != 0 && unknown.stdout.is_empty(),
                "{what}: {unknown:?}"
            );
            all.push((what, asked.stdout));
        }
    }
    let (_, first) = all.first().unwrap().clone();
    for (what, seen) in &all {
        assert_eq!(seen, &first, "{what}");
    }
}

#[test]
fn a_container_gets_what_it_asks_for() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = small_glibc(home.path());
    let look = |variables: &[&str]| {
        by_hand(
            &program("slipway"),
            &bundle(&image, variables, "createRuntime", LOOK),
        )
    };
    for nothing in ["NVIDIA_VISIBLE_DEVICES=", "NVIDIA_VISIBLE_DEVICES=void"] {
        assert!(!look(&[nothing]).stdout.contains('/'), "{nothing}");
    }
    let none = look(&["NVIDIA_VISIBLE_DEVICES=none"]).stdout;
    assert!(
        none.contains("libcuda.so.1") && !none.contains("/dev/nvidia0"),
        "{none}"
    );
    let one = look(&["NVIDIA_VISIBLE_DEVICES=1"]).stdout;
    assert!(
        one.contains("/dev/nvidia1\n") && !one.contains("/dev/nvidia0"),
        "{one}"
    );
    assert!(
        !one.contains("libnvcuvid") && one.contains("libcuda.so.1"),
        "{one}"
    );
    let all = look(&[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=all",
    ])
    .stdout;
    assert!(
        all.contains("libnvcuvid") && all.contains("libEGL_nvidia"),
        "{all}"
    );
    let utility = look(&[
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=utility",
    ])
    .stdout;
    assert!(
        utility.contains("libnvidia-ml") && !utility.contains("libcuda"),
        "{utility}"
    );
    // The last variable of a name counts, as for the program.
    let last = look(&["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_VISIBLE_DEVICES=0"]).stdout;
    assert!(
        last.contains("/dev/nvidia0\n") && !last.contains("/dev/nvidia1"),
        "{last}"
    );
    let rows = [
        (
            "NVIDIA_VISIBLE_DEVICES=7",
            "slipway-hook nvidia: no GPU 7 on this host; available: 0, 1\n",
        ),
        (
            "NVIDIA_REQUIRE_CUDA=cuda>=99.9 brand=tesla,driver>=999",
            "slipway-hook nvidia: the image asks for cuda>=99.9 brand=tesla,driver>=999 (NVIDIA_REQUIRE_CUDA), and \
             the driver of this host is 550",
        ),
    ];
    for (variable, words) in rows {
        let refused = look(&["NVIDIA_VISIBLE_DEVICES=all", variable]);
        assert!(
            refused.code != 0 && refused.stdout.is_empty(),
            "{refused:?}"
        );
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
    let disabled = [
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_REQUIRE_CUDA=cuda>=99.9",
        "NVIDIA_DISABLE_REQUIRE=1",
    ];
    assert_eq!(look(&disabled).stderr, "");
}

/// A change that makes an image hostile.
type Spoil<'a> = Box<dyn Fn(&Path) + 'a>;

/// Returns a relative path to a place outside of the image.
fn climb(path: &Path) -> PathBuf {
    let up = "../".repeat(40);
    PathBuf::from(format!("{up}{}", path.strip_prefix("/").unwrap().display()))
}

/// Returns changes that would lead a hook to a directory outside of the image, under their names.
fn spoils(outside: &Path) -> [(&'static str, Spoil<'_>); 9] {
    [
        (
            "libraries",
            Box::new(move |image| {
                fs::create_dir(image.join(".singularity.d")).unwrap();
                symlink(outside, image.join(".singularity.d/libs")).unwrap();
            }),
        ),
        (
            "the root itself",
            Box::new(move |image| {
                fs::create_dir(image.join(".singularity.d")).unwrap();
                symlink("/", image.join(".singularity.d/libs")).unwrap();
            }),
        ),
        (
            "a volume",
            Box::new(move |image| {
                fs::create_dir(image.join(".singularity.d")).unwrap();
                symlink("/vol", image.join(".singularity.d/libs")).unwrap();
            }),
        ),
        (
            "above them",
            Box::new(move |image| symlink(climb(outside), image.join(".singularity.d")).unwrap()),
        ),
        (
            "program",
            Box::new(move |image| {
                symlink(
                    climb(&outside.join("new")),
                    image.join("usr/bin/nvidia-smi"),
                )
                .unwrap()
            }),
        ),
        (
            "cache",
            Box::new(move |image| {
                let _ = fs::remove_file(image.join("etc/ld.so.cache"));
                symlink(outside.join("victim"), image.join("etc/ld.so.cache")).unwrap();
            }),
        ),
        (
            "false cache",
            Box::new(move |image| {
                let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
                bytes.extend([0xff; 28 + 24 * 50]);
                fs::write(image.join("etc/ld.so.cache"), bytes).unwrap();
            }),
        ),
        (
            "devices",
            Box::new(move |image| {
                fs::remove_dir_all(image.join("dev")).unwrap();
                symlink(outside, image.join("dev")).unwrap();
            }),
        ),
        (
            "loops",
            Box::new(move |image| {
                symlink("libs", image.join("loop")).unwrap();
                symlink("loop", image.join("libs")).unwrap();
                symlink("/loop", image.join(".singularity.d")).unwrap();
            }),
        ),
    ]
}

fn untouched(outside: &Path) {
    let names: Vec<_> = fs::read_dir(outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["victim"]);
    assert_eq!(
        fs::read_to_string(outside.join("victim")).unwrap(),
        "untouched"
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(outside.to_str().unwrap()), "{mounts}");
}

/// Makes a bundle that asks for the driver, and has the directory outside as a volume.
fn with_a_volume(image: &Path, outside: &Path) -> Bundle {
    let bundle = bundle(
        image,
        &["NVIDIA_VISIBLE_DEVICES=all"],
        "createRuntime",
        LOOK,
    );
    let config = bundle.path().join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let volume =
        json!({"destination": "/vol", "source": outside, "options": ["rbind", "rw", "rshared"]});
    spec["mounts"].as_array_mut().unwrap().push(volume);
    fs::write(&config, spec.to_string()).unwrap();
    bundle
}

#[test]
fn a_hostile_image_leads_nowhere() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let outside = home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched").unwrap();
    for runtime in [program("slipway"), PathBuf::from(RUNC)] {
        for (name, spoil) in spoils(&outside) {
            let place = tempfile::tempdir_in("/var/tmp").unwrap();
            let image = small_glibc(place.path());
            spoil(&image);
            // Debian's runc itself follows this link.
            if name == "devices" && runtime == Path::new(RUNC) {
                continue;
            }
            let bundle = with_a_volume(&image, &outside);
            let outcome = by_hand(&runtime, &bundle);
            if ["the root itself", "a volume"].contains(&name) {
                let words = "it leads to a mount, or to the root itself";
                assert!(outcome.stderr.contains(words), "{name}: {outcome:?}");
            }
            // It works or is refused; in both cases nothing is done to the host.
            assert!(
                outcome.code != 0
                    || outcome.stdout.contains("/libs/libcuda.so.1")
                    || outcome.stdout.contains("libcuda"),
                "{name}: {outcome:?}"
            );
            untouched(&outside);
        }
    }
}
