#!/usr/bin/env bash
# slipway beside crun and runc, in one run, on cgroups of version 2: what podman asks for of a container that runs
# /bin/true, its seccomp profile included. Quote the ratios.
. "$(dirname "$0")/../scripts/common.sh"
install hyperfine=hyperfine crun=crun runc=runc jq=jq podman=podman conmon=conmon
"$top/scripts/fixtures.sh"
[ -x "$top/build/slipway" ] || "$top/scripts/build.sh"
install_programs
work=$(mktemp -d)
trap 'as_root rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/root" "$work/user"

podman_spec() {
  local flags=(--root "$work/storage" --runroot "$work/run" --storage-driver vfs --cgroup-manager cgroupfs --runtime "$SLIPWAY_BIN/slipway")
  as_root podman "${flags[@]}" create --name bench --network none --log-driver none --ulimit nofile=1024:1024 \
    --ulimit nproc=1024:1024 --rootfs "$SLIPWAY_FIXTURES/bb" /bin/true >/dev/null
  as_root podman "${flags[@]}" init bench >/dev/null
  as_root find "$work/storage" -name config.json -exec cat {} +
  as_root podman "${flags[@]}" rm --force --time 0 bench >/dev/null
}

# Without what is bound from podman's own directories, and limits that not every machine lets every runtime give.
podman_spec | jq 'del(.process.rlimits, .linux.resources, .linux.cgroupsPath, .hooks) |
  .mounts |= map(select(.type != "bind")) | (.linux.namespaces[] | select(.type == "network")) |= {type: "network"}' \
  >"$work/root/config.json"
as_tester runc spec --rootless --bundle /tmp && as_root mv /tmp/config.json "$work/user/whole.json"
jq --arg root "$SLIPWAY_FIXTURES/bb" '.process.terminal = false | .process.args = ["/bin/true"] | .root.path = $root |
  del(.process.rlimits)' "$work/user/whole.json" >"$work/user/config.json"
cat >"$work/once.sh" <<'END'
"$1" create "$2" </dev/null >/dev/null 2>&1; "$1" start "$2"; "$1" delete --force "$2"
END
cat >"$work/many.sh" <<'END'
for number in $(seq 32); do "$1" run "$2-$number" & done; wait
END

# bench USER TITLE FLAGS COMMANDS...
bench() {
  local as=$1 title=$2 user=()
  shift 2
  say "$title"
  [ "$as" = root ] || user=(env HOME="/home/$tester" setpriv --reuid "$tester" --regid "$tester" --init-groups)
  cd "$work/$as"
  as_root unshare --mount --propagation private sh -c 'umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh \
    "${user[@]}" hyperfine --style basic --shell none --warmup 3 "$@" 2>/dev/null |
    grep -E 'Benchmark|Time|slower|faster|times'
}
slipway=$SLIPWAY_BIN/slipway
bench root "run, in a row" --runs 60 "$slipway run s" "crun run c" "runc run r"
bench root "run, each after 60 ms of rest" --runs 40 --prepare 'sleep 0.06' "$slipway run s" "crun run c" "runc run r"
once="sh $work/once.sh"
bench root "create, start, delete, in a row" --runs 40 "$once $slipway s" "$once crun c" "$once runc r"
bench root "create, start, delete, each after 60 ms of rest" --runs 40 --prepare 'sleep 0.06' \
  "$once $slipway s" "$once crun c" "$once runc r"
many="sh $work/many.sh"
bench root "32 at once" --runs 15 "$many $slipway s" "$many crun c" "$many runc r"
state=/tmp/slipway-bench-$$
bench user "without root: run" --runs 40 "$slipway --root $state/s run s" \
  "crun --root $state/c run c" "runc --root $state/r run r"
as_root rm -rf "$state"
