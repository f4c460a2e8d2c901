//! The bases of images.

use tests::{Registry, fixture, open_directory, program, run, saved, succeed, user_shell};

use super::commands;

fn build(place: &tempfile::TempDir, text: &str) {
    std::fs::write(place.path().join("x.def"), text).unwrap();
    succeed(
        user_shell(place, "$front -q build --no-https -F x.sif x.def").env("PATH", "/usr/bin:/bin"),
    );
}

#[test]
fn layers_are_a_base() {
    let (saved, registry, place) = (saved(), Registry::start(), open_directory());
    registry.push(&saved.path().join("layout"), "bb:1");
    let here = saved.path().display().to_string();
    let port = registry.port();
    let bases = [
        format!("docker\nFrom: {}", registry.image("bb:1")),
        format!("docker\nRegistry: localhost:{port}\nFrom: bb:1"),
        format!("oci\nFrom: {here}/layout"),
        format!("oci-archive\nFrom: {here}/oci.tar"),
        format!("docker-archive\nFrom: {here}/docker.tar"),
    ];
    for base in bases {
        build(
            &place,
            &format!("Bootstrap: {base}\n%post\necho \"$TOLD\" > /opt/told\n%labels\nown label\n"),
        );
        let seen = commands(
            &place,
            "$front exec x.sif cat /opt/told; $front run x.sif; $front inspect x.sif | /bin/grep -E '^(own|org.example)'; \
             $front exec x.sif ls /.singularity.d",
        );
        let expected = "a\\ \\\"b\\\"\nit's $HOME\norg.example.of: us\nown: label\n\
                        Singularity\nactions\nenv\nlabels.json\nlibs\nrunscript\nstartscript\ntest\n";
        assert_eq!(seen.stdout, expected, "{base}: {seen:?}");
    }
}

#[test]
fn a_sif_of_a_registry_is_a_base() {
    let (registry, place) = (Registry::start(), open_directory());
    let image = format!("oras://{}", registry.image("sif:1"));
    succeed(&mut user_shell(
        &place,
        &format!("$front -q push $bb {image} || $front -q push --no-https $bb {image}"),
    ));
    build(
        &place,
        &format!(
            "Bootstrap: oras\nFrom: {}\n%post\necho ok > /opt/ok\n",
            registry.image("sif:1")
        ),
    );
    assert_eq!(
        commands(&place, "$front exec x.sif cat /opt/ok").stdout,
        "ok\n"
    );
}

/// An ordinary user installs a Debian, and compiles a program in it.
#[test]
fn a_debian_is_installed() {
    let place = open_directory();
    let mut targets = std::process::Command::new("apt-get");
    let targets = succeed(targets.args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)"]));
    let mirror = targets.lines().find(|line| line.ends_with(" bookworm"));
    let mirror = mirror
        .expect("a mirror of bookworm")
        .split(' ')
        .next()
        .unwrap();
    std::fs::write(
        place.path().join("x.c"),
        "#include <stdio.h>\nint main(void) { puts(\"compiled\"); }\n",
    )
    .unwrap();
    let rest = format!("OSVersion: bookworm\nMirrorURL: {mirror}\n");
    // sudo cleans the environment.
    let compiled = "Include: gcc libc6-dev sudo\n%files\nx.c /tmp/x.c\n%post\ncc -o /usr/local/bin/x /tmp/x.c\n\
        sudo apt-get update && sudo apt-get install -y hello\nrm -rf /tmp/* /var/tmp/*\n\
        touch /tmp/left /root/marker\n%test\ntest -e /root/marker && touch /tmp/t\n%runscript\nexec x\n";
    for (agent, sections) in [
        ("debootstrap", compiled),
        ("mmdebstrap", "%runscript\necho compiled\n"),
    ] {
        let text = format!("Bootstrap: {agent}\n{rest}{sections}");
        std::fs::write(place.path().join("x.def"), text).unwrap();
        let words = "$front -q build -F x.sif x.def >log 2>&1 || /usr/bin/tail -50 log; $front run x.sif; \
            $front exec --no-mount tmp x.sif ls -A /tmp /etc/apt/apt.conf.d | /bin/grep -E 'left|front'";
        let seen = run(user_shell(&place, words).env("PATH", "/usr/bin:/bin"));
        assert_eq!(seen.stdout, "compiled\n", "{agent}: {seen:?}");
    }
}

#[test]
fn a_base_that_cannot_be_had_is_named() {
    let place = open_directory();
    let rows = [
        ("docker", "x.def:1: the keyword From is missing"),
        ("nowhere\nFrom: x", "x.def:2: invalid build source nowhere"),
        ("localimage\nFrom: none.sif", "none.sif: no such file"),
        ("busybox", "no mirrorurl specified"),
        (
            "debootstrap\nOSVersion: sid",
            "the keyword mirrorurl is missing",
        ),
        ("yum\nOSVersion: 9", "the keyword mirrorurl is missing"),
        (
            "dnf\nMirrorURL: http://x/%{OSVERSION}",
            "the keyword osversion is missing",
        ),
        ("arch", "Bootstrap: arch is not supported"),
        ("shub\nFrom: a/b", "shub://"),
    ];
    for (base, words) in rows {
        std::fs::write(place.path().join("x.def"), format!("Bootstrap: {base}\n")).unwrap();
        let seen = commands(&place, "$front build x.sif x.def; echo $?; /bin/ls");
        assert_eq!(seen.stdout, "255\nx.def\n", "{base}: {seen:?}");
        let fatal = seen
            .stderr
            .lines()
            .find(|line| line.starts_with("FATAL:"))
            .unwrap();
        assert!(fatal.contains(words), "{base}: {seen:?}");
    }
}

/// An ordinary user in a container without privileges, where there is nothing but busybox.
#[test]
fn a_build_runs_in_a_container_of_an_engine() {
    let (saved, place) = (saved(), open_directory());
    let text = "Bootstrap: localimage\nFrom: /bb.sif\n%post\necho hi > /opt/x; id -u; chown 3:4 /opt/x\n%test\ncat /opt/x\n";
    std::fs::write(place.path().join("x.def"), text).unwrap();
    let flags = ["--user=1000:1000", "--env=FRONT_CACHEDIR=/tmp"].map(str::to_owned);
    let files = [
        (program("front"), "/front"),
        (fixture("bb.sif"), "/bb.sif"),
        (place.path().join("x.def"), "/x.def"),
    ];
    let words = [
        "sh",
        "-c",
        "/front -q build /tmp/x.sif /x.def && /front -q exec /tmp/x.sif cat /opt/x",
    ];
    let mut podman = tests::in_container(saved.path(), &flags, &files, &words);
    let seen = run(&mut podman);
    assert_eq!(seen.stdout, "0\nhi\nhi\n", "{seen:?}");
}

/// The packages of a small distribution: a base of busybox, and one that needs it.
const PACKAGES: [(&str, &str); 2] = [
    (
        "smallbase",
        "%install\nmkdir -p %{buildroot}/bin %{buildroot}/etc\ncp $BUSYBOX %{buildroot}/bin/busybox\n\
         for name in sh touch chown stat cat; do ln -s busybox %{buildroot}/bin/$name; done\n\
         echo small > %{buildroot}/etc/redhat-release\n\
         %files\n%attr(-,bin,mail) /bin/*\n/etc/redhat-release\n\
         %post\ntouch /etc/scriptlet\nchown 5:6 /etc/scriptlet\n",
    ),
    (
        "extra",
        "%install\nmkdir -p %{buildroot}/opt; echo extra > %{buildroot}/opt/extra\n%files\n/opt/extra\n",
    ),
];

/// An ordinary user installs packages of Red Hat's kind, with owners and scripts, from a repository.
#[test]
fn packages_of_red_hats_kind_are_installed() {
    let place = open_directory();
    let here = place.path().display().to_string();
    for (name, text) in PACKAGES {
        let head = format!(
            "Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: none\nAutoReqProv: no\n\
             Provides: {name}-x /bin/sh coreutils aaa_base\n%description\nx\n"
        );
        let head = match name {
            "extra" => head.replace(
                "Provides: extra-x /bin/sh coreutils aaa_base",
                "Requires: smallbase",
            ),
            _ => head,
        };
        std::fs::write(place.path().join(format!("{name}.spec")), head + text).unwrap();
        let mut build = std::process::Command::new("rpmbuild");
        build.args(["-bb", "--quiet"]);
        for define in [
            format!("_topdir {here}/top"),
            format!("_rpmdir {here}/repo"),
            "debug_package %{nil}".to_owned(),
            "__os_install_post %{nil}".to_owned(),
        ] {
            build.arg("--define").arg(define);
        }
        build.env("BUSYBOX", fixture("bb").join("bin/busybox"));
        succeed(build.arg(place.path().join(format!("{name}.spec"))));
    }
    succeed(
        std::process::Command::new("createrepo_c")
            .arg("-q")
            .arg(place.path().join("repo")),
    );
    for agent in ["dnf", "yum", "zypper"] {
        let text = format!(
            "Bootstrap: {agent}\nMirrorURL: file://{here}/%{{OSVERSION}}\nOSVersion: repo\nInclude: extra\n%post\ncat /opt/extra\n"
        );
        std::fs::write(place.path().join("x.def"), text).unwrap();
        let words = "$front -q build -F x.sif x.def >log 2>&1 || /usr/bin/tail -40 log; $front exec x.sif cat /opt/extra; \
                     $front exec x.sif cat /etc/redhat-release; $front exec x.sif stat -c %n /etc/scriptlet /var/lib/rpm";
        let seen = run(user_shell(&place, words).env("PATH", "/usr/bin:/bin"));
        assert_eq!(
            seen.stdout, "extra\nsmall\n/etc/scriptlet\n/var/lib/rpm\n",
            "{agent}: {seen:?}"
        );
        let _ = commands(&place, "/bin/rm -f x.sif");
    }
}
