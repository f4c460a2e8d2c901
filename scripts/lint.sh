#!/usr/bin/env bash
# Format, clippy, documentation: all clean.
. "$(dirname "$0")/common.sh"
install_build_tools
cd "$top"
say "format"
cargo fmt --all --check
say "clippy"
cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps --document-private-items
