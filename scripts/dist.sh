#!/usr/bin/env bash
# Proves that the programs need nothing but a kernel: runs them in a root that holds only them.
. "$(dirname "$0")/common.sh"
install_build_tools
install readelf=binutils
for program in front slipway slipway-hook; do
  ! readelf -d "$top/build/$program" | grep -q NEEDED || die "$program is not static"
done
cd "$top"
cargo build --quiet --locked -p tests --bin enter
root=$(mktemp -d)
trap 'as_root rm -rf --one-file-system "$root"' EXIT
mkdir -p "$root"/{proc,sys,dev,tmp,bin}
cp build/front build/slipway "$root/bin/"
chmod 755 "$root"
enter() { as_root target/debug/enter "$root" "$@"; }
say "in a root with nothing but the programs"
enter 0 /bin/slipway --version
enter 0 /bin/slipway features >/dev/null
# Any user that is not root.
enter 65534 /bin/front --version
enter 65534 /bin/front run
say "sizes in bytes"
stat -c '%s %n' "${programs[@]/#/build/}"
