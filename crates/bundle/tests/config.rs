//! `config.json` of typical requests, as snapshots: a reviewer sees each change of a container.
//!
//! `cargo insta review` changes the snapshots.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

use bundle::{
    Account, Bind, Content, Device, Directories, Group, HostFacts, Paths, Process, Request,
    Writable, build,
};
use inject::{Edits, Mount};
use rootfs::Directory;
use serde_json::Value;

fn account() -> Account {
    Account {
        uid: 1000,
        gid: 100,
        name: "ada".to_owned(),
        gecos: String::new(),
        home: "/home/ada".into(),
        shell: "/bin/sh".to_owned(),
        groups: vec![Group {
            name: "users".to_owned(),
            gid: 100,
        }],
    }
}

fn host() -> HostFacts {
    let device = |path: &str, minor| Device {
        path: path.into(),
        block: false,
        major: 1,
        minor,
        mode: 0o666,
    };
    HostFacts {
        devices: vec![device("/dev/null", 3), device("/dev/zero", 5)],
        device_directories: vec!["/dev/infiniband".into()],
        terminal: None,
        cwd: Some("/work/run".into()),
        resolv_conf: Some(b"nameserver 192.0.2.1\n".to_vec()),
        present: HostFacts::FILES.map(|(path, _)| path.into()).into(),
    }
}

/// The usual directories of a container, which may have its own.
fn directories(contained: bool) -> Directories {
    let content = |path: &str| match contained {
        true => Content::Empty,
        false => Content::Host(path.into()),
    };
    Directories {
        home: content("/home/ada"),
        tmp: content("/tmp"),
        var_tmp: content("/var/tmp"),
        ..Default::default()
    }
}

/// An image with the directories that all images have, and a few links.
fn image() -> (tempfile::TempDir, Directory) {
    let home = tempfile::tempdir().unwrap();
    for directory in [
        "bin", "dev", "etc", "home", "proc", "run", "sys", "tmp", "var/tmp",
    ] {
        std::fs::create_dir_all(home.path().join(directory)).unwrap();
    }
    for file in ["hosts", "passwd", "group", "localtime"] {
        std::fs::write(home.path().join("etc").join(file), "").unwrap();
    }
    std::os::unix::fs::symlink("/run/resolv.conf", home.path().join("etc/resolv.conf")).unwrap();
    let root = Directory::open_root(home.path()).unwrap();
    (home, root)
}

/// Runs a request, and returns the document with one line per mount, and the rest of the bundle.
fn snapshot(binds: &[Bind], edits: &Edits, contained: bool) -> String {
    let (_home, root) = image();
    let (account, host) = (account(), host());
    let process = Process {
        args: vec!["python".into(), "train.py".into()],
        env: vec![("PATH".into(), "/usr/bin".into())],
        cwd: "/work/run".into(),
        capabilities: BTreeSet::new(),
        no_new_privileges: true,
    };
    let paths = Paths {
        root: "/session/root".into(),
        files: "/session/files".into(),
        cgroup: "/front/1".into(),
    };
    let request = Request {
        root: &root,
        account: &account,
        process: &process,
        is_root_inside: false,
        binds,
        images: &[],
        directories: &directories(contained),
        edits,
        contained,
        own_processes: contained,
        own_ipc: contained,
        own_network: false,
        own_uts: false,
        hostname: None,
        writable: Writable::No,
        host: &host,
        paths: &paths,
    };
    let bundle = build(&request).unwrap();
    let mut document = serde_json::to_value(&bundle.spec).unwrap();
    let mounts = document["mounts"].take();
    let mut text = String::new();
    for mount in mounts.as_array().into_iter().flatten() {
        text += &line(mount);
    }
    document.as_object_mut().unwrap().remove("mounts");
    for (name, value) in document.as_object().unwrap() {
        text += &format!("{name}: {value}\n");
    }
    for file in &bundle.files {
        text += &format!(
            "{}: {:?}\n",
            file.name,
            String::from_utf8_lossy(&file.content)
        );
    }
    for point in &bundle.mount_points {
        text += &format!("mount point: {}\n", point.path.display());
    }
    for warning in &bundle.warnings {
        text += &format!("warning: {warning}\n");
    }
    text
}

fn line(mount: &Value) -> String {
    let text = |name: &str| mount[name].as_str().unwrap_or("-").to_owned();
    let options = mount["options"].as_array().into_iter().flatten();
    let options: Vec<&str> = options.filter_map(Value::as_str).collect();
    format!(
        "{} {} {} {}\n",
        text("destination"),
        text("type"),
        text("source"),
        options.join(",")
    )
}

#[test]
fn a_plain_container() {
    insta::assert_snapshot!(snapshot(&[], &Edits::default(), false), @r##"
    /proc bind /proc rbind,nosuid
    /sys bind /sys rbind,nosuid,nodev
    /dev tmpfs tmpfs nosuid,mode=755,size=65536k
    /tmp bind /tmp rbind,nosuid,nodev
    /dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620
    /dev/infiniband bind /dev/infiniband rbind,nosuid
    /var/tmp bind /var/tmp rbind,nosuid,nodev
    /home/ada bind /home/ada rbind,nosuid,nodev
    /etc/hosts bind /etc/hosts rbind,nosuid,nodev,dest-nofollow
    /etc/localtime bind /etc/localtime rbind,nosuid,nodev,dest-nofollow
    /etc/passwd bind /session/files/passwd rbind,nosuid,nodev,dest-nofollow
    /etc/group bind /session/files/group rbind,nosuid,nodev,dest-nofollow
    /etc/resolv.conf bind /session/files/resolv.conf rbind,nosuid,nodev,dest-nofollow
    /work/run bind /work/run rbind,nosuid,nodev
    annotations: {}
    linux: {"cgroupsPath":"/front/1","devices":[{"fileMode":438,"major":1,"minor":3,"path":"/dev/null","type":"c"},{"fileMode":438,"major":1,"minor":5,"path":"/dev/zero","type":"c"}],"namespaces":[{"type":"mount"}]}
    ociVersion: "1.2.0"
    process: {"args":["python","train.py"],"capabilities":{"ambient":[],"bounding":[],"effective":[],"inheritable":[],"permitted":[]},"cwd":"/work/run","env":["PATH=/usr/bin"],"noNewPrivileges":true,"terminal":false,"user":{"gid":100,"uid":1000}}
    root: {"path":"/session/root","readonly":true}
    passwd: "ada:x:1000:100::/home/ada:/bin/sh\n"
    group: "users:x:100:ada\n"
    resolv.conf: "nameserver 192.0.2.1\n"
    mount point: /home/ada
    mount point: /work/run
    "##);
}

#[test]
fn a_contained_container_with_binds_and_a_gpu() {
    let binds = [
        Bind {
            image: None,
            source: "/data".into(),
            destination: Some("/mnt/data".into()),
            read_only: true,
        },
        Bind {
            image: None,
            source: "/scratch".into(),
            destination: None,
            read_only: false,
        },
    ];
    let edits = Edits {
        device_nodes: vec!["/dev/nvidia0".into()],
        mounts: vec![Mount::new(
            "/usr/lib/libcuda.so.1".into(),
            Path::new("/.singularity.d/libs/libcuda.so.1").into(),
        )],
        library_cache: Some(b"cache".to_vec()),
        env: vec![("CUDA_VISIBLE_DEVICES".into(), "0".into())],
        hooks: Vec::new(),
    };
    let text = snapshot(&binds, &edits, true);
    insta::assert_snapshot!(text, @r##"
    /proc proc proc nosuid,nodev,noexec
    /sys bind /sys rbind,nosuid,nodev,rro
    /dev tmpfs tmpfs nosuid,mode=755,size=65536k
    /tmp tmpfs tmpfs nosuid,nodev,mode=1777
    /scratch bind /scratch rbind,nosuid,nodev
    /dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620
    /dev/shm tmpfs tmpfs nosuid,nodev,mode=1777
    /dev/nvidia0 bind /dev/nvidia0 rbind,nosuid
    /var/tmp tmpfs tmpfs nosuid,nodev,mode=1777
    /home/ada tmpfs tmpfs nosuid,nodev,mode=755
    /etc/hosts bind /etc/hosts rbind,nosuid,nodev,dest-nofollow
    /etc/localtime bind /etc/localtime rbind,nosuid,nodev,dest-nofollow
    /etc/passwd bind /session/files/passwd rbind,nosuid,nodev,dest-nofollow
    /etc/group bind /session/files/group rbind,nosuid,nodev,dest-nofollow
    /etc/resolv.conf bind /session/files/resolv.conf rbind,nosuid,nodev,dest-nofollow
    /etc/ld.so.cache bind /session/files/ld.so.cache rbind,nosuid,nodev,dest-nofollow
    /mnt/data bind /data rbind,nosuid,nodev,ro
    /.singularity.d/libs/libcuda.so.1 bind /usr/lib/libcuda.so.1 rbind,nosuid,nodev
    annotations: {}
    linux: {"cgroupsPath":"/front/1","devices":[],"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"ipc"}]}
    ociVersion: "1.2.0"
    process: {"args":["python","train.py"],"capabilities":{"ambient":[],"bounding":[],"effective":[],"inheritable":[],"permitted":[]},"cwd":"/work/run","env":["PATH=/usr/bin"],"noNewPrivileges":true,"terminal":false,"user":{"gid":100,"uid":1000}}
    root: {"path":"/session/root","readonly":true}
    passwd: "ada:x:1000:100::/home/ada:/bin/sh\n"
    group: "users:x:100:ada\n"
    resolv.conf: "nameserver 192.0.2.1\n"
    ld.so.cache: "cache"
    mount point: /scratch
    mount point: /home/ada
    mount point: /etc/ld.so.cache
    mount point: /mnt/data
    mount point: /.singularity.d/libs/libcuda.so.1
    "##);
}
