#!/usr/bin/env bash
# front build beside apptainer build, of the same definition file on a base of about a gigabyte, in one run (ROUNDS
# times); front build again after a change to the last line of %post; and front's conversion of a directory beside
# mksquashfs with the same options. Quote the ratios.
. "$(dirname "$0")/measure.sh"
install mksquashfs=squashfs-tools
"$top/scripts/fixtures.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
install_programs
work=$(mktemp -d /tmp/slipway-build.XXXX)
trap 'as_root rm -rf "$work" "$exported"' EXIT
chmod 755 "$work"
as_root env install -d -m 700 -o "$tester" -g "$tester" "$work"/{ours,theirs,tmp,out}
as_root cp -r "$SLIPWAY_FIXTURES/recipes/layout" "$work/layout"
there=/tmp/host/${work#/tmp/}
recipe() { # LAYOUT LAST
  printf 'Bootstrap: oci\nFrom: %s\n%%post\n    python3 -m compileall -qf /usr/lib/python3 /usr/lib/python3.13 || true\n    echo %s > /opt/last\n' "$1" "$2"
}

for round in $(seq "${ROUNDS:-3}"); do
  say "round $round"
  as_root sh -c "rm -rf $work/ours/* $work/theirs/* $work/out/*"
  recipe "$work/layout" one >"$work/ours.def"
  recipe "$there/layout" one >"$work/theirs.def"
  ours() { # NAME
    as_tester env FRONT_CACHEDIR="$work/ours" TMPDIR="$work/tmp" "${timer[@]}" \
      front -q build -F "$work/out/front.sif" "$work/ours.def"
    timed "a definition file" "$1"
  }
  ours front
  as_root "${timer[@]}" "$top/target/debug/enter" "$SLIPWAY_FIXTURES/peers" "$(id -u "$tester")" \
    /usr/bin/env APPTAINER_CACHEDIR="$there/theirs" APPTAINER_TMPDIR="$there/tmp" \
    /usr/bin/apptainer -q build "$there/out/apptainer.sif" "$there/theirs.def"
  timed "a definition file" Apptainer
  recipe "$work/layout" two >"$work/ours.def"
  ours "front, the last line new"
  as_tester env FRONT_CACHEDIR="$work/ours" TMPDIR="$work/tmp" front -q build --sandbox "$work/out/tree" "$work/out/front.sif"
  as_tester "${timer[@]}" front -q build "$work/out/tree.sif" "$work/out/tree"
  timed "a directory" front
  as_tester "${timer[@]}" mksquashfs "$work/out/tree" "$work/out/tree.sqfs" -all-root -no-xattrs \
    -noappend -no-progress -quiet -mem 192M -comp zstd -Xcompression-level 6 >/dev/null
  timed "a directory" mksquashfs
done
