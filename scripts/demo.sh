#!/usr/bin/env bash
# A real Debian image with Python, run as an ordinary user. With no network, once built, the last
# part still works: an image that is built into the program.
. "$(dirname "$0")/common.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh" front
make_tester
install_programs
image=$SLIPWAY_FIXTURES/demo.sqsh
make_image() {
  install mmdebstrap=mmdebstrap mksquashfs=squashfs-tools \
    /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring
  say "making a Debian image with Python"
  local tree
  tree=$(mktemp -d)
  mmdebstrap --quiet --variant=minbase --include=python3-minimal trixie "$tree/debian"
  mkdir -p "$SLIPWAY_FIXTURES"
  mksquashfs "$tree/debian" "$image.part" -quiet -no-progress -comp zstd -Xcompression-level 1
  mv "$image.part" "$image"
  rm -rf --one-file-system "$tree"
  chmod 755 "$SLIPWAY_FIXTURES"
}
show() {
  printf '\n$ %s\n' "$*"
  as_tester "$@"
}
say "the built-in image, as user $tester"
show front run
[ -e "$image" ] || make_image || { say "no network: the Debian image is left out"; exit 0; }
as_root mkdir -p /var/tmp/lus
as_root cp "$top/README.md" /var/tmp/lus/
say "a Debian image, as user $tester; this host is $(. /etc/os-release && echo "$PRETTY_NAME")"
show front exec "$image" cat /etc/debian_version
show front exec -B /var/tmp/lus:/lus --nv "$image" python3 -c 'import os, sys; print(sys.version); print("uid", os.getuid(), "in", os.getcwd(), "sees /lus:", os.listdir("/lus"))'
