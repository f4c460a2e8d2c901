#!/usr/bin/env bash
# tour.sh BUNDLE: what Slurm's users do with a bundle, in the cluster of SLURM_CONF. Slurm 22.05 wants the image in
# BUNDLE/rootfs, and takes one task a node.
. "$(dirname "$0")/../lib.sh"
bundle=$1
try() { step timeout 60 srun --container="$bundle" "$@"; }
try -n 1 /bin/sh -c 'id; cat /etc/os-release'
try -n 1 /bin/sh -c 'cat /proc/self/uid_map' | tr -s ' '
try -n 1 /bin/sh -c 'ls -d /sys/fs/cgroup /dev/shm'
try -n 1 /bin/sh -c 'exit 7'
try -n 1 /nosuch
try -N 2 -n 2 /bin/sh -c 'echo on a node'
step sh -c "echo from outside | timeout 60 srun -n 1 --container='$bundle' cat"
step timeout 60 salloc -Q -N 1 srun --container="$bundle" /bin/echo in a job
# Cancelled, and nothing runs on. A first process that does not mind SIGTERM is for proctrack/cgroup to end.
ends() {
  timeout 60 srun -n 1 --job-name end --container="$bundle" \
    sh -c 'trap "kill $!; exit" TERM; sleep 12345 & wait' >/dev/null 2>&1 &
  sleep 2
  pgrep -c -f '^sleep 12345'
  scancel --name end
  wait
  sleep 1
  pgrep -c -f '^sleep 12345'
}
step ends
