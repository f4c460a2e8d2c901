#!/usr/bin/env bash
# slipway beside crun and runc, in one run, as root, on cgroups of version 2. Quote the ratios.
. "$(dirname "$0")/../scripts/common.sh"
install hyperfine=hyperfine crun=crun runc=runc jq=jq
"$top/scripts/fixtures.sh"
[ -x "$top/build/slipway" ] || "$top/scripts/build.sh"
install_programs
bundle=$(mktemp -d)
trap 'rm -rf "$bundle"' EXIT
cd "$bundle"
runc spec
# Without limits, which not every machine lets every runtime give.
jq --arg root "$SLIPWAY_FIXTURES/bb" '.process.terminal = false | .process.args = ["/bin/true"] | .root.path = $root |
  del(.process.rlimits, .linux.resources)' config.json >changed.json
mv changed.json config.json
cat >once.sh <<'E2'
"$1" create "$2" </dev/null >/dev/null 2>&1; "$1" start "$2"; "$1" delete --force "$2"
E2
bench() {
  as_root unshare --mount --propagation private sh -c 'mount -t cgroup2 none /sys/fs/cgroup && exec "$@"' sh \
    hyperfine --style basic --shell none --warmup 3 --runs 40 "$@" 2>/dev/null | grep -E 'Benchmark|Time|slower|faster|times'
}
slipway=$SLIPWAY_BIN/slipway
say "run, in a row"
bench "$slipway run s" "crun run c" "runc run r"
say "run, each after 60 ms of rest"
bench --prepare 'sleep 0.06' "$slipway run s" "crun run c" "runc run r"
say "create, start, delete, in a row"
bench "sh once.sh $slipway s" "sh once.sh crun c" "sh once.sh runc r"
say "create, start, delete, each after 60 ms of rest"
bench --prepare 'sleep 0.06' "sh once.sh $slipway s" "sh once.sh crun c" "sh once.sh runc r"
