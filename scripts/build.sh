#!/usr/bin/env bash
# The two static programs and the hooks, in build/.
. "$(dirname "$0")/common.sh"
install_build_tools
target=$(rustc -vV | sed -n 's/^host: //p')
say "building the static programs for $target"
cd "$top"
library=$(dirname "$(find /usr/lib -name libseccomp.a 2>/dev/null | head -n 1)")
# At a fixed address: 19,000 relocations at each start took a tenth of a launch.
LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$library \
  RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
  cargo build --release --locked --target "$target" -p front -p slipway -p slipway-hook-nvidia -p slipway-hook-rocm \
  -p slipway-hook-mpi -p slipway-hook-fabric
mkdir -p build
for program in front slipway slipway-hook-nvidia slipway-hook-rocm slipway-hook-mpi slipway-hook-fabric; do
  cp "target/$target/release/$program" build/
done
