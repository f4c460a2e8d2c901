#!/usr/bin/env bash
# The checks before a commit: format, clippy, documentation, unit tests, and the end-to-end tests that need no more than busybox: no
# Docker, Slurm, QEMU or downloads of images. Names of end-to-end tests may be given: scripts/check.sh contain binds
. "$(dirname "$0")/common.sh"
check=${SLIPWAY_CHECK:-/var/tmp/slipway-check}
export SLIPWAY_FIXTURES=$check/fixtures SLIPWAY_BIN=$check/bin
install_build_tools
install busybox=busybox-static mksquashfs=squashfs-tools
make_tester
tests=("$@") skipped=()
if [ ${#tests[@]} = 0 ]; then
  tests=(exec contain binds scripts links kill runtime seccomp)
  # These need an image with Python.
  for test in python strace apptainer_2537 a_place_that_the_image_lacks system_v; do skipped+=(--skip "$test"); done
fi
"$top/scripts/fixtures.sh" bb
"$top/scripts/programs.sh"
chmod 755 "$check" "$SLIPWAY_FIXTURES"
# A test that was named may need the images of make test.
for image in /var/tmp/slipway-fixtures/*; do
  [ -e "$SLIPWAY_FIXTURES/$(basename "$image")" ] || [ $# = 0 ] || as_root ln -s "$image" "$SLIPWAY_FIXTURES/"
done
[ -e "$SLIPWAY_FIXTURES/bb.sif" ] || "$SLIPWAY_BIN/front" -q build "$SLIPWAY_FIXTURES/bb.sif" "$SLIPWAY_FIXTURES/bb"
"$top/scripts/lint.sh"
cd "$top"
say "unit tests"
cargo test --quiet --locked --workspace --exclude tests
say "end-to-end tests"
named=()
for test in "${tests[@]}"; do named+=(--test "$test"); done
as_root env PATH="$PATH" HOME="$HOME" SLIPWAY_BIN="$SLIPWAY_BIN" SLIPWAY_FIXTURES="$SLIPWAY_FIXTURES" \
  cargo test --quiet --locked --no-fail-fast -p tests "${named[@]}" -- "${skipped[@]}"
