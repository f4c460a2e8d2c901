#!/usr/bin/env bash
# The files of a release, in build/release: a tarball, a Debian package, an RPM package, their SHA-256 sums. The same
# commit, tools and C libraries give the same bytes, in any directory.
. "$(dirname "$0")/common.sh"
install_build_tools
install dpkg-deb=dpkg rpmbuild=rpm python3=python3
rust=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$top/packaging/rust-toolchain.toml")
if rustup run "$rust" rustc --version >/dev/null 2>&1; then
  export RUSTUP_TOOLCHAIN=$rust
elif [ "$(rustc --version | cut -d' ' -f2)" != "$rust" ]; then
  say "releases are made by Rust $rust; this is $(rustc --version), which makes other bytes"
fi
"$top/scripts/build.sh"
version=$(version)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(of_commit %ct)}
# Without a repository, the date of the newest entry in the list of changes.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$top/CHANGELOG.md")}
umask 022
out=$top/build/release name=slipway-$version-$(uname -m)-linux
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out"
mkdir -p "$out"

say "tarball"
"$top/scripts/tree.sh" "$work/$name"
python3 "$top/scripts/licences.py" "$work/$name/share/doc/slipway/licences"
command install -m 755 "$top/scripts/install.sh" "$work/$name/"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --format=gnu \
  -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"

# Where packages of distributions put a tree: hooks and profiles have places of their own there.
"$work/$name/install.sh" --prefix /usr --destdir "$work/package" >/dev/null
rm "$work/package/usr/share/slipway/installed"
command install -d "$work/package/etc/apparmor.d"
cp "$top/integration/apparmor/slipway" "$work/package/etc/apparmor.d/slipway"
find "$work/package" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

say "Debian package"
cp -a "$work/package" "$work/deb"
command install -d "$work/deb/DEBIAN"
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$(dpkg --print-architecture)/" \
  -e "s/@SIZE@/$(du -sk "$work/package" | cut -f1)/" "$top/packaging/deb/control" >"$work/deb/DEBIAN/control"
cp "$top/packaging/deb/conffiles" "$work/deb/DEBIAN/"
command install -m 755 "$top"/packaging/deb/{postinst,prerm} "$work/deb/DEBIAN/"
find "$work/deb" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$work/deb" "$out/slipway_${version}_$(dpkg --print-architecture).deb" >/dev/null

say "RPM package"
rpmbuild --quiet -bb --define "_topdir $work/rpm" --define "_rpmdir $out" --define "tree $work/package" \
  --define "version_of_slipway $version" --define '_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
  --define '_buildhost slipway' --define 'use_source_date_epoch_as_buildtime 1' --define 'clamp_mtime_to_source_date_epoch 1' \
  --define '_binary_payload w9.xzdio' --define '_build_id_links none' "$top/packaging/slipway.spec"

cp "$work/$name/share/doc/slipway/sbom.cdx.json" "$out/slipway-$version.cdx.json"
(cd "$out" && sha256sum -- *.* >SHA256SUMS)
say "in $out"
cat "$out/SHA256SUMS"
