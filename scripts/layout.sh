#!/usr/bin/env bash
# Writes crates/front/launch.ld anew: which functions a rank runs that joins a container, as perf(1) finds them. Worth a run after a change of
# the compiler or of how a launch goes; a name in the file that the program lacks does no harm.
. "$(dirname "$0")/common.sh"
install_build_tools
install perf=linux-perf
[ "$(id -u)" = 0 ] || die "only root may ask perf for all processes"
image=${1:?the folder of a root file system with /bin/true, which everybody may read}
cd "$top"
say "building front with its symbols"
CARGO_PROFILE_RELEASE_STRIP=none build_static --quiet --release --target-dir target/layout --package=front
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
cp "target/layout/$target/release/front" "$place/front"
say "looking at 3000 ranks that join a container"
echo "for number in \$(seq 3000); do PMI_RANK=1 PMI_SIZE=2 MPI_LOCALNRANKS=2 $place/front exec $image true; done" >"$place/launches"
perf record --quiet --freq 20000 --event cpu-clock --output "$place/perf" -- \
  setpriv --reuid nobody --regid nogroup --clear-groups env -i PATH=/usr/bin:/bin HOME="$place" sh "$place/launches"
perf script --input "$place/perf" --comms front --fields ip,sym --no-demangle 2>/dev/null | awk '{ print $2 }' | sort -u >"$place/functions"
{
  echo "/* The functions that a rank runs which joins a container, side by side: among 14 MB of code, the kernel maps them with fewer page faults."
  echo " * scripts/layout.sh wrote this. The hashes at the names' ends are left out; one that fits nothing is ignored. */"
  echo "SECTIONS"
  echo "{"
  echo "  .text.launch :"
  echo "  {"
  # A pattern that fits many more functions than were run would bring all of them along.
  nm --print-size --defined-only --no-demangle "$place/front" | awk '
    function pattern(name) { return match(name, /17h[0-9a-f]+E/) ? substr(name, 1, RSTART + 2) "*" : name }
    NR == FNR { if ($1 ~ /^_[ZR]/) wanted[$1] = 1; next }
    NF == 4 && tolower($3) == "t" {
      one = pattern($4); all[one]++
      if ($4 in wanted) run[one]++
    }
    END { for (one in run) if (all[one] <= 4 * run[one]) print "    *(.text." one ")" }
  ' "$place/functions" - | sort
  echo "  }"
  echo "}"
  echo "INSERT BEFORE .text;"
} >crates/front/launch.ld
say "$(grep -c '[*](' crates/front/launch.ld) functions in crates/front/launch.ld"
