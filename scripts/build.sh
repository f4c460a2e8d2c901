#!/usr/bin/env bash
# The two static programs and the hooks, in build/.
. "$(dirname "$0")/common.sh"
install_build_tools
say "building the static programs"
cd "$top"
build_static --release "${programs[@]/#/--package=}"
mkdir -p build
for program in "${programs[@]}"; do cp "target/$target/release/$program" build/; done
