//! The decision for each library of the driver, by image.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use tests::{fixture, run, succeed};

use super::{HOSTS, front, there};

fn driver(host: &str) -> String {
    let library = there(
        host,
        &[
            "/usr/bin/readlink",
            "-f",
            "/lib/x86_64-linux-gnu/libcuda.so.1",
        ],
    );
    library
        .stdout
        .trim()
        .rsplit_once(".so.")
        .unwrap()
        .1
        .to_owned()
}

/// A changed image on a host, made from another by links.
struct Variant {
    root: PathBuf,
    name: String,
}

impl Variant {
    fn new(host: &str, of: &str, name: &str) -> Self {
        let root = fixture(host).join("images").join(name);
        let _ = fs::remove_dir_all(&root);
        succeed(Command::new("cp").arg("-al").arg(fixture(of)).arg(&root));
        Self {
            root,
            name: format!("/images/{name}"),
        }
    }

    /// Copies a file of the host into the image.
    fn put(&self, host: &str, from: &str, to: &str) {
        let to = self.root.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&to);
        fs::copy(fixture(host).join(from), to).unwrap();
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Returns the decision of `front gpu explain` about one library, and the reason.
fn explained(text: &str, library: &str) -> (String, String) {
    let line = text
        .lines()
        .find(|line| line.split("    ").any(|cell| cell.trim() == library));
    let line = line.unwrap_or_else(|| panic!("{library}: {text}"));
    let mut cells = line
        .split("   ")
        .map(str::trim)
        .filter(|cell| !cell.is_empty());
    let decision = cells.next().unwrap().to_owned();
    (decision, cells.skip(1).collect::<Vec<_>>().join(" "))
}

#[test]
fn the_images_own_dispatchers_win_and_none_is_mixed_in() {
    for host in HOSTS {
        let text = front(host, &["gpu", "explain", "/images/new"]).stdout;
        for library in [
            "libGL.so.1",
            "libEGL.so.1",
            "libGLdispatch.so.0",
            "libGLX.so.0",
            "libOpenCL.so.1",
        ] {
            let (decision, why) = explained(&text, library);
            assert_eq!(decision, "own", "{host} {library}: {why}");
            assert!(
                why.starts_with("the image's /usr/lib/x86_64-linux-gnu/"),
                "{host} {library}: {why}"
            );
        }
        let list = front(
            host,
            &["exec", "--nv", "/images/new", "ls", "/.singularity.d/libs"],
        )
        .stdout;
        assert!(
            !list.contains("libGL.so") && list.contains("libGLX_nvidia.so.0"),
            "{host}: {list}"
        );
    }
}

#[test]
fn who_cannot_use_the_driver_is_told_so() {
    for (image, what, command) in [
        ("/images/bb", "none", vec!["echo", "hello"]),
        ("/images/musl", "musl", vec!["/bin/hello"]),
    ] {
        let outcome = front(
            HOSTS[0],
            &[&["exec", "--nv", image], command.as_slice()].concat(),
        );
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, "hello\n"),
            "{outcome:?}"
        );
        let said = format!(
            "WARNING: --nv: no libraries are injected: the driver needs the GNU C library, but the image \
             has {what}\n"
        );
        assert_eq!(outcome.stderr, said);
    }
    let image = fixture("bb").display().to_string();
    let outcome = run(&mut tests::front(["exec", "--nv", &image, "true"]));
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{outcome:?}"
    );
    let none = succeed(&mut tests::front(["gpu"]));
    assert_eq!(none, "no NVIDIA driver, no AMD driver\n");
}

/// Returns the output of `front gpu explain`, which has no complaint.
fn text(host: &str, image: &str) -> String {
    let outcome = front(host, &["gpu", "explain", image]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{host} {image}: {outcome:?}"
    );
    outcome.stdout
}

/// Checks that a library is injected, and returns the reason.
fn injected(text: &str, library: &str) -> String {
    let (decision, why) = explained(text, library);
    assert_eq!(decision, "injected", "{library}: {why}");
    why
}

fn left(text: &str, library: &str, reason: &str) {
    assert_eq!(
        explained(text, library),
        ("left out".to_owned(), reason.to_owned())
    );
}

#[test]
fn answers_are_right_on_ten_images() {
    let [older, newer] = HOSTS;
    let new_driver = driver(newer);
    an_older_glibc_limits_what_loads(older, newer, &new_driver);
    newer_images_load_more(older, newer);
    without_glibc_nothing_loads(older);
    a_newer_driver_in_the_image_is_used(older, newer, &new_driver);
    an_equal_driver_in_the_image_is_not_used(newer, &new_driver);
    a_library_built_into_the_image_is_replaced(older, newer, &new_driver);
    a_cache_that_leads_elsewhere_is_not_followed(older);
}

fn an_older_glibc_limits_what_loads(older: &str, newer: &str, new_driver: &str) {
    let old_driver = driver(older);
    // 1. An old glibc under an old driver: all of Debian 12's libraries need at most 2.34, but
    // Debian 11 has 2.31.
    let one = text(older, "/images/old");
    assert!(
        one.starts_with(&format!(
            "/images/old: glibc 2.31; NVIDIA driver {old_driver}\n"
        )),
        "{one}"
    );
    injected(&one, "libcuda.so.1");
    left(
        &one,
        "libGLX_nvidia.so.0",
        "it needs libX11.so.6, which the image does not have",
    );
    // 2. The same under a host of today: the dispatchers are its own, the driver's libraries are
    // not.
    let two = text(newer, "/images/old");
    let cuda = injected(&two, "libcuda.so.1");
    assert!(
        cuda.ends_with(&format!("libcuda.so.{new_driver}")),
        "{cuda}"
    );
    left(
        &two,
        "libEGL.so.1",
        "it needs GLIBC_2.38, but the image has glibc 2.31",
    );
    left(
        &two,
        "libGL.so.1",
        "it needs libGLdispatch.so.0, which is also left out",
    );
    left(
        &two,
        "libOpenCL.so.1",
        "it needs GLIBC_2.38, but the image has glibc 2.31",
    );
}

fn newer_images_load_more(older: &str, newer: &str) {
    // 3. With a newer glibc than the host's, the image can load everything that needs no more than
    // that.
    let three = text(older, "/images/py");
    assert!(three.starts_with("/images/py: glibc 2.41; "), "{three}");
    injected(&three, "libEGL.so.1");
    injected(&three, "libGLdispatch.so.0");
    // 4. The same image as a SIF.
    let four = text(older, "/images/py.sif");
    assert_eq!(
        three.lines().skip(1).collect::<Vec<_>>(),
        four.lines().skip(1).collect::<Vec<_>>()
    );
    // 5. An image of today with GLVND and X.
    let five = text(newer, "/images/new");
    injected(&five, "libGLX_nvidia.so.0");
    assert_eq!(explained(&five, "libGLdispatch.so.0").0, "own");
}

fn without_glibc_nothing_loads(older: &str) {
    // 6, 7. No C library, and one other than glibc.
    for (image, has) in [
        ("/images/bb", "the image has none"),
        ("/images/musl", "the image has musl"),
    ] {
        let (decision, why) = explained(&text(older, image), "libcuda.so.1");
        assert!(decision == "left out" && why.ends_with(has), "{why}");
    }
}

fn a_newer_driver_in_the_image_is_used(older: &str, newer: &str, new_driver: &str) {
    // 8. Forward compatibility: the image brings a newer driver's libraries.
    let compat = Variant::new(older, "old", "compat");
    let library = format!("libcuda.so.{new_driver}");
    compat.put(
        newer,
        &format!("usr/lib/x86_64-linux-gnu/nvidia/current/{library}"),
        &format!("usr/local/cuda/compat/{library}"),
    );
    symlink(
        &library,
        compat.root.join("usr/local/cuda/compat/libcuda.so.1"),
    )
    .unwrap();
    let eight = text(older, &compat.name);
    assert_eq!(explained(&eight, "libcuda.so.1").0, "own", "{eight}");
    assert!(
        eight.contains(&format!(
            "the image's own CUDA libraries for driver {new_driver} are used\n"
        )),
        "{eight}"
    );
    let cached = front(
        older,
        &[
            "exec",
            "--nv",
            &compat.name,
            "sh",
            "-c",
            "/sbin/ldconfig -p | grep 'libcuda.so.1 '",
        ],
    );
    assert!(
        cached
            .stdout
            .contains("=> /usr/local/cuda/compat/libcuda.so.1"),
        "{cached:?}"
    );
}

fn an_equal_driver_in_the_image_is_not_used(newer: &str, new_driver: &str) {
    // 8, continued: the compatibility libraries are for older drivers only.
    let library = format!("libcuda.so.{new_driver}");
    let same = Variant::new(newer, "old", "same");
    same.put(
        newer,
        &format!("usr/lib/x86_64-linux-gnu/nvidia/current/{library}"),
        &format!("usr/local/cuda/compat/{library}"),
    );
    let eight = text(newer, &same.name);
    assert_eq!(explained(&eight, "libcuda.so.1").0, "injected", "{eight}");
    assert!(
        eight.contains("compatibility libraries are not used: the driver"),
        "{eight}"
    );
}

fn a_library_built_into_the_image_is_replaced(older: &str, newer: &str, new_driver: &str) {
    let library = format!("libcuda.so.{new_driver}");
    // 9. Somebody has built the driver's library of another version into the image.
    let baked = Variant::new(older, "old", "baked");
    let into = "usr/lib/x86_64-linux-gnu/libcuda.so.1";
    baked.put(
        newer,
        &format!("usr/lib/x86_64-linux-gnu/nvidia/current/{library}"),
        into,
    );
    let nine = injected(&text(older, &baked.name), "libcuda.so.1");
    assert!(
        nine.contains(&format!("instead of the image's /{into}")),
        "{nine}"
    );
}

fn a_cache_that_leads_elsewhere_is_not_followed(older: &str) {
    // 10. An image without a cache of its own, whose cache is a link to elsewhere.
    let bare = Variant::new(older, "old", "bare");
    fs::remove_file(bare.root.join("etc/ld.so.cache")).unwrap();
    symlink(
        "../../../../../../etc/passwd",
        bare.root.join("etc/ld.so.cache"),
    )
    .unwrap();
    injected(&text(older, &bare.name), "libcuda.so.1");
    let smi = front(older, &["exec", "--nv", &bare.name, "nvidia-smi"]);
    assert!(smi.stdout.contains("couldn't communicate"), "{smi:?}");
}
