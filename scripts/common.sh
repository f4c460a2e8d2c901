# Shared by the scripts: where things are, and installing what is missing. Sourced.

set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Outside the checkout: images are world-readable, large, and outlive a clone.
export SLIPWAY_FIXTURES=${SLIPWAY_FIXTURES:-/var/tmp/slipway-fixtures}
# The programs are tried as a user who may not be able to enter the checkout.
export SLIPWAY_BIN=${SLIPWAY_BIN:-/var/tmp/slipway-bin}
tester=slipway-tester

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }

# install COMMAND-OR-FILE=PACKAGE...: install from Debian what is missing
install() {
  local missing=() pair
  for pair; do
    command -v "${pair%%=*}" >/dev/null || [ -e "${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} = 0 ] && return
  say "installing ${missing[*]}"
  as_root apt-get update -q >/dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=900 install -y -q \
    --no-install-recommends "${missing[@]}" >/dev/null
}

install_build_tools() {
  install cc=gcc /usr/include/stdio.h=libc6-dev /usr/include/seccomp.h=libseccomp-dev pkg-config=pkg-config make=make
  [ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
  if ! command -v cargo >/dev/null; then
    # Debian 13 and later have rustup; what Debian 12 has of Rust is too old.
    install rustup=rustup
    rustup default stable
  fi
  local have want
  have=$(rustc --version | cut -d' ' -f2)
  want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$top/Cargo.toml")
  [ "$(printf '%s\n' "$want" "$have" | sort -V | head -n 1)" = "$want" ] ||
    die "Rust $want or later is needed; this is $have: update it with rustup"
}

# An ordinary user to try things as, and what distributions give such a user.
make_tester() {
  id "$tester" >/dev/null 2>&1 || as_root useradd --create-home --shell /bin/sh "$tester"
  [ ! -e /dev/fuse ] || [ "$(stat -c %a /dev/fuse)" = 666 ] || as_root chmod 666 /dev/fuse
}

# as_tester COMMAND...: run it as the ordinary user, from their home
as_tester() {
  as_root env -i PATH="$SLIPWAY_BIN:/usr/local/bin:/usr/bin:/bin" HOME="/home/$tester" USER="$tester" TERM="${TERM:-dumb}" \
    setpriv --reuid "$tester" --regid "$tester" --init-groups --inh-caps=-all \
    sh -c 'cd "$HOME" && exec "$@"' sh "$@"
}

# The programs that make builds: two for people and engines, and one for the hooks.
programs=(front slipway slipway-hook)

# build_static WORD…: cargo build of static programs for this machine
build_static() {
  local library
  target=$(rustc -vV | sed -n 's/^host: //p')
  library=$(dirname "$(find /usr/lib -name libseccomp.a 2>/dev/null | head -n 1)")
  # At a fixed address: 19,000 relocations at each start took a tenth of a launch.
  LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$library \
    RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" \
    cargo build --locked --target "$target" "$@"
}

install_programs() {
  as_root mkdir -p "$SLIPWAY_BIN"
  as_root chmod 755 "$SLIPWAY_BIN"
  # In place of the old files, not into them: a program may still be running.
  as_root env install -m 755 "$top"/build/* "$SLIPWAY_BIN/"
}
