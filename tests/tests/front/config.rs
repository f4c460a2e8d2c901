//! The configuration of a site and of a user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tests::{Outcome, TESTER, fixture, front, run};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        for above in path.ancestors().take_while(|above| *above != self.0.path()) {
            tests::open_to_all(above);
        }
        path.display().to_string()
    }

    fn front(&self, site: &str, args: &[&str]) -> Outcome {
        let site = self.write("site.toml", site);
        let command: &mut Command = &mut front(args);
        run(command
            .env("FRONT_CONFIG", site)
            .env("XDG_CONFIG_HOME", self.0.path().join("own")))
    }
}

#[test]
fn a_site_binds_isolates_and_restricts() {
    let place = Place::new();
    let bb = fixture("bb.sif").display().to_string();
    let fixtures = Path::new(&bb).parent().unwrap().display().to_string();
    let exec = |site: &str, words: &[&str]| place.front(site, &[&["exec"], words].concat());
    let bound = place.write("data/file", "of the site\n");
    let data = Path::new(&bound).parent().unwrap().display().to_string();
    let binds = format!("bind = [\"{data}:/site:ro\", \"/nosuch:/other\"]\n");
    let seen = exec(&binds, &[&bb, "cat", "/site/file"]);
    assert_eq!(
        (seen.stdout.as_str(), seen.stderr.as_str()),
        ("of the site\n", "")
    );
    let seen = exec("isolation = \"contain\"\n", &[&bb, "ls", "-A", "/tmp"]);
    assert_eq!((seen.stdout.as_str(), seen.code), ("", 0), "{seen:?}");
    let home = format!("/home/{TESTER}");
    let seen = exec(
        "no_mount = [\"home\", \"cwd\"]\n",
        &["--pwd", "/", &bb, "ls", &home],
    );
    assert_ne!(seen.code, 0, "{seen:?}");
    for (site, words, why) in [
        (
            "user_binds = false\n",
            vec!["-B", "/usr:/x", &bb, "true"],
            "does not allow them",
        ),
        (
            "image_paths = [\"/sw\"]\n",
            vec![&bb, "true"],
            "only images in /sw",
        ),
        // The beginning of a directory's name is not its name.
        (
            &format!("image_paths = [\"{fixtures}/b\"]\n"),
            vec![&bb, "true"],
            "only images in",
        ),
        (
            "image_owners = [\"nobody\"]\n",
            vec![&bb, "true"],
            "only images of nobody",
        ),
    ] {
        let seen = exec(site, &words);
        assert_eq!(seen.code, 255, "{seen:?}");
        assert!(seen.stderr.contains(why), "{seen:?}");
        assert_eq!(seen.stderr.lines().count(), 1, "{seen:?}");
    }
    let allowed = format!("image_paths = [\"{fixtures}\"]\nimage_owners = [\"root\"]\n");
    assert_eq!(exec(&allowed, &[&bb, "true"]).code, 0);
}

#[test]
fn what_is_wrong_is_said() {
    let place = Place::new();
    let bb = fixture("bb.sif").display().to_string();
    let newer = place.front("newer = 1\n", &["exec", &bb, "true"]);
    assert_eq!(newer.code, 0, "{newer:?}");
    assert!(newer.stderr.contains("newer: unknown setting"), "{newer:?}");
    let checked = place.front("newer = 1\n", &["config", "check"]);
    assert!(checked.stdout.contains("site.toml: read\n"), "{checked:?}");
    assert!(
        checked.stdout.contains("newer: unknown setting"),
        "{checked:?}"
    );
    for args in [
        vec!["config", "check"],
        vec!["exec", &bb, "true"],
        vec!["doctor", &bb, "true"],
    ] {
        let broken = place.front("library = \"x\"\nbind = 3\n", &args);
        assert_eq!(broken.code, 255, "{broken:?}");
        assert!(broken.stderr.contains("site.toml: line 2: "), "{broken:?}");
    }
    place.write("own/slipway/front.toml", "always_nv = \"yes\"\n");
    let broken = place.front("", &["exec", &bb, "true"]);
    assert!(
        broken.stderr.contains("own/slipway/front.toml: line 1: "),
        "{broken:?}"
    );
}
