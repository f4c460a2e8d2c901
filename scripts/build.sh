#!/usr/bin/env bash
# build.sh [PROGRAM...]: builds the static programs, or only those that are named, into build/.
. "$(dirname "$0")/common.sh"
install_build_tools
[ $# = 0 ] || programs=("$@")
say "building ${programs[*]}"
cd "$top"
build_static --release "${programs[@]/#/--package=}"
mkdir -p build
for program in "${programs[@]}"; do cp "target/$target/release/$program" build/; done
