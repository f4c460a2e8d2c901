#!/usr/bin/env bash
# Launch times beside Charliecloud and Apptainer, in one run, as an ordinary user. Quote the ratios.
#   in a row: one launch after another, as in a script that starts a program for each of its files
#   alone: each launch two seconds after the last, as a user's single command
. "$(dirname "$0")/measure.sh"
make_tester
"$top/scripts/fixtures.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
root=$SLIPWAY_FIXTURES/peers
as_root cp "$top/build/front" "$root/usr/local/bin/front"
uid=$(id -u "$tester")
tmp_there=/tmp/host
in_root() {
  (cd "$top" && as_root target/debug/enter "$root" "$uid" /usr/bin/env HOME=/home/$tester USER=$tester \
    PATH=/usr/local/bin:/usr/bin:/bin "$@" --shell=none)
}
launches() { # TABLE OPTION... -- COMMAND
  local options=()
  while [ "$1" != -- ]; do
    options+=("$1")
    shift
  done
  compare "${options[0]}" in_root "${options[@]:1}" -- \
    'front, SIF' "front exec /fixtures/$image.sif $2" 'front, directory' "front exec /fixtures/$image $2" \
    'ch-run, directory' "ch-run /fixtures/$image -- $2" 'Apptainer, directory' "apptainer exec /fixtures/$image $2" \
    'Apptainer, SIF' "apptainer exec /fixtures/$image.sif $2"
}
image=bb
launches 'true, in a row' --warmup 3 --runs 40 -- /bin/true
launches 'true, alone' --prepare 'sleep 2' --runs 8 -- /bin/true
image=py
launches 'import numpy, in a row' --warmup 1 --runs 15 -- "/usr/bin/python3 -c 'import numpy'"
launches 'import numpy, alone' --prepare 'sleep 2' --runs 8 -- "/usr/bin/python3 -c 'import numpy'"
