#!/usr/bin/env bash
# build.sh [PROGRAM...]: builds the static programs, or only those that are named, into build/.
. "$(dirname "$0")/common.sh"
install_build_tools
[ $# = 0 ] || programs=("$@")
say "building ${programs[*]}"
cd "$top"
# The commit that the programs are made of, which --version prints.
SLIPWAY_COMMIT=$(of_commit '%h %cs')
if [ -n "$SLIPWAY_COMMIT" ]; then export SLIPWAY_COMMIT; else unset SLIPWAY_COMMIT; fi
build_static --release "${programs[@]/#/--package=}"
mkdir -p build
for program in "${programs[@]}"; do cp "target/$target/release/$program" build/; done
