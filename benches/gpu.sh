#!/usr/bin/env bash
# What --nv adds to a launch, on a host with NVIDIA's packages and no GPU, as an ordinary user.
#   known: the answer for this image is in the cache; first: it has to be worked out
. "$(dirname "$0")/measure.sh"
make_tester
"$top/scripts/fixtures.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
root=$SLIPWAY_FIXTURES/nvidia-550
as_root cp "$top/build/front" "$(command -v hyperfine)" "$root/usr/local/bin/"
cache=$root/tmp/bench
as_root rm -rf "$cache"
as_root env install -d -o "$tester" "$cache"
as_root mkdir -p "$root/tmp/host"
uid=$(id -u "$tester")
tmp_there=/tmp/host
in_root() {
  (cd "$top" && as_root target/debug/enter "$root" "$uid" /usr/bin/env HOME=/tmp/bench FRONT_CACHEDIR=/tmp/bench \
    PATH=/usr/local/bin:/usr/bin:/bin "$@")
}
# A session each: another working directory.
fresh='mkdir -p /tmp/bench/$$ && cd /tmp/bench/$$ && exec front exec'
for image in py py.sif; do
  compare "$image, known, in a session of its own" in_root --warmup 3 --runs 60 -- \
    'without --nv' "$fresh /images/$image true" 'with --nv' "$fresh --nv /images/$image true"
  compare "$image, known, in a row" in_root --warmup 3 --runs 60 -- \
    'without --nv' "front exec /images/$image true" 'with --nv' "front exec --nv /images/$image true"
  compare "$image, first" in_root --warmup 3 --runs 30 --prepare 'rm -rf /tmp/bench/front/lent' -- \
    'without --nv' "$fresh /images/$image true" 'with --nv' "$fresh --nv /images/$image true"
done
