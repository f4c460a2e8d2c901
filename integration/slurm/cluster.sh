#!/usr/bin/env bash
# cluster.sh start DIRECTORY NODES, cluster.sh stop DIRECTORY: a Slurm of several nodes on this machine, on loopback
# addresses; what is in DIRECTORY/extra.conf is added to its configuration. SLURM_CONF is DIRECTORY/slurm.conf then.
set -euo pipefail
verb=$1 dir=$2
stop() {
  local file
  for file in "$dir"/*.pid; do [ ! -s "$file" ] || kill "$(cat "$file")" 2>/dev/null || true; done
}
[ "$verb" = start ] || { stop; exit; }
nodes=$3 host=$(hostname -s) base=$((20000 + RANDOM % 10000))
mkdir -p "$dir/state"
chmod 755 "$dir"
# A munge of our own: one that runs here may have another key.
command install -d -o munge -g munge -m 755 "$dir/munge"
head -c 1024 /dev/urandom >"$dir/munge/key"
chown munge: "$dir/munge/key"
chmod 400 "$dir/munge/key"
setpriv --reuid munge --regid munge --clear-groups munged --force --key-file "$dir/munge/key" \
  --socket "$dir/munge/socket" --pid-file "$dir/munge/pid" --log-file "$dir/munge/log" --seed-file "$dir/munge/seed"
cp "$dir/munge/pid" "$dir/munged.pid"
{
  printf '%s\n' ClusterName=tour "SlurmctldHost=$host(127.0.0.1)" SlurmUser=root SlurmdUser=root AuthType=auth/munge \
    "AuthInfo=socket=$dir/munge/socket" "StateSaveLocation=$dir/state" "SlurmdSpoolDir=$dir/%n" \
    "SlurmctldPidFile=$dir/slurmctld.pid" "SlurmdPidFile=$dir/%n.pid" "SlurmctldPort=$base" \
    ProctrackType=proctrack/linuxproc TaskPlugin=task/none SelectType=select/cons_tres \
    SlurmdParameters=config_overrides ReturnToService=2 MpiDefault=none
  for node in $(seq "$nodes"); do
    echo "NodeName=n$node NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + node)) CPUs=64 RealMemory=4000"
  done
  echo "PartitionName=all Nodes=n[1-$nodes] Default=YES OverSubscribe=FORCE"
  [ ! -e "$dir/extra.conf" ] || cat "$dir/extra.conf"
} >"$dir/slurm.conf"
export SLURM_CONF=$dir/slurm.conf
slurmctld -f "$SLURM_CONF" -L "$dir/slurmctld.log"
for node in $(seq "$nodes"); do slurmd -f "$SLURM_CONF" -N "n$node" -L "$dir/n$node.log"; done
for _ in $(seq 100); do
  [ "$(sinfo -h -t idle -o %D 2>/dev/null)" != "$nodes" ] || exit 0
  sleep 0.2
done
echo "the nodes do not become idle; their logs are in $dir" >&2
stop
exit 1
