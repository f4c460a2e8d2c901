//! Fast networks: the libraries that an image lacks for the host's network are injected.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{Card, Launcher, Outcome, fixture, home, in_guest, program, run, succeed, tester};

/// Makes a copy of an image without some of its files.
fn without(home: &Path, name: &str, missing: &[&str]) -> PathBuf {
    let image = home.join(format!("{name}-without"));
    succeed(Command::new("cp").arg("-al").arg(fixture(name)).arg(&image));
    for path in missing {
        succeed(Command::new("rm").arg("-r").arg(image.join(path)));
    }
    image
}

/// Returns the part of an output that follows a title.
fn part<'a>(output: &'a str, title: &str) -> &'a str {
    let (_, rest) = output
        .split_once(&format!("== {title}\n"))
        .unwrap_or_else(|| panic!("no {title} in {output}"));
    rest.split("\n== ").next().unwrap_or(rest)
}

/// Reaches the guest's card in every way. Words in braces stand for paths that only the test knows,
/// and for its user.
const SCRIPT: &str = r#"
export HOME=/tmp/home; mkdir -m 777 $HOME; cd $HOME; ulimit -l unlimited
PATH={bin}:$PATH
as_user() { timeout 60 setpriv --reuid {uid} --regid {uid} --clear-groups "$@"; }
job() { as_user mpiexec.hydra -np "$@"; }
tools=$(echo /usr/bin/ibv_{devinfo,rc_pingpong} | sed 's/\([^ ]*\) */,\1/g; s/,//')
echo '== no rank'
as_user front exec -B $tools {bare} ibv_devinfo -l
echo '== bare'
job 2 front exec --mpi=container -B $tools {bare} ibv_devinfo -l
echo '== undriven'
job 1 front -d exec --mpi=container -B $tools {undriven} ibv_devinfo -l 2>&1 | grep -v ' libc[og]'
echo '== own'
job 1 front -d exec --mpi=container -B $tools {own} ibv_devinfo -l 2>&1 | grep -v ' libc[og]'
talk='if [ "$PMI_RANK" = 0 ]; then exec ibv_rc_pingpong -g 1 -n 20; fi
  for try in 1 2 3 4 5 6 7 8; do sleep 1; ibv_rc_pingpong -g 1 -n 20 127.0.0.1 && exit; done'
for flags in '' --containall --cleanenv; do
  echo "== ranks talk $flags"
  job 2 front exec $flags --mpi=container -B $tools {bare} sh -c "$talk"
done
echo '== doctor'
job 2 front doctor --mpi=container {bare} hello
echo '== file'
front cdi generate --class fabric --hook {bin}/slipway-hook | tee /tmp/fabric.yaml
echo '== by name'
as_user front exec --contain --cdi-dirs /tmp --device slipway/fabric=rxe0 -B $tools {bare} ibv_devinfo -l
mkdir /tmp/upper; mount -t tmpfs none /tmp/upper
# writable IMAGE DIRECTORY: have it there, and writable
writable() {
  local upper=/tmp/upper/${2//[^a-z]/}
  mkdir -p "$2" $upper/{files,work}
  mount -t overlay -o "lowerdir=$1,upperdir=$upper/files,workdir=$upper/work" none "$2"
}
# enter ROOT COMMAND...: have it be all that there is, and not by chroot, in which nobody makes user namespaces
enter() {
  unshare --mount --propagation private bash -euc 'mount --bind "$1" "$1"
    for each in proc sys dev tmp var/tmp; do mount --rbind "/$each" "$1/$each"; done
    cd "$1"; shift; pivot_root . .; umount -l .; cd /; exec "$@"' enter "$@"
}
rank="setpriv --reuid {uid} --regid {uid} --clear-groups env PMI_RANK=0 PMI_SIZE=1 MPI_LOCALNRANKS=1 {bin}/front"
exec_it="-d exec -B /usr/bin/ibv_devinfo"
echo '== newer host'
enter {verbs} $rank $exec_it {undriven} ibv_devinfo -l 2>&1 | grep -v ' libc[og]'
echo '== newer image'
writable {verbs} /tmp/newer && rm /tmp/newer/usr/lib/x86_64-linux-gnu/libibverbs/librxe-*
$rank -d exec /tmp/newer ibv_devinfo -l 2>&1 | grep -v ' libc[og]'
echo '== podman'
writable /etc /etc && mkdir -p /etc/cdi && cp /tmp/fabric.yaml /etc/cdi/
writable {bare} /tmp/podman && cp /usr/bin/ibv_devinfo /tmp/podman/usr/bin/
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
printf '[storage]\ndriver = "vfs"\ngraphroot = "/tmp/graph"\nrunroot = "/run/graph"\n' >/tmp/storage.conf
export CONTAINERS_STORAGE_CONF=/tmp/storage.conf
for runtime in {bin}/slipway /usr/sbin/runc; do
  podman --cgroup-manager cgroupfs --events-backend file --runtime $runtime run --rm --log-driver none --network host \
    --device slipway/fabric=rxe0 --rootfs /tmp/podman ibv_devinfo -l
done
echo '== hooks'
for runtime in slipway runc crun; do
  bundle=/tmp/bundles/$runtime
  writable {mpich} $bundle/rootfs
  cp /usr/bin/ibv_devinfo $bundle/rootfs/usr/bin/
  (cd $bundle && {bin}/slipway spec && python3 - <<'EOF'
import json
spec = json.load(open("config.json"))
spec["process"]["args"] = ["sh", "-c", "ibv_devinfo -l; ldd /usr/bin/hello"]
spec["process"]["terminal"] = False
spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] not in ("network", "cgroup")]
spec["mounts"] = [one for one in spec["mounts"] if one["type"] != "cgroup"]
for one in spec["mounts"]:
    if one["type"] == "sysfs":
        one.update(type="bind", source="/sys", options=["rbind", "ro"])
spec["annotations"] = {"com.hooks.fabric.enabled": "true", "com.hooks.mpi.enabled": "true"}
spec["hooks"] = {"createRuntime": [{"path": "{bin}/slipway-hook", "args": ["slipway-hook", name]} for name in ("mpi", "fabric")]}
json.dump(spec, open("config.json", "w"))
EOF
  ) && $runtime --root /tmp/$runtime run -b $bundle $runtime
done
"#;

#[test]
fn a_card_is_reached_from_images_that_lack_its_libraries() {
    let home = home();
    // One image whose MPI knows verbs and that has no libibverbs, one without the card's provider,
    // and one with everything.
    let (bare, own) = (fixture("rpath"), fixture("ompi"));
    let libraries = "usr/lib/x86_64-linux-gnu/libibverbs";
    let provider = format!("{libraries}/librxe-rdmav34.so");
    let undriven = without(
        home.path(),
        "ompi",
        &[&provider, "etc/libibverbs.d/rxe.driver"],
    );
    let mpich = without(
        home.path(),
        "mpich",
        &["usr/lib/x86_64-linux-gnu/libibverbs.so.1"],
    );
    let bin = program("front").parent().unwrap().display().to_string();
    let uid = tester().to_string();
    let images = [
        ("{bare}", bare),
        ("{undriven}", undriven),
        ("{own}", own),
        ("{mpich}", mpich),
        ("{verbs}", fixture("verbs")),
    ];
    let mut script = SCRIPT.replace("{bin}", &bin).replace("{uid}", &uid);
    for (word, image) in images {
        script = script.replace(word, &image.display().to_string());
    }
    let outcome = in_guest(home.path(), &script);
    let output = outcome.stdout;
    println!("{output}");
    let has = |title: &str, what: &str, times: usize| {
        let part = part(&output, title);
        assert_eq!(part.matches(what).count(), times, "{title}: {output}");
    };
    has("no rank", "libibverbs.so.1: cannot open", 1);
    has("bare", "rxe0", 2);
    has("undriven", "\trxe0", 1);
    has("undriven", "names=[\"librxe-rdmav34.so\"]", 1);
    has("own", "\trxe0", 1);
    has("own", "names=[]", 1);
    for title in [
        "ranks talk ",
        "ranks talk --containall",
        "ranks talk --cleanenv",
    ] {
        has(title, "20 iters in", 2);
    }
    has(
        "doctor",
        "works  network        InfiniBand or RoCE, through the image's libfabric and the image's UCX; injected for it: libibverbs.so.1",
        1,
    );
    has("file", "name: rxe0", 1);
    has("file", "path: /dev/infiniband/uverbs0", 2);
    has("by name", "\trxe0", 1);
    // The host's provider does not fit the image's libibverbs, so the host's libibverbs replaces
    // it.
    has("newer host", "\trxe0", 1);
    has(
        "newer host",
        r#"names=["libibverbs.so.1", "libefa.so.1", "#,
        1,
    );
    has("newer image", "0 HCAs found", 1);
    has("newer image", "names=[]", 1);
    has("newer host", "Warning", 0);
    has("podman", "\trxe0", 2);
    has("hooks", "\trxe0", 3);
    has("hooks", "Warning", 0);
    has("hooks", "libmpich.so.12 => /.singularity.d/libs/", 3);
}

#[test]
fn what_does_not_know_a_network_is_replaced_or_told_of() {
    let home = home();
    let below = "opt/mpich/lib/mpich";
    let missing = [format!("{below}/libfabric"), format!("{below}/ucx")];
    let ignorant = without(
        home.path(),
        "rpath",
        &missing.each_ref().map(String::as_str),
    );
    let module = fixture("mpi").join("mpich/lib/mpich");
    let launchers = Launcher::of_mpis(2);
    let run_by = |mode: &str, image: &Path, library_path: &Path| {
        let front = program("front").display().to_string();
        let image = image.display().to_string();
        let words = [&front, "-d", "exec", mode, &image, "hello"];
        let mut command = launchers[2].command(&words);
        run(command.env("LD_LIBRARY_PATH", library_path))
    };
    let hello = |image: &Path, path: &Path| run_by("--mpi=container", image, path);
    let told = |outcome: &Outcome, line: &str| {
        assert_eq!(
            outcome.stdout.matches(" of 2, sum 1").count(),
            2,
            "{outcome:?}"
        );
        assert_eq!(
            outcome.stderr.matches(line).count(),
            1,
            "{line}: {outcome:?}"
        );
    };
    let omni_path = Card::new("/dev/hfi1_77");
    told(
        &hello(&ignorant, &module),
        r#"names=["libfabric.so.1", "libpsm2.so.2", "libnuma.so.1"]"#,
    );
    told(
        &hello(&ignorant, Path::new("")),
        "WARNING: the image's MPICH does not reach this host's Omni-Path: the image's libfabric does not support \
         this network, and the host's is older: it lacks FABRIC_1.7; the image's UCX does not support this network, and \
         neither does the host's\n",
    );
    // An image that has all of it keeps its own.
    let whole = hello(&fixture("rpath"), &module);
    told(&whole, r#"names=["libpsm2.so.2", "libnuma.so.1"]"#);
    // A supporting device, with its library.
    let gdrcopy = Card::new("/dev/gdrdrv");
    let library = home.path().join("libgdrapi.so.2");
    let mut compiler = Command::new("cc");
    compiler.args([
        "-shared",
        "-x",
        "c",
        "/dev/null",
        "-Wl,-soname,libgdrapi.so.2",
        "-o",
    ]);
    succeed(compiler.arg(&library));
    let both = format!("{}:{}", module.display(), home.path().display());
    told(
        &hello(&fixture("rpath"), Path::new(&both)),
        r#"names=["libpsm2.so.2", "libnuma.so.1", "libgdrapi.so.2"]"#,
    );
    drop(gdrcopy);
    // The host's own MPICH does not reach this network, and replaces nothing.
    let kept = run_by("--mpi=auto", &fixture("rpath"), &module);
    told(&kept, r#"names=["libpsm2.so.2", "libnuma.so.1"]"#);
    assert_eq!(
        kept.stdout.matches("MPICH Version:      4.3.2").count(),
        2,
        "{kept:?}"
    );
    drop(omni_path);
    let _slingshot = Card::new("/dev/cxi78");
    told(
        &hello(&fixture("mpich"), Path::new("")),
        "does not reach this host's Slingshot: the image's UCX does not support this network",
    );
}
