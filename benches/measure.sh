# Shared by the measurements: hyperfine, and the rows that make the page of `make bench`. Sourced.

. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"
install jq=jq hyperfine=hyperfine time=time
# Each row: table, unit, name, value. The page has the medians of equal names, and ratios to the first name of a table.
rows=$top/build/bench/$(basename "$0" .sh).tsv
mkdir -p "$(dirname "$rows")"
: >"$rows"
exported=$(mktemp -d /tmp/slipway-bench.XXXXXX)
chmod 777 "$exported"
trap 'rm -rf "$exported"' EXIT
# The path of this machine's /tmp in the root file system that is measured.
tmp_there=/tmp

# row TABLE UNIT NAME VALUE
row() {
  printf '%s\t%s\t%s\t%s\n' "$@" >>"$rows"
  printf '%-48s %10.4g %s\n' "$3" "$4" "$2"
}

# A command behind these words is timed. The function `timed` makes the rows.
timer=(time --quiet --format '%e %M' --output "$exported/time")
# timed TABLE NAME: rows of the command that ran last
timed() {
  local seconds kilobytes
  read -r seconds kilobytes <"$exported/time"
  row "$1" s "$2" "$seconds"
  row "$1: the largest process" MB "$2" "$((kilobytes / 1000))"
  rm -f "$exported/time"
}

# Before and since hyperfine 2.
medians='.results[] | [.name // .command,
  ((.times // [.measurements[].time_wall_clock.value]) | sort | .[length / 2 | floor]) * 1000] | @tsv'
# compare TABLE RUNNER OPTION... -- NAME COMMAND [NAME COMMAND]...: hyperfine, started by RUNNER; a row for each name
compare() {
  local table=$1 runner=$2 words=() commands=() file name value
  shift 2
  while [ "$1" != -- ]; do
    words+=("$1")
    shift
  done
  shift
  while [ $# -gt 0 ]; do
    words+=(--command-name "$1")
    commands+=("$2")
    shift 2
  done
  say "$table"
  file=$exported/of.json
  rm -f "$file"
  "$runner" hyperfine --style none --output null --export-json "$tmp_there/${file#/tmp/}" "${words[@]}" "${commands[@]}"
  while IFS=$'\t' read -r name value; do row "$table" ms "$name" "$value"; done \
    < <(jq -r "$medians" "$file")
}
