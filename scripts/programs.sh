#!/usr/bin/env bash
# The static programs as the tests run them, quickly built and not optimised, in $SLIPWAY_BIN.
. "$(dirname "$0")/common.sh"
install_build_tools
cd "$top"
say "building the static programs for tests"
build_static --quiet "${programs[@]/#/--package=}"
as_root mkdir -p "$SLIPWAY_BIN"
as_root chmod 755 "$SLIPWAY_BIN"
as_root env install -m 755 "${programs[@]/#/target/$target/debug/}" "$SLIPWAY_BIN/"
