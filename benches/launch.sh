#!/usr/bin/env bash
# Launch times beside Charliecloud and Apptainer, in one run, as an ordinary user. Quote the ratios.
#   warm: one launch after another, as in a script that starts a program for each of its files
#   alone: each launch two seconds after the last, as a user's single command
. "$(dirname "$0")/../scripts/common.sh"
make_tester
"$top/scripts/fixtures.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
root=$SLIPWAY_FIXTURES/peers
as_root cp "$top/build/front" "$root/usr/local/bin/front"
uid=$(id -u "$tester")
import="/usr/bin/python3 -c 'import numpy'"
# bench RUNS OPTIONS... -- COMMAND...
bench() {
  (cd "$top" && as_root target/debug/enter "$root" "$uid" /usr/bin/env HOME=/home/$tester USER=$tester \
    /usr/bin/hyperfine --style basic --shell=none --output null "$@")
}
say "true, warm"
bench --warmup 3 --runs 40 'front exec /fixtures/bb /bin/true' 'front exec /fixtures/bb.sif /bin/true' \
  'ch-run /fixtures/bb -- /bin/true' 'apptainer exec /fixtures/bb /bin/true' 'apptainer exec /fixtures/bb.sif /bin/true'
say "true, alone"
bench --prepare 'sleep 2' --runs 8 'front exec /fixtures/bb /bin/true' 'front exec /fixtures/bb.sif /bin/true' \
  'ch-run /fixtures/bb -- /bin/true' 'apptainer exec /fixtures/bb.sif /bin/true'
say "import numpy, warm"
bench --warmup 1 --runs 15 "front exec /fixtures/py.sif $import" "front exec /fixtures/py $import" \
  "ch-run /fixtures/py -- $import" "apptainer exec /fixtures/py.sif $import"
say "import numpy, alone"
bench --prepare 'sleep 2' --runs 8 "front exec /fixtures/py.sif $import" "ch-run /fixtures/py -- $import" \
  "apptainer exec /fixtures/py.sif $import"
