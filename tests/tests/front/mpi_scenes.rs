//! Common uses of MPI: hello on two machines, a file that all ranks write, and the speed of
//! messages.

use tests::{Cluster, Launcher, Nodes, Outcome, Wireup, fixture, program, run};

fn image(name: &str) -> String {
    fixture(name).display().to_string()
}

/// Prints the rank, the number of ranks, and the machine.
const HELLO: &str = "from mpi4py import MPI; import os; w = MPI.COMM_WORLD; \
    print(f'rank {w.rank} of {w.size} on {os.uname().nodename}, sum {w.allreduce(w.rank)}', flush=True)";

#[test]
fn a_job_of_two_machines() {
    let nodes = Nodes::start();
    let [first, second] = nodes.addresses();
    let (ssh, front) = (
        nodes.ssh().display().to_string(),
        program("front").display().to_string(),
    );
    let hosts = format!("{first}:2,{second}:2");
    let open = [
        "mpirun.openmpi",
        "-np",
        "4",
        "-host",
        &hosts,
        "--mca",
        "plm_rsh_agent",
        &ssh,
        "--mca",
        "oob_tcp_if_include",
        "10.77.3.0/24",
        "--mca",
        "btl_tcp_if_include",
        "10.77.3.0/24",
        "-x",
        "OMPI_MCA_btl_tcp_if_include",
    ];
    let hosts = format!("{first},{second}");
    let hydra = [
        "mpiexec.hydra",
        "-n",
        "4",
        "-ppn",
        "2",
        "-launcher",
        "ssh",
        "-launcher-exec",
        &ssh,
        "-hosts",
        &hosts,
    ];
    for (launcher, name) in [(&open[..], "ompi"), (&hydra[..], "mpich")] {
        let image = image(name);
        let words = [launcher, &[&front, "exec", &image, "python3", "-c", HELLO]].concat();
        let outcome = run(nodes
            .command(&words)
            .env("OMPI_MCA_btl_tcp_if_include", "10.77.3.0/24"));
        assert_eq!(outcome.code, 0, "{launcher:?}: {outcome:?}");
        for number in [1, 2] {
            let on = |line: &&str| {
                line.contains(&format!(" of 4 on node{number}-")) && line.ends_with("sum 6")
            };
            assert_eq!(
                outcome.stdout.lines().filter(on).count(),
                2,
                "{launcher:?}: {outcome:?}"
            );
        }
    }
}

/// Each rank writes its part of one file.
const WRITE: &str = "from mpi4py import MPI; import h5py, sys; w = MPI.COMM_WORLD\n\
with h5py.File(sys.argv[1], 'w', driver='mpio', comm=w) as f:\n    \
    d = f.create_dataset('x', (w.size,), dtype='i'); d[w.rank] = 10 + w.rank\n\
w.Barrier()\n\
if w.rank == 0:\n    print(h5py.File(sys.argv[1])['x'][:].tolist())\n";

#[test]
fn a_file_that_all_ranks_write() {
    let (place, cluster) = (tests::TestDirectory::new(), Cluster::own());
    let written = |outcome: &Outcome| {
        assert_eq!(
            (outcome.code, outcome.stdout.trim()),
            (0, "[10, 11, 12, 13]"),
            "{outcome:?}"
        );
    };
    let launchers = Launcher::of_mpis(4).into_iter();
    let slurm = Launcher::of_slurm(&cluster, 4).into_iter();
    // Under this Slurm's PMIx, Open MPI 5.0 does not start with more than two ranks.
    let slurm = slurm.filter(|one| one.offers == Wireup::Pmi);
    for (index, launcher) in launchers.chain(slurm).enumerate() {
        let file = place.file(&format!("x{index}.h5"));
        written(&match launcher.offers {
            Wireup::Pmix => {
                launcher.front(&["exec", &image("ompi"), "python3", "-c", WRITE, &file])
            }
            _ => launcher.front(&["exec", &image("hdf5"), "write-all", &file]),
        });
    }
    drop(cluster);
    let newer = Cluster::newer(|_| {});
    let file = newer
        .directory()
        .with_file_name("x.h5")
        .display()
        .to_string();
    let mut srun = newer.inside();
    srun.args([
        "env",
        "OMPI_MCA_btl_tcp_if_include=lo",
        "srun",
        "-N1",
        "-n4",
    ])
    .arg("--mpi=pmix")
    .arg(program("front"))
    .args(["exec", &image("ompi"), "python3", "-c", WRITE, &file]);
    written(&run(&mut srun));
}

/// The bandwidth between two ranks, in megabytes a second.
const BANDWIDTH: &str = "from mpi4py import MPI; import time; w = MPI.COMM_WORLD; b = bytearray(1 << 20)\n\
begin = time.time()\n\
for i in range(200):\n    \
    w.Send(b, 1) if w.rank == 0 else w.Recv(b, 0)\n\
w.Barrier()\n\
if w.rank == 0:\n    print(int(200 * len(b) / (time.time() - begin) / 1e6))\n";

#[test]
fn messages_flow_under_every_launcher() {
    let cluster = Cluster::own();
    let launchers = Launcher::of_mpis(2)
        .into_iter()
        .chain(Launcher::of_slurm(&cluster, 2));
    let mut rates = 0;
    for launcher in launchers {
        let name = match launcher.offers {
            Wireup::Pmi => "mpich",
            Wireup::Pmix => "ompi",
            Wireup::Nothing => continue,
        };
        let outcome: Outcome = launcher.front(&["exec", &image(name), "python3", "-c", BANDWIDTH]);
        let rate: u64 = outcome
            .stdout
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{outcome:?}"));
        // Over a network connection it would be a tenth.
        assert!(
            outcome.code == 0 && rate > 100,
            "{:?}: {rate} MB/s",
            launcher.words
        );
        rates += 1;
    }
    assert_eq!(rates, 7);
}
