//! `front doctor`: what is broken or slow is found, and named with what mends it; what is well is not
//! complained of.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{
    Cluster, Launcher, Outcome, Place, fixture, front, front_in, home, open_to_all, program, run,
    small_glibc, succeed, tester,
};

fn image(name: &str) -> String {
    fixture(name).display().to_string()
}

/// Checks that something is found, with a verdict, and that nothing fails besides.
fn finds(outcome: &Outcome, verdict: &str, topic: &str, words: &str, remedy: &str) {
    let begins = |line: &&str| {
        line.starts_with(verdict) && line[verdict.len()..].trim_start().starts_with(topic)
    };
    let line = outcome
        .stdout
        .lines()
        .filter(begins)
        .find(|line| line.contains(words));
    let line = line.unwrap_or_else(|| panic!("{verdict} {topic} {words}: {outcome:?}"));
    assert!(line.contains(remedy), "{remedy}: {outcome:?}");
    let code = if verdict == "fails" { 1 } else { 2 };
    // Launchers have codes of their own for ranks that fail.
    assert!(
        outcome.code == code || outcome.code > 0 && verdict == "fails",
        "{outcome:?}"
    );
    let worse = outcome
        .stdout
        .lines()
        .filter(|line| line.starts_with("fails"));
    let about = outcome.stdout.lines().filter(begins).count();
    assert!(worse.count() <= about, "{outcome:?}");
}

/// Checks that nothing is complained of.
fn is_well(outcome: &Outcome) {
    let lines = outcome.stdout.lines();
    assert!(
        lines.clone().count() > 2 && { lines }.all(|line| line.starts_with("works  ")),
        "{outcome:?}"
    );
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{outcome:?}"
    );
}

fn doctor(args: &[&str]) -> Outcome {
    run(&mut front([&["doctor"], args].concat()))
}

/// Runs it where root has first changed something that nobody else sees.
fn doctor_where(change: &str, args: &[&str]) -> Outcome {
    let front = program("front").display().to_string();
    where_root_did(change, &[&[front.as_str(), "doctor"], args].concat())
}

/// Runs a command likewise.
fn where_root_did(change: &str, words: &[&str]) -> Outcome {
    let id = tester().to_string();
    let mut command = Command::new("unshare");
    let script =
        format!("{change} && exec setpriv --reuid={id} --regid={id} --clear-groups \"$@\"");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ]);
    command.args(words);
    run(command.env("HOME", "/home/slipway-tester").current_dir("/"))
}

/// An image made of another, and changed.
fn changed(place: &Place, of: &str, change: impl Fn(&Path)) -> String {
    let copy = place.file("changed");
    let _ = fs::remove_dir_all(&copy);
    succeed(Command::new("cp").arg("-a").arg(fixture(of)).arg(&copy));
    change(Path::new(&copy));
    copy
}

#[test]
fn what_is_broken_in_an_image_is_found() {
    let place = Place::new();
    let nowhere = doctor(&[&image("bb"), "nosuch"]);
    finds(
        &nowhere,
        "fails",
        "program",
        "nosuch is not in the image",
        "its PATH is /usr/local/sbin",
    );
    let hello = fixture("mpich").join("usr/bin/hello").display().to_string();
    let older = doctor(&[&image("old"), &hello]);
    finds(
        &older,
        "fails",
        "libraries",
        "hello needs GLIBC_2.34 of libc.so.6",
        "build the program in an image as old as this one",
    );
    // A program of the host's may find more of the host's.
    assert!(
        older.stdout.contains(
            "slow   MPI library    the image has no MPICH, which it needs, and libmpi.so.12: "
        ),
        "{older:?}"
    );
    let new = fixture("new").join("usr/bin/cat").display().to_string();
    let old = doctor(&[&image("old"), &new]);
    finds(
        &old,
        "fails",
        "libraries",
        "of libc.so.6, which is older",
        "take a newer image",
    );
    let lacking = place.file("lacking");
    fs::create_dir(&lacking).unwrap();
    let lacking = small_glibc(Path::new(&lacking));
    fs::copy(fixture("old").join("bin/ls"), lacking.join("bin/real-ls")).unwrap();
    let dangling = lacking.display().to_string();
    let incomplete = doctor(&[&dangling, "real-ls"]);
    finds(
        &incomplete,
        "fails",
        "libraries",
        "real-ls needs libselinux.so.1, which is not there",
        "install what has",
    );
    let foreign = changed(&place, "bb", |root| {
        let busybox = root.join("bin/busybox");
        let mut bytes = fs::read(&busybox).unwrap();
        bytes[18] = 183;
        fs::write(&busybox, bytes).unwrap();
    });
    let foreign = doctor(&[&foreign, "true"]);
    finds(
        &foreign,
        "fails",
        "processor",
        "the image is for aarch64, and this machine is x86-64",
        "front pull --arch amd64",
    );
}

#[test]
fn an_old_processor_is_told() {
    let place = Place::new();
    let source = place.file("x.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let program = place.file("x");
    succeed(Command::new("cc").args(["-o", &program, &source, "-march=x86-64-v3", "-mneeded"]));
    let cpuinfo = place.file("cpuinfo");
    fs::write(
        &cpuinfo,
        "flags\t\t: fpu cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3\n",
    )
    .unwrap();
    let change = format!("mount --bind {cpuinfo} /proc/cpuinfo");
    let old = doctor_where(&change, &[&image("py"), &program]);
    finds(
        &old,
        "fails",
        "processor",
        "x needs x86-64-v3, and this machine is x86-64-v2: it would end by SIGILL",
        "choose other nodes",
    );
    is_well(&doctor(&[&image("py"), &program]));
    // A rank is not started to end so.
    let front = tests::program("front").display().to_string();
    let job = where_root_did(
        &change,
        &[
            "mpiexec.hydra",
            "-n",
            "2",
            &front,
            "exec",
            &image("py"),
            &program,
        ],
    );
    let line = format!(
        "FATAL:   {program}: it needs x86-64-v3, and this machine is x86-64-v2; front doctor says more"
    );
    assert_eq!(job.stderr.matches(&line).count(), 1, "{job:?}");
}

#[test]
fn what_is_wrong_with_the_host_is_found() {
    let mpich = image("mpich");
    let args = [mpich.as_str(), "hello"];
    let change =
        "touch /tmp/.no-fuse; chmod 600 /tmp/.no-fuse; mount --bind /tmp/.no-fuse /dev/fuse";
    let fuse = doctor_where(change, &args);
    finds(
        &fuse,
        "slow",
        "images",
        "/dev/fuse: permission denied: each SIF is extracted",
        "modprobe fuse",
    );
    let small = doctor_where("mount -t tmpfs -o size=1m none /dev/shm", &args);
    finds(
        &small,
        "slow",
        "shared memory",
        "/dev/shm has 1 MiB",
        "mount -o remount,size=50% /dev/shm",
    );
    let fabric = "mount -t tmpfs none /dev/shm && mkdir /dev/shm/d && mknod -m 666 /dev/shm/d/null c 1 3 && \
        mknod -m 666 /dev/shm/d/fuse c 10 229 && mkdir /dev/shm/d/shm && \
        mknod -m 666 /dev/shm/d/cxi0 c 1 3 && mount -t tmpfs none /dev/shm/d/shm && \
        mount --rbind /dev/shm/d /dev";
    let locked = doctor_where(&format!("{fabric} && ulimit -l 64"), &args);
    finds(
        &locked,
        "slow",
        "locked memory",
        "only 64 KiB",
        "ulimit -l unlimited",
    );
    let library = doctor_where(
        &format!("{fabric} && ulimit -l 64"),
        &[&image("ompi"), "hello"],
    );
    finds(
        &library,
        "slow",
        "network",
        "this host's Slingshot is not reached: ",
        "build the image with",
    );
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"",
        "sh",
    ]);
    let none = run(command.arg(program("front")).arg("doctor"));
    finds(
        &none,
        "fails",
        "namespaces",
        "create a user namespace: no space left on device",
        "sysctl user.max_user_namespaces=15000",
    );
}

#[test]
fn what_mpi_lacks_is_found() {
    let shared = doctor(&["--no-share", &image("mpich"), "hello"]);
    finds(
        &shared,
        "slow",
        "shared memory",
        "MPI copies long messages twice",
        "leave --no-share out",
    );
    let host = doctor(&["--mpi=host", &image("ompi"), "hello"]);
    finds(
        &host,
        "fails",
        "MPI library",
        "the host's Open MPI 4.1 is older than the image's",
        "--mpi=container",
    );
    let launchers = Launcher::of_mpis(2);
    let cluster = Cluster::own();
    let slurm = Launcher::of_slurm(&cluster, 2);
    let (pmi, pmix, nothing) = (&slurm[0], &slurm[1], &slurm[2]);
    let rows = [
        (
            &launchers[0],
            "mpich",
            "Open MPI's mpirun offers PMIx",
            "srun --mpi=pmi2",
        ),
        (
            &launchers[1],
            "rpath",
            "Open MPI's mpirun offers PMIx",
            "MPICH's mpiexec",
        ),
        (
            &launchers[2],
            "ompi",
            "Hydra (mpiexec) offers PMI:",
            "Open MPI's mpirun",
        ),
        (
            &launchers[4],
            "ompi",
            "Hydra (mpiexec) offers PMI:",
            "srun --mpi=pmix",
        ),
        (pmi, "ompi", "srun offers PMI:", "srun --mpi=pmix"),
        (pmix, "mpich", "srun offers PMIx:", "srun --mpi=pmi2"),
        (
            nothing,
            "mpich",
            "srun offers no wire-up:",
            "srun --mpi=pmi2",
        ),
    ];
    for (launcher, name, words, remedy) in rows {
        let outcome = launcher.front(&["doctor", &image(name), "hello"]);
        finds(&outcome, "fails", "wire-up", words, remedy);
    }
    for (launcher, name) in [
        (&launchers[2], "mpich"),
        (&launchers[4], "rpath"),
        (&launchers[0], "ompi"),
        (pmi, "rpath"),
        (pmix, "ompi"),
    ] {
        is_well(&launcher.front(&["doctor", &image(name), "hello"]));
    }
    let swapped = launchers[4].front(&["doctor", "--mpi=host", &image("mpich"), "hello"]);
    is_well(&swapped);
    assert!(
        swapped
            .stdout
            .contains("the host's MPICH stands in for the image's MPICH"),
        "{swapped:?}"
    );
}

#[test]
fn what_a_gpu_needs_is_found() {
    let nv = doctor(&["--nv", &image("py"), "true"]);
    finds(
        &nv,
        "fails",
        "GPU",
        "--nv: this host has no such GPU",
        "choose other nodes",
    );
    let rocm = doctor(&["--rocm", &image("py"), "true"]);
    finds(
        &rocm,
        "fails",
        "GPU",
        "--rocm: this host has no such GPU",
        "choose other nodes",
    );
    let there = |args: &[&str]| {
        front_in(
            env!("CARGO_BIN_EXE_enter"),
            "nvidia-550",
            &[&["doctor"], args].concat(),
        )
    };
    let new = there(&["--nv", "--env", "CUDA_VERSION=13.0.1", "/images/py", "true"]);
    finds(
        &new,
        "fails",
        "GPU",
        "the image is made for CUDA 13, and the driver 550",
        "an image for an older CUDA",
    );
    let forgotten = there(&["--env", "CUDA_VERSION=12.4.1", "/images/py", "true"]);
    finds(
        &forgotten,
        "fails",
        "GPU",
        "the driver is not injected",
        "--nv",
    );
    let musl = there(&["--nv", "/images/musl", "hello"]);
    finds(
        &musl,
        "fails",
        "GPU",
        "the driver's libraries need the GNU C library",
        "take an image with glibc",
    );
    is_well(&there(&[
        "--nv",
        "--env",
        "CUDA_VERSION=12.4.1",
        "/images/py",
        "true",
    ]));
}

#[test]
fn what_is_well_is_not_complained_of() {
    for words in [
        ["bb", "sh"],
        ["bb.sif", "sh"],
        ["py", "python3"],
        ["py.sif", "python3"],
        ["new", "cat"],
        ["old", "python3"],
        ["musl", "hello"],
        ["mpich", "hello"],
        ["rpath", "hello"],
        ["ompi", "hello"],
        ["ompi", "python3"],
    ] {
        is_well(&doctor(&[&image(words[0]), words[1]]));
    }
    let json = doctor(&["--json", &image("bb"), "--", "sh"]);
    let all: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["verdict"] == "works"),
        "{json:?}"
    );
}

#[test]
fn the_other_nodes_of_a_job_are_looked_at() {
    let cluster = Cluster::newer(|_| {});
    let doctor = || {
        let mut srun = cluster.inside();
        srun.args(["srun", "-N2", "-n4", "--mpi=pmix"]);
        run(srun
            .arg(program("front"))
            .args(["doctor", &image("ompi"), "hello"]))
    };
    is_well(&doctor());
    let second = fs::read_to_string(cluster.directory().join("n2.pid")).unwrap();
    let mut small = Command::new("nsenter");
    small.args(["--target", second.trim(), "--mount"]);
    succeed(small.args(["mount", "-o", "remount,size=8m", "/dev/shm"]));
    let outcome = doctor();
    let lines = outcome.stdout.lines();
    let others: Vec<&str> = lines.filter(|line| !line.starts_with("works")).collect();
    assert_eq!(others.len(), 1, "{outcome:?}");
    let line = "slow   shared memory  n2: /dev/shm has 8 MiB";
    assert!(
        others.iter().all(|own| own.starts_with(line)),
        "{outcome:?}"
    );
}

/// An image's MPICH that finds ranks by PMIx alone, under a launcher that offers PMI, beside a host's that finds them.
#[test]
fn the_doctor_expects_what_the_launch_does() {
    let home = home();
    let image = small_glibc(home.path());
    let at = |name: &str| home.path().join(name).display().to_string();
    // This machine's, for what its compiler makes.
    for file in [
        "lib/x86_64-linux-gnu/libc.so.6",
        "lib64/ld-linux-x86-64.so.2",
    ] {
        fs::copy(Path::new("/").join(file), image.join(file)).unwrap();
    }
    let library = "image/lib/x86_64-linux-gnu";
    fs::create_dir(at("host")).unwrap();
    fs::write(at("mpi.c"), "int MPI_Init(void) { return 0; }").unwrap();
    fs::write(at("pmix.c"), "int PMIx_Init(void) { return 0; }").unwrap();
    fs::write(
        at("hello.c"),
        "int MPI_Init(void); int write(int, const char *, int); int main(void) { write(1, \"started\\n\", 8); return MPI_Init(); }",
    )
    .unwrap();
    let compile = |words: &[&str]| succeed(Command::new("gcc").args(words));
    let (own, pmix) = (
        at(&format!("{library}/libmpi.so.12")),
        at(&format!("{library}/libpmix.so.2")),
    );
    let shared = ["-shared", "-fPIC", "-nostdlib"];
    compile(
        &[
            &shared[..],
            &["-Wl,-soname,libpmix.so.2", "-o", &pmix, &at("pmix.c")],
        ]
        .concat(),
    );
    let needs = [
        "-Wl,--no-as-needed,-soname,libmpi.so.12",
        "-o",
        &own,
        &at("mpi.c"),
        &pmix,
    ];
    compile(&[&shared[..], &needs].concat());
    let host = at("host/libmpi.so.12");
    compile(
        &[
            &shared[..],
            &["-Wl,-soname,libmpi.so.12", "-o", &host, &at("mpi.c")],
        ]
        .concat(),
    );
    let hello = at("image/bin/hello");
    compile(&["-o", &hello, &at("hello.c"), &own, &pmix]);
    open_to_all(home.path());
    let image = image.display().to_string();
    let under_pmi = |words: &[&str]| {
        let mut command = front(words);
        command
            .env("PMI_RANK", "0")
            .env("PMI_SIZE", "2")
            .env("PMI_FD", "0")
            .env("MPI_LOCALNRANKS", "1")
            .env("LD_LIBRARY_PATH", at("host"));
        run(&mut command)
    };
    let told = under_pmi(&["doctor", &image, "hello"]);
    assert!(told.stdout.contains("the host's MPICH"), "{told:?}");
    assert!(!told.stdout.contains("fails"), "{told:?}");
    let started = under_pmi(&["exec", &image, "hello"]);
    assert_eq!(
        (started.code, started.stdout.as_str()),
        (0, "started\n"),
        "{started:?}"
    );
}
