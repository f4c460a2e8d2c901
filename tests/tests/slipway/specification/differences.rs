//! Known differences from runc and crun, each with its reason.

/// The parts of a line that tells the difference, and the reason.
pub const DIFFERENCES: &[(&[&str], &str)] = &[
    (
        &["sees: mount /sys/fs/cgroup / ro,nosuid,nodev,noexec,relatime  cgroup2 none rw"],
        "The host's mount is bound, as by crun, since a new one takes up to 20 ms; so it has the host's name.",
    ),
    (
        &[
            "does not see: mount /sys/fs/cgroup / ro,nosuid,nodev,noexec,relatime  cgroup2 cgroup rw",
        ],
        "runc's counterpart of the line above.",
    ),
    (
        &[
            "does not see: mount /sys/fs/cgroup / ro,nosuid,nodev,noexec,relatime,nosymfollow  cgroup2",
        ],
        "crun's counterpart, with one flag more.",
    ),
    (
        &["sees: mount /sys / ro,nosuid,nodev,noexec,relatime  sysfs sysfs rw"],
        "The mount is read-only, as by crun; runc's file system is, too.",
    ),
    (
        &["does not see: mount /sys / ro,nosuid,nodev,noexec,relatime  sysfs sysfs ro"],
        "runc's counterpart of the line above.",
    ),
    (
        &[
            "sees: mount /sys/fs/cgroup",
            " / ro,nosuid,nodev,noexec,relatime  ",
        ],
        "A bind of the host's `/sys` for a user namespace with the host's network, which runc refuses, has the \
         flags of the mount on all mounts below; crun's has `ro` alone.",
    ),
    (
        &["does not see: mount /sys", " / ro,relatime  "],
        "crun's counterpart of the line above.",
    ),
    (
        &["sees: mount ", " rw,nosuid,noexec,relatime  devtmpfs "],
        "In a user namespace, the container's `/dev/null` is the host's, bound with `nosuid,noexec` as by crun, and \
         so is what it covers; runc binds without flags, crun covers with `ro`.",
    ),
    (
        &["sees: mount ", " ro,nosuid,noexec,relatime  devtmpfs "],
        "Where the user namespace has the host's root, its root could change the mode of the host's `/dev/null`: it \
         is bound `ro`, which devices can be written to on.",
    ),
    (
        &[
            "does not see: mount /dev/",
            " rw,nosuid,noexec,relatime  devtmpfs ",
        ],
        "crun's counterpart of the line above.",
    ),
    (
        &[
            "does not see: mount /proc/",
            " /null ro,",
            "relatime  devtmpfs ",
        ],
        "crun's counterpart of the line above.",
    ),
    (
        &["does not see: mount ", "/state/.empty-directory "],
        "crun covers directories with one of its own on the host.",
    ),
    (
        &["/dev/core"],
        "In a user namespace, crun makes a link to `/proc/kcore`, which cannot be read there; runc makes none.",
    ),
    (
        &["status SigIgn:"],
        "Signals that the caller ignores stay ignored, as by crun; Go's runtime takes some of them back.",
    ),
    (
        &["descriptor 0 "],
        "Standard input is the caller's, as by crun; `runc run` copies it through a pipe.",
    ),
    (
        &["sees: stream fifo 600 0 65534"],
        "The owner of the caller's pipe is changed and its group is kept; runc has a pipe of its own, crun changes \
         none in a user namespace.",
    ),
    (
        &[
            "sees: mount /mnt / rw,relatime ",
            ": tmpfs tmpfs rw,mode=755",
        ],
        "As the line below, where all mounts are shared.",
    ),
    (
        &["sees: mount /mnt / rw,relatime  tmpfs tmpfs rw,mode=755"],
        "Without a source, a mount is named after its type, as by crun.",
    ),
    (
        &["does not see: mount /mnt / rw,relatime  tmpfs rw,mode=755"],
        "runc's counterpart, without a name.",
    ),
    (
        &["refuses: ", "linux.personality.flags is not supported"],
        "The specification defines no flags. What is not carried out is not ignored.",
    ),
    (
        &["refuses: ", "is not a version 1 of the specification"],
        "Another major version may mean another thing.",
    ),
    (
        &["refuses: ", "need a mount namespace"],
        "Mounts in the host's own mount namespace would stay when the container has gone.",
    ),
    (
        &[
            "refuses: ",
            "resources: pids needs the cgroup controller pids",
        ],
        "A limit of 0 is a limit (specification 1.3, runc 1.4), and needs its controller; older runtimes ignore it.",
    ),
    (
        &[
            "does not refuse: runc: ",
            "error mounting \\\"sysfs\\\" to rootfs",
        ],
        "sysfs in a user namespace with the host's network is bound, as by crun, which failed at another request.",
    ),
    (
        &[
            "does not refuse: runc: ",
            "rootfs/opt\\\" to rootfs at \\\"/mnt\\\"",
        ],
        "A source that an earlier mount of the same container brings is found, as by runc; which one fails depends \
         on the kernel's version.",
    ),
    (
        &[
            "sees: mount /sys/fs/cgroup/unified ",
            "ro,nosuid,nodev,noexec,relatime  cgroup2 cgroup2 rw",
        ],
        "On a hybrid host the hierarchy of version 2 is shown, too; runc leaves it out.",
    ),
    (
        &[
            "does not see: mount /sys/fs/cgroup / rw,nosuid,nodev,noexec,relatime  tmpfs tmpfs rw,mode=755",
        ],
        "The directory of the old hierarchies is read-only where the mount is; runc's is not.",
    ),
    (
        &["file devices/devices.list "],
        "On a hybrid host, devices are filtered by a program on the cgroup of version 2, not by the old controller.",
    ),
    (
        &["memory policy "],
        "Policies of memory came with specification 1.3; runc has them from 1.4 on, crun does.",
    ),
    (
        &["status Cap", "000001fffeffffff"],
        "Without a list there are no capabilities, as by crun; runc keeps all that the host has.",
    ),
    (
        &["sees: status Cap", ":\t0000000000000000"],
        "The counterpart of the line above.",
    ),
    (
        &["process timerslack_ns "],
        "Nothing but a capability shows it, see above.",
    ),
    (
        &["mounts ", "/mnt/in"],
        "Of two mounts, one on the other, crun moves the first after the second.",
    ),
    (
        &["does not see: mount ", " rw,relatime  devtmpfs "],
        "runc's devices of a user namespace, see above.",
    ),
    (
        &["node /dev/mqueue directory 1777 0 "],
        "In a user namespace, the directory is its root's; by runc, its group is not.",
    ),
    (
        &["does not see: stream fifo 600 0 0"],
        "runc's pipe, see above.",
    ),
    (
        &[
            "does not see: mount /sys/fs/cgroup/",
            " ro,relatime  cgroup cgroup rw,",
        ],
        "A cgroup mount always has `nosuid,nodev,noexec`, as by crun.",
    ),
    (
        &["refuses: ", "move the network device"],
        "Network devices came with specification 1.3; runc has them from 1.4 on.",
    ),
    (
        &["refuses: ", "has no source"],
        "A bind without a source is refused, as by crun.",
    ),
    (
        &["refuses: ", "leads out of the hierarchy"],
        "A cgroup's path with `..` is refused, as by crun; runc removes the `..`.",
    ),
    (
        &["sees: mount /mnt / ro,relatime  tmpfs x rw,mode=755"],
        "A read-only tmpfs is made read-only at the end. runc does it by name, and meets another mount that covers it.",
    ),
    (
        &["does not see: mount /mnt / rw,relatime  tmpfs x rw,mode=755"],
        "runc's counterpart of the line above.",
    ),
    (
        &["sees: mount /mnt / rw,nosuid,relatime  sysfs sysfs rw"],
        "The mount that covers it stays as it was.",
    ),
    (
        &["does not see: mount /mnt / ro,relatime  sysfs sysfs rw"],
        "runc's counterpart of the line above.",
    ),
    (
        &["sees: mount ", "  tmpfs tmpfs ro,size=4k,nr_inodes=1"],
        "Directories are covered as by runc.",
    ),
    (
        &[
            "sees: mount /proc/",
            " /null rw,nosuid  tmpfs tmpfs rw,size=65536k,mode=755",
        ],
        "A file is covered with the container's `/dev/null`, as by runc; by crun with the host's.",
    ),
    (
        &["refuses: ", "can't fork"],
        "A limit of 0 processes is a limit, see above.",
    ),
    (
        &["does not refuse: runc: ", "invalid argument"],
        "Without the propagation of all mounts, `runbindable` leaves them to be masked; runc and crun fail.",
    ),
    (
        &[
            "does not see: mount /sys/fs/cgroup/systemd / ",
            "cgroup systemd rw,name=systemd",
        ],
        "The mount of systemd's hierarchy is named as all others.",
    ),
    (
        &["sees: mount /mnt /usr/share rw,relatime shared: ext4"],
        "A mount that is asked to be shared is, as by runc; by crun it is not.",
    ),
    (
        &["sees: mount /mnt /usr/share rw,relatime,nosymfollow"],
        "Links of the mount are not followed, as by runc; crun does not know the word.",
    ),
    (
        &["does not see: mount /mnt /usr/share rw,relatime  ext4"],
        "crun's counterpart of the two lines above.",
    ),
    (
        &["see: mounts /mnt / "],
        "crun binds below the root before the root itself is mounted, for a user namespace with the host's network.",
    ),
    (
        &["sees: mounts / /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /sys/fs/cgroup /mnt"],
        "The counterpart of the line above.",
    ),
    (
        &["does not see: mount /sys/fs/cgroup / rw,relatime  tmpfs"],
        "crun covers what it cannot mount there with an empty directory.",
    ),
    (
        &[
            "sees: mount /sys/fs/cgroup / ro,nosuid,nodev,noexec,relatime",
            "cgroup2 cgroup2 rw",
        ],
        "The mount of the host's hierarchy, with its name, as above.",
    ),
    (
        &["sees: mounts / /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /sys/kernel/security"],
        "A bind of the host's `/sys` brings what is mounted there, in the host's order.",
    ),
];
