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
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -nE "$@"; fi; }

# install COMMAND-OR-FILE=PACKAGE...: install from Debian what is missing, or say it where that is not possible
install() {
  local missing=() lacks=() pair
  for pair; do
    command -v "${pair%%=*}" >/dev/null || [ -e "${pair%%=*}" ] ||
      { missing+=("${pair#*=}"); lacks+=("${pair%%=*}: in Debian, package ${pair#*=}"); }
  done
  [ ${#missing[@]} = 0 ] && return
  if ! command -v apt-get >/dev/null || ! as_root true 2>/dev/null; then
    die "$(printf 'missing: %s\n' "${lacks[@]}")"
  fi
  say "installing ${missing[*]}"
  as_root apt-get update -q >/dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=900 install -y -q \
    --no-install-recommends "${missing[@]}" >/dev/null
}

# static_library NAME: its path, in the directories of Debian, Fedora and SLES
static_library() {
  local directory
  for directory in ${LIBSECCOMP_LIB_PATH:-} /usr/lib/*-linux-gnu /usr/lib64 /usr/lib /usr/local/lib64 /usr/local/lib; do
    [ ! -e "$directory/$1" ] || { printf '%s\n' "$directory/$1"; return; }
  done
}

install_build_tools() {
  [ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
  local missing=() have want
  [ -n "$(static_library libseccomp.a)" ] || missing+=(libseccomp.a=libseccomp-dev)
  [ -n "$(static_library libc.a)" ] || missing+=(libc.a=libc6-dev)
  command -v cargo >/dev/null || { apt-cache show rustup && missing+=(rustup=rustup); } >/dev/null 2>&1 ||
    die "missing: cargo: install Rust as the user who builds: https://rustup.rs"
  install cc=gcc make=make pkg-config=pkg-config "${missing[@]}"
  # Debian 13 and later have rustup; what Debian 12 has of Rust is too old.
  command -v cargo >/dev/null || rustup default stable
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

# The version of the programs.
version() { sed -n 's/^version = "\(.*\)"/\1/p' "$top/Cargo.toml" | head -n 1; }

# of_commit FORMAT: what git knows of the commit, or nothing in a tree without a repository
of_commit() { git -c safe.directory="$top" -C "$top" log -1 --format="$1" 2>/dev/null || true; }

# The programs that make builds: two for people and engines, and one for the hooks.
programs=(front slipway slipway-hook)

# build_static WORD…: cargo build of static programs for this machine. No path of this machine is in them.
build_static() {
  local from flags=() map=()
  target=$(rustc -vV | sed -n 's/^host: //p')
  for from in "$top=/slipway" "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$(rustc --print sysroot)=/rust"; do
    flags+=("--remap-path-prefix=$from")
    map+=("-ffile-prefix-map=$from")
  done
  # At a fixed address: 19,000 relocations at each start took a tenth of a launch.
  LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$(dirname "$(static_library libseccomp.a)") \
    CFLAGS="${map[*]}" RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static ${flags[*]}" \
    cargo build --locked --target "$target" "$@"
}

install_programs() {
  as_root mkdir -p "$SLIPWAY_BIN"
  as_root chmod 755 "$SLIPWAY_BIN"
  # In place of the old files, not into them: a program may still be running.
  as_root env install -m 755 "${programs[@]/#/$top/build/}" "$SLIPWAY_BIN/"
}
