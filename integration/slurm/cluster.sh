#!/usr/bin/env bash
# cluster.sh start DIRECTORY NODES [ROOT]: a Slurm of several nodes on this machine, on loopback addresses; what is in
# DIRECTORY/extra.conf is added to its configuration. SLURM_CONF is DIRECTORY/slurm.conf then. With ROOT it is the Slurm of
# that root file system, which is all that it sees besides this machine's /proc, /sys, /dev, /tmp and /var/tmp, and each node
# has a name, /tmp and /dev/shm of its own.
# cluster.sh run DIRECTORY COMMAND...: run a command there, where ROOT is all that there is.
# cluster.sh stop DIRECTORY
set -euo pipefail
verb=$1 dir=$2
stop() {
  local file root entry
  root=$(cat "$dir/root" 2>/dev/null || true)
  for file in "$dir"/*.pid; do [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true; done
  [ -n "$root" ] || return 0
  # A step outlives slurmd.
  for entry in /proc/[0-9]*; do
    ! grep -Eq " $root(//deleted)? / " "$entry/mountinfo" 2>/dev/null || kill -9 "${entry##*/}" 2>/dev/null || true
  done
}
inside() { nsenter --target "$(cat "$dir/holder.pid")" --mount -- env -C / "SLURM_CONF=$dir/slurm.conf" "$@"; }
# Not by chroot, in which nobody may make a user namespace.
enter() {
  unshare --mount --propagation private bash -euc 'root=$1
    mount --bind "$root" "$root"
    for each in proc sys dev tmp var/tmp; do mount --rbind "/$each" "$root/$each"; done
    cd "$root"
    mkdir -p .old
    pivot_root . .old
    umount -l /.old
    exec sleep infinity </dev/null >/dev/null 2>&1' sh "$1" &
  echo $! >"$dir/holder.pid"
  for _ in $(seq 100); do
    [ "$(cat "/proc/$!/comm")" != sleep ] || return 0
    sleep 0.1
  done
  echo "$1 cannot be entered" >&2
  return 1
}
node() {
  if [ -z "${alone:-}" ]; then
    slurmd -f "$SLURM_CONF" -N "$1" -L "$dir/$1.log"
  else
    unshare --uts --mount sh -euc 'hostname "$1"
      for each in /tmp /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs "$each"; done
      mount -t tmpfs tmpfs /var/spool
      mkdir -p /var/spool/slurmd /run/slurm-containers
      mount -t tmpfs -o mode=755 tmpfs /run/slurm-containers
      exec slurmd -f "$2" -N "$1" -L "$3/$1.log"' sh "$1" "$SLURM_CONF" "$dir"
  fi
}
case $verb in
  stop)
    stop
    exit
    ;;
  run)
    shift 2
    inside "$@"
    exit
    ;;
esac
nodes=$3 root=${4:-} host=$(hostname -s) base=$((20000 + RANDOM % 10000))
mkdir -p "$dir/state"
chmod 755 "$dir"
if [ -n "$root" ]; then
  readlink -f "$root" >"$dir/root"
  enter "$(cat "$dir/root")"
  # Its own file may not be there.
  inside alone=1 bash -s start "$dir" "$nodes" <"$0" && exit
  stop
  exit 1
fi
# A munge of our own: one that runs here may have another key.
command install -d -o munge -g munge -m 755 "$dir/munge"
head -c 1024 /dev/urandom >"$dir/munge/key"
chown munge: "$dir/munge/key"
chmod 400 "$dir/munge/key"
setpriv --reuid munge --regid munge --clear-groups munged --force --key-file "$dir/munge/key" \
  --socket "$dir/munge/socket" --pid-file "$dir/munge/pid" --log-file "$dir/munge/log" --seed-file "$dir/munge/seed"
cp "$dir/munge/pid" "$dir/munged.pid"
{
  # Two clusters of one machine give their jobs different numbers: ranks of one job share a container.
  printf '%s\n' ClusterName=tour "SlurmctldHost=$host(127.0.0.1)" SlurmUser=root SlurmdUser=root AuthType=auth/munge \
    "AuthInfo=socket=$dir/munge/socket" "StateSaveLocation=$dir/state" \
    "SlurmctldPidFile=$dir/slurmctld.pid" "SlurmdPidFile=$dir/%n.pid" "SlurmctldPort=$base" \
    "FirstJobId=$((base * 1000))" ProctrackType=proctrack/linuxproc TaskPlugin=task/none SelectType=select/cons_tres \
    SlurmdParameters=config_overrides ReturnToService=2 MpiDefault=none
  # Slurm's PMIx takes the directory's name for that of its peers, too.
  if [ -n "${alone:-}" ]; then echo SlurmdSpoolDir=/var/spool/slurmd; else echo "SlurmdSpoolDir=$dir/%n"; fi
  for node in $(seq "$nodes"); do
    [ -z "${alone:-}" ] || host=n$node
    echo "NodeName=n$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + node)) CPUs=64 RealMemory=4000"
  done
  echo "PartitionName=all Nodes=n[1-$nodes] Default=YES OverSubscribe=FORCE"
  [ ! -e "$dir/extra.conf" ] || cat "$dir/extra.conf"
} >"$dir/slurm.conf"
[ -z "${alone:-}" ] || echo CgroupPlugin=disabled >"$dir/cgroup.conf"
export SLURM_CONF=$dir/slurm.conf
slurmctld -f "$SLURM_CONF" -L "$dir/slurmctld.log"
for node in $(seq "$nodes"); do node "n$node"; done
for _ in $(seq 100); do
  [ "$(sinfo -h -t idle -o %D 2>/dev/null)" != "$nodes" ] || exit 0
  sleep 0.2
done
echo "the nodes do not become idle; their logs are in $dir" >&2
stop
exit 1
