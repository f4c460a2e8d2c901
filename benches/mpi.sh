#!/usr/bin/env bash
# Ranks of a job in a container, beside the same without one, in one run. Quote the ratios.
#   messages: two ranks on one node, by MPICH and by Open MPI; the container is the host's own root, so that the
#             programs' libraries are the same ones
#   starts:   64 ranks that end at once, by MPICH's launcher; and 64 of Apptainer's at once, which has no job
. "$(dirname "$0")/measure.sh"
make_tester
"$top/scripts/fixtures.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
mpi=$SLIPWAY_FIXTURES/mpi
place=$(mktemp -d /var/tmp/mpi-bench.XXXXXX)
trap 'rm -rf "$place" "$exported"' EXIT
chmod 755 "$place"
command install -d -o "$tester" "$place/own"
cp "$top/build/front" "$place/"
cc -O2 -o "$place/pair-mpich" "$top/tests/mpi/pair.c" $(mpicc.mpich -show | grep -o -- '-I[^ ]*') \
  "-Wl,-rpath,$mpi/mpich/lib" "$mpi/mpich/lib/libmpi.so.12"
cc -O2 -o "$place/pair-openmpi" "$top/tests/mpi/pair.c" $(mpicc.openmpi --showme:compile) \
  "-Wl,-rpath,$mpi/openmpi/lib" "$mpi/openmpi/lib/libmpi.so.40"
user() {
  (cd "/home/$tester" && setpriv --reuid="$tester" --regid="$tester" --clear-groups env -i \
    HOME="/home/$tester" PATH="$place:/usr/bin:/bin" "$@")
}
# medians FILE...: of what several runs print, each line's median
medians() { sort -n -k1,1 -k2,2 "$@" | awk '{v[$1]=v[$1] " " $2} END {for (k in v) {n=split(v[k], a, " "); print k, a[int((n+1)/2)]}}' | sort -n; }

for each in mpich:"$mpi/mpich/bin/mpiexec.hydra -bind-to core" openmpi:"$mpi/openmpi/bin/mpirun --bind-to core"; do
  name=${each%%:*}
  launcher=(${each#*:} -n 2)
  for _ in $(seq 9); do
    user "${launcher[@]}" "$place/pair-$name" 2>/dev/null | grep '^[0-9]' >>"$place/$name.bare"
    user "${launcher[@]}" front exec / "$place/pair-$name" 2>/dev/null | grep '^[0-9]' >>"$place/$name.front"
  done
  say "messages, $name: time in a container, relative to that without"
  while read -r bytes ratio; do row "messages, $name: time in a container, relative to that without" '' "$bytes bytes" "$ratio"; done \
    < <(join <(medians "$place/$name.bare" | sort) <(medians "$place/$name.front" | sort) | sort -n | awk '{print $1, $3 / $2}')
  calls=$(user strace -f -qq -e trace=process_vm_readv -o "$place/own/calls" "${launcher[@]}" front exec / "$place/pair-$name" \
    >/dev/null 2>&1 || true; grep -c 'process_vm_readv(.*= [1-9]' "$place/own/calls" || true)
  echo "process_vm_readv: $calls calls"
done

# milliseconds COMMAND...: the median of nine runs, two seconds apart
milliseconds() {
  local begin run
  for run in $(seq 9); do
    begin=$(date +%s%N)
    "$@" >/dev/null 2>&1
    echo $((($(date +%s%N) - begin) / 1000000))
    sleep 2
  done | sort -n | sed -n 5p
}
say "64 ranks"
start() { user mpiexec.hydra -n 64 "$@"; }
row "64 ranks of true" ms "without a container" "$(milliseconds start true)"
# What a program costs that is started before each rank and does nothing at all.
printf '#include <unistd.h>\nint main(int c, char **v) { return c && execvp(v[1], v + 1); }\n' | cc -O2 -static -x c -o "$place/nothing" -
row "64 ranks of true" ms "nothing in between" "$(milliseconds start "$place/nothing" true)"
row "64 ranks of true" ms "front, directory" "$(milliseconds start front exec "$SLIPWAY_FIXTURES/bb" true)"
row "64 ranks of true" ms "front, SIF" "$(milliseconds start front exec "$SLIPWAY_FIXTURES/bb.sif" true)"
numpy=(/usr/bin/python3 -c 'import numpy')
bare() { mpiexec.hydra -n 64 chroot "$SLIPWAY_FIXTURES/py" "${numpy[@]}"; }
row "64 ranks of Python with numpy" ms "chroot" "$(milliseconds bare)"
row "64 ranks of Python with numpy" ms "front, SIF" "$(milliseconds start front exec "$SLIPWAY_FIXTURES/py.sif" "${numpy[@]}")"
apptainer() {
  "$top/target/debug/enter" "$SLIPWAY_FIXTURES/peers" "$(id -u "$tester")" /bin/sh -c \
    "for i in \$(seq 64); do apptainer exec /fixtures/bb.sif true & done; wait"
}
row "64 ranks of true" ms "Apptainer, SIF, no job" "$(milliseconds apptainer)"
