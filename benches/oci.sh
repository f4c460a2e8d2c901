#!/usr/bin/env bash
# slipway beside crun and runc, in one run, on cgroups of version 2: what podman asks for of a container that runs
# /bin/true, its seccomp profile included. Quote the ratios.
. "$(dirname "$0")/measure.sh"
install crun=crun runc=runc podman=podman conmon=conmon
"$top/scripts/fixtures.sh"
[ -x "$top/build/slipway" ] || "$top/scripts/build.sh"
install_programs
work=$(mktemp -d)
trap 'as_root rm -rf "$work" "$exported"' EXIT
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

# on_version_2 COMMAND...: run it with cgroups of version 2 alone, from the directory of the bundle
on_version_2() {
  local as=(env HOME="/home/$tester" setpriv --reuid "$tester" --regid "$tester" --init-groups)
  [ "$user" != root ] || as=()
  cd "$work/$user"
  as_root unshare --mount --propagation private sh -c 'umount --recursive /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh \
    "${as[@]}" "$@" --shell none --warmup 3
}
# runtimes TABLE COMMAND OPTION...: each runtime instead of RUNTIME in the command
runtimes() {
  compare "$1" on_version_2 "${@:3}" -- slipway "${2//RUNTIME/$SLIPWAY_BIN/slipway}" crun "${2//RUNTIME/crun}" \
    runc "${2//RUNTIME/runc}"
}
user=root
runtimes "run, in a row" "RUNTIME run c" --runs 60
runtimes "run, isolated" "RUNTIME run c" --runs 40 --prepare 'sleep 0.06'
once="sh $work/once.sh RUNTIME c"
runtimes "create, start, delete, in a row" "$once" --runs 40
runtimes "create, start, delete, isolated" "$once" --runs 40 --prepare 'sleep 0.06'
runtimes "32 at once" "sh $work/many.sh RUNTIME c" --runs 15
user=user
state=/tmp/slipway-bench-$$
runtimes "run, without root" "RUNTIME --root $state run c" --runs 40
as_root rm -rf "$state"
