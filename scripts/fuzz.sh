#!/usr/bin/env bash
# Gives every fuzz target noise for a while, from its seeds and what earlier runs found, and fails when one
# crashes: SECONDS_EACH=60 scripts/fuzz.sh [TARGET…]. Inputs that crash are left in fuzz/artifacts.
. "$(dirname "$0")/common.sh"
install_build_tools
install c++=g++
seconds=${SECONDS_EACH:-60}
cd "$top/fuzz"
targets=("$@")
[ ${#targets[@]} != 0 ] || mapfile -t targets < <(basename -s .rs fuzz_targets/*.rs)

for target in "${targets[@]}"; do [ -d "seeds/$target" ] || die "fuzz/seeds/$target is missing"; done
for seeds in seeds/*/; do
  seeds=$(basename "$seeds")
  [ -e "fuzz_targets/$seeds.rs" ] || die "fuzz/seeds/$seeds has no target"
done

say "building ${#targets[@]} fuzz targets"
# What `cargo fuzz` asks of the compiler, with the stable one. The triple is named so that the flags are not for
# build scripts and macros. RUSTC_BOOTSTRAP allows a sanitizer.
triple=$(rustc -vV | sed -n 's/^host: //p')
flags=(-Zsanitizer=address --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module)
for one in -level=4 -inline-8bit-counters -pc-table -trace-compares; do
  flags+=("-Cllvm-args=-sanitizer-coverage$one")
done
bins=()
for target in "${targets[@]}"; do bins+=(--bin "$target"); done
begin=$SECONDS
RUSTC_BOOTSTRAP=1 RUSTFLAGS=${flags[*]} cargo build --quiet --locked --release --target "$triple" "${bins[@]}"
echo "in $((SECONDS - begin)) seconds"

# In memory, where there is such a place: some targets write a file for each input.
shm=/dev/shm
[ -w "$shm" ] || shm=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d -p "$shm")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
failed=()
for target in "${targets[@]}"; do
  say "$target, $seconds seconds"
  mkdir -p "corpus/$target" "artifacts/$target"
  log=$TMPDIR/log
  # Leaks are not looked for, since statics are kept on purpose; and libdeflate has two tables of one name.
  if ! ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0 "target/$triple/release/$target" "corpus/$target" "seeds/$target" \
    -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
    -artifact_prefix="artifacts/$target/" >"$log" 2>&1; then
    failed+=("$target")
    tail -n 60 "$log"
  fi
  # How far it came, and how fast.
  grep -E '^#[0-9]+.*(DONE|INITED)|number_of_executed_units|peak_rss_mb' "$log" | tail -n 4 || true
done
[ ${#failed[@]} = 0 ] || die "crashed: ${failed[*]}"
