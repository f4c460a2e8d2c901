#!/usr/bin/env bash
# Makes the release of this commit twice, in new directories whose paths differ, and compares the bytes.
. "$(dirname "$0")/common.sh"
work=$(mktemp -d /var/tmp/slipway-reproduce.XXXXXX)
trap 'rm -rf "$work"' EXIT
for clone in "$work/one" "$work/another/with/a/longer/path"; do
  git -c safe.directory="$top" clone --quiet "$top" "$clone"
  CARGO_INCREMENTAL=0 "$clone/scripts/release.sh"
  cp "$clone/build/release/SHA256SUMS" "$work/$(basename "$clone").sums"
  # The second build must not find the first one's, and two fill the disk.
  rm -rf "$clone"
done
diff "$work/one.sums" "$work/path.sums" || die "the two releases differ"
say "both releases have the same bytes"
