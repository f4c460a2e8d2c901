#!/usr/bin/env bash
# What --nv adds to a launch, on a host with NVIDIA's packages and no GPU, as an ordinary user.
#   known: the answer for this image is in the cache; first: it has to be worked out
. "$(dirname "$0")/../scripts/common.sh"
install hyperfine=hyperfine
make_tester
"$top/scripts/fixtures.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
root=$SLIPWAY_FIXTURES/nvidia-550
as_root cp "$top/build/front" "$(command -v hyperfine)" "$root/usr/local/bin/"
cache=$root/tmp/bench
as_root rm -rf "$cache"
as_root env install -d -o "$tester" "$cache"
uid=$(id -u "$tester")
# bench OPTIONS... -- COMMAND...
bench() {
  (cd "$top" && as_root target/debug/enter "$root" "$uid" /usr/bin/env HOME=/tmp/bench FRONT_CACHEDIR=/tmp/bench \
    /usr/local/bin/hyperfine --style basic --output null "$@")
}
# A session each: another working directory.
fresh='mkdir -p /tmp/bench/$$ && cd /tmp/bench/$$ && exec front exec'
for image in py py.sif; do
  say "$image, known, in a session of its own"
  bench --warmup 3 --runs 60 "$fresh /images/$image true" "$fresh --nv /images/$image true"
  say "$image, known, in a row"
  bench --warmup 3 --runs 60 "front exec /images/$image true" "front exec --nv /images/$image true"
  say "$image, first"
  bench --warmup 3 --runs 30 --prepare 'rm -rf /tmp/bench/front/lent' "$fresh /images/$image true" "$fresh --nv /images/$image true"
done
