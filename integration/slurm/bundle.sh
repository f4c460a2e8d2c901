#!/usr/bin/env bash
# bundle.sh IMAGE BUNDLE: makes a bundle for the ranks of an MPI job, for whoever runs this; IMAGE is a root file system, and is
# used where it is. Ranks of a node see each other's processes and shared memory, PMIx's files in /run/slurm-containers, and have the user's own
# number, which PMIx compares; home is there.
set -euo pipefail
image=$(cd "$1" && pwd) bundle=$2 uid=$(id -u) gid=$(id -g)
mkdir -p "$bundle"
bind() { printf '{"destination": "%s", "type": "none", "source": "%s", "options": ["rbind", "nosuid"]}' "$1" "$1"; }
tmpfs() { printf '{"destination": "%s", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=%s"]}' "$1" "$2"; }
# An ordinary user cannot make a directory in another's image.
home=
if [ -d "$image$HOME" ]; then
  home=,$(bind "$HOME")
elif [ -d "$image${HOME%/*}" ]; then
  home=,$(tmpfs "${HOME%/*}" 755),$(bind "$HOME")
fi
cat >"$bundle/config.json" <<EOF
{
  "ociVersion": "1.0.2",
  "process": {
    "user": {"uid": $uid, "gid": $gid},
    "args": ["sh"],
    "cwd": "/",
    "noNewPrivileges": true
  },
  "root": {"path": "$image", "readonly": true},
  "mounts": [
    $(bind /proc), $(bind /sys), $(tmpfs /dev 755), $(bind /dev/shm), $(bind /tmp), $(tmpfs /run 755), $(bind /run/slurm-containers),
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]}$home
  ],
  "linux": {
    "uidMappings": [{"containerID": $uid, "hostID": $uid, "size": 1}],
    "gidMappings": [{"containerID": $gid, "hostID": $gid, "size": 1}],
    "namespaces": [{"type": "user"}, {"type": "mount"}]
  }
}
EOF
