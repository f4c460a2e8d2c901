#!/usr/bin/env bash
# Everything that must pass. The end-to-end tests run the static programs as an ordinary user.
. "$(dirname "$0")/common.sh"
install_build_tools
install podman=podman crun=crun runc=runc conmon=conmon /usr/lib/podman/netavark=netavark iptables=iptables \
  /usr/libexec/podman/catatonit=catatonit newuidmap=uidmap containerd=containerd dockerd=docker.io docker-compose=docker-compose \
  sshd=openssh-server ssh=openssh-client ip=iproute2 slurmctld=slurm-wlm munged=munge docker-registry=docker-registry skopeo=skopeo umoci=umoci buildah=buildah \
  htpasswd=apache2-utils openssl=openssl curl=curl mkfs.ext3=e2fsprogs strace=strace keyctl=keyutils bsdtar=libarchive-tools zstd=zstd squashfuse=squashfuse mksquashfs=squashfs-tools debootstrap=debootstrap \
  dnf=dnf rpmbuild=rpm /usr/share/modules/init/bash=environment-modules man=man-db createrepo_c=createrepo-c zypper=zypper
target=$(rustc -vV | sed -n 's/^host: //p')
make_tester
"$top/scripts/fixtures.sh"
"$top/scripts/lint.sh"
cd "$top"
say "unit tests"
cargo test --quiet --locked --workspace --exclude tests
"$top/scripts/release.sh"
"$top/scripts/dist.sh"
install_programs
as_root rm -rf "$SLIPWAY_BIN/release"
as_root cp -r "$top/build/release" "$SLIPWAY_BIN/"
say "a program that tries to get out of containers"
RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --locked -p tests --bin audit --target "$target"
as_root env install -m 755 "target/$target/debug/audit" "$SLIPWAY_BIN/"
say "end-to-end tests"
as_root env PATH="$PATH" HOME="$HOME" SLIPWAY_BIN="$SLIPWAY_BIN" SLIPWAY_FIXTURES="$SLIPWAY_FIXTURES" \
  cargo test --locked --no-fail-fast -p tests -- --test-threads=2
