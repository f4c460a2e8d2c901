#!/usr/bin/env bash
# Makes the release of this commit twice, in new directories whose paths differ, and compares the bytes.
. "$(dirname "$0")/common.sh"
work=$(mktemp -d /var/tmp/slipway-reproduce.XXXXXX)
trap 'rm -rf "$work/clone" "$work/another"' EXIT
commit=$(of_commit %H)
for clone in "$work/clone" "$work/another/with/a/longer/path"; do
  git -c safe.directory="$top" clone --quiet "$top" "$clone"
  git -C "$clone" checkout --quiet "$commit"
  CARGO_INCREMENTAL=0 "$clone/scripts/release.sh"
  mv "$clone/build/release" "$work/release-of-$(basename "$clone")"
  # The second build must not find the first one's, and two fill the disk.
  rm -rf "$clone"
done
diff "$work"/release-of-*/SHA256SUMS || die "the two releases in $work differ"
rm -rf "$work"
say "both releases have the same bytes"
