#!/usr/bin/env bash
# tour.sh RUNTIME: what ctr can do, on the image of the containerd at CONTAINERD_ADDRESS.
. "$(dirname "$0")/../lib.sh"
runtime=$1
image=docker.io/library/bb:latest
with=(--snapshotter native --runc-binary "$runtime")
try() { step ctr run --rm "${with[@]}" "$@"; }
try "$image" one id
try "$image" two nosuch
try "$image" three sh -c 'exit 9'
try --seccomp "$image" four grep Seccomp: /proc/self/status
try --privileged "$image" five sh -c 'test -e /dev/fuse && echo devices'
try --read-only "$image" six touch /x
step ctr run -d "${with[@]}" --memory-limit 33554432 "$image" tour sleep 100
step ctr task exec --exec-id e1 tour id
step ctr task exec --exec-id e2 --cwd /tmp --user 1000:5 tour sh -c 'id; pwd'
step ctr task exec --exec-id e3 tour sh -c 'exit 5'
step ctr task exec --exec-id e4 tour nosuch
step ctr task metrics tour | grep -E '^(\$|=|pids|memory.limit)' | tr -s ' '
step ctr task pause tour
step ctr task ls | tr -s ' ' | sed 's/ [0-9]* / PID /'
step ctr task resume tour
step ctr task ls | tr -s ' ' | sed 's/ [0-9]* / PID /'
step ctr task ps tour | tr -s ' ' | sed 's/^[0-9]* */PID /'
step ctr task kill -s 9 tour
sleep 0.5
step ctr task ls | tr -s ' ' | sed 's/ [0-9]* / PID /'
step ctr task rm tour | sed 's/time="[^"]*"/TIME/'
step ctr container rm tour
