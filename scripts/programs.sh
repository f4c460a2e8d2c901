#!/usr/bin/env bash
# The static programs as the tests run them, quickly built and not optimised, in $SLIPWAY_BIN.
. "$(dirname "$0")/common.sh"
install_build_tools
cd "$top"
target=$(rustc -vV | sed -n 's/^host: //p')
library=$(dirname "$(find /usr/lib -name libseccomp.a 2>/dev/null | head -n 1)")
programs=(front slipway slipway-hook-nvidia slipway-hook-rocm slipway-hook-mpi slipway-hook-fabric)
packages=()
for program in "${programs[@]}"; do packages+=(-p "$program"); done
say "building the static programs for tests"
LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$library \
  RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
  cargo build --quiet --locked --target "$target" "${packages[@]}"
as_root mkdir -p "$SLIPWAY_BIN"
as_root chmod 755 "$SLIPWAY_BIN"
for program in "${programs[@]}"; do
  as_root env install -m 755 "target/$target/debug/$program" "$SLIPWAY_BIN/"
done
