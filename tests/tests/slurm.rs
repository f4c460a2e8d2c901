//! `srun --container` on `slipway` and on runc, in a real Slurm: a tour of each must print the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tests::{Bundle, Cluster, as_tester, fixture, program, succeed, tester};

#[test]
fn srun_runs_on_slipway() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let uid = tester();
    let bundle = Bundle::new(&["true"], |spec| {
        spec["process"]["rlimits"] = serde_json::Value::Null;
        let map = serde_json::json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "network");
        namespaces.push(serde_json::json!({"type": "user"}));
        // As `spec --rootless` has it: an ordinary user can give nothing to the group tty.
        for mount in spec["mounts"].as_array_mut().unwrap() {
            if mount["type"] == "sysfs" {
                *mount = serde_json::json!({"destination": "/sys", "type": "none",
                    "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]});
            }
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
    });
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut copy = Command::new("cp");
    succeed(
        copy.arg("-a")
            .arg(fixture("bb"))
            .arg(bundle.path().join("rootfs")),
    );
    let tour = |runtime: &Path, name: &str| {
        let directory = home.path().join(name);
        fs::create_dir(&directory).unwrap();
        let conf = fs::read_to_string(Cluster::integration("oci.conf")).unwrap();
        let state = home.path().join(format!("{name}-%u"));
        let conf = conf
            .replace("=\"slipway", &format!("=\"{}", runtime.display()))
            .replace("/tmp/slipway-%u", &state.display().to_string());
        fs::write(directory.join("oci.conf"), conf).unwrap();
        let cluster = Cluster::start(directory);
        let mut tour = as_tester(Cluster::integration("tour.sh"));
        tour.arg(bundle.path()).env("SLURM_CONF", cluster.conf());
        succeed(&mut tour)
    };
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let ours = tour(&program("slipway"), "slipway");
    let theirs = tour(Path::new("/usr/sbin/runc"), "runc");
    let plain = |text: &str| -> Vec<String> {
        // Words of the two that Slurm passes on; times and job numbers.
        let kept = text.lines().filter(|line| !line.starts_with("time="));
        kept.map(str::to_owned).collect()
    };
    assert!(ours.contains("$ ends\n1\n0\n"), "{ours}");
    assert_eq!(plain(&ours), plain(&theirs));
}
