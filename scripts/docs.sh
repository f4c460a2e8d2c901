#!/usr/bin/env bash
# The pages as a book, in target/book. mdBook is built once, in target/tools, unless it is installed; after that, no
# network is needed.
. "$(dirname "$0")/common.sh"
[ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
PATH=$PATH:$top/target/tools/bin
command -v mdbook >/dev/null || cargo install --quiet --locked --no-default-features --root "$top/target/tools" mdbook@0.5.4
mdbook build "$top/docs"
say "in target/book"
