//! `srun --container` on `slipway`. In Debian 12's Slurm, a tour must print the same as on runc. In
//! a newer Slurm, jobs of several ranks run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tests::{Bundle, Cluster, as_tester, fixture, home, program, run, succeed, tester};

#[test]
fn srun_runs_on_slipway() {
    let home = home();
    let uid = tester();
    let bundle = Bundle::new(&["true"], |spec| {
        spec["process"]["rlimits"] = serde_json::Value::Null;
        let map = serde_json::json!([{"containerID": 0, "hostID": uid, "size": 1}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|one| one["type"] != "network");
        namespaces.push(serde_json::json!({"type": "user"}));
        // As in `spec --rootless`: an ordinary user can give nothing to the group tty.
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
    let tour = |runtime: &Path, name: &str| {
        let directory = home.path().join(name);
        fs::create_dir(&directory).unwrap();
        let conf = fs::read_to_string(Cluster::integration("oci.conf")).unwrap();
        let state = home.path().join(format!("{name}-%u"));
        let conf = conf
            .replace("=\"slipway", &format!("=\"{}", runtime.display()))
            .replace("/tmp/slipway-%u", &state.display().to_string());
        // runc refuses a number of descriptors if some of them do not exist.
        let conf = match name {
            "runc" => conf.replace(" --preserve-fds=64", ""),
            _ => conf,
        };
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
        // Drops the runtimes' messages that Slurm passes on, which contain times and job numbers,
        // and those about a job that waits until the job before has been cleaned up.
        let dropped = ["time=", "srun: job "];
        let kept = text
            .lines()
            .filter(|line| !dropped.iter().any(|one| line.starts_with(one)));
        // Which node is free first is chance.
        kept.map(|line| line.replace("error: n2: ", "error: n1: "))
            .collect()
    };
    assert!(ours.contains("$ ends\n1\n0\n"), "{ours}");
    assert_eq!(plain(&ours), plain(&theirs));
}

#[test]
fn ranks_in_containers_of_their_own_are_one_job() {
    let cluster = Cluster::newer(|directory| {
        let conf = fs::read_to_string(Cluster::integration("oci.conf")).unwrap();
        let slipway = format!("=\"{}", program("slipway").display());
        let conf = conf
            .replace("=\"slipway", &slipway)
            .replace("#ContainerPath", "ContainerPath");
        fs::write(directory.join("oci.conf"), conf).unwrap();
        let script = directory.join("bundle.sh");
        fs::copy(Cluster::integration("bundle.sh"), script).unwrap();
    });
    let script = cluster.directory().join("bundle.sh");
    let jobs = [
        ("pmi2", "mpich", "MPICH Version:      4.2"),
        ("pmi2", "rpath", "MPICH Version:      4.3"),
        ("pmix", "ompi", "Open MPI v5.0"),
    ];
    for (wireup, name, library) in jobs {
        let bundle = cluster.directory().with_file_name(name);
        succeed(
            cluster
                .inside()
                .arg(&script)
                .arg(fixture(name))
                .arg(&bundle),
        );
        for (nodes, ranks) in [("1", "2"), ("1", "3"), ("2", "4")] {
            let mut srun = cluster.inside();
            srun.args([
                "env",
                "OMPI_MCA_btl_tcp_if_include=lo",
                "UCX_POSIX_USE_PROC_LINK=n",
            ])
            .args(["srun", "-N", nodes, "-n", ranks])
            .arg(format!("--mpi={wireup}"))
            .arg(format!("--container={}", bundle.display()));
            let outcome = run(srun.arg("hello"));
            let size: u32 = ranks.parse().unwrap();
            let sum: u32 = (0..size).sum();
            for rank in 0..size {
                let line = format!("rank {rank} of {size}, sum {sum}: {library}");
                assert_eq!(
                    outcome.stdout.matches(&line).count(),
                    1,
                    "{name}, {ranks} on {nodes}, {line}: {outcome:?}"
                );
            }
            // The nodes of the job before may be busy for another moment.
            let waits = |line: &&str| line.starts_with("srun: job ");
            let told: Vec<&str> = { outcome.stderr.lines() }
                .filter(|line| !waits(line))
                .collect();
            assert_eq!((outcome.code, told), (0, vec![]), "{name}");
        }
    }
}
