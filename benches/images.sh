#!/usr/bin/env bash
# front pull beside apptainer pull, of the same image of about a gigabyte from the same registry on this machine, each
# with an empty cache, in one run (ROUNDS times); and what a cached docker:// costs beside a local SIF. Quote the ratios.
. "$(dirname "$0")/measure.sh"
install docker-registry=docker-registry buildah=buildah
"$top/scripts/fixtures.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
install_programs
work=$(mktemp -d /tmp/slipway-images.XXXX)
port=5077
cat >"$work/config.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $work/data}}
http: {addr: 127.0.0.1:$port}
log: {level: error}
END
docker-registry serve "$work/config.yml" >/dev/null 2>&1 &
registry=$!
trap 'kill $registry; as_root rm -rf "$work" "$exported"' EXIT

say "an image of two layers"
mkdir "$work/first" "$work/second"
as_root cp -a "$SLIPWAY_FIXTURES/py/." "$work/first"
as_root cp -aL /usr/lib/"$(gcc -dumpmachine)" "$work/second/" 2>/dev/null || true
buildah() { as_root env buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"; }
container=$(buildah from scratch)
for layer in first second; do
  buildah add -q "$container" "$work/$layer" "/$([ $layer = first ] || echo opt/lib)" >/dev/null
  buildah commit -q "$container" "$layer" >/dev/null
  container=$(buildah from "$layer")
done
buildah push -q --tls-verify=false second "docker://localhost:$port/big:1"
as_root du -sm "$work/first" "$work/second"
as_root env install -d -m 700 -o "$tester" -g "$tester" "$work"/{ours,theirs,tmp,out}
chmod 755 "$work"

image=docker://localhost:$port/big:1
there=/tmp/host/${work#/tmp/}
for round in $(seq "${ROUNDS:-3}"); do
  say "round $round"
  as_root rm -rf "$work"/{ours,theirs,tmp,out}/*
  as_tester env FRONT_CACHEDIR="$work/ours" "${timer[@]}" front -q pull "$work/out/front.sif" "$image"
  timed "a pull of 960 MB" front
  as_root "${timer[@]}" "$top/target/debug/enter" "$SLIPWAY_FIXTURES/peers" "$(id -u "$tester")" \
    /usr/bin/env APPTAINER_CACHEDIR="$there/theirs" APPTAINER_TMPDIR="$there/tmp" \
    /usr/bin/apptainer -q pull --no-https "$there/out/apptainer.sif" "$image"
  timed "a pull of 960 MB" Apptainer
done
for each in front apptainer; do row "the SIF" MB "$each" "$(($(stat -c %s "$work/out/$each.sif") / 1000000))"; done

with_cache() { as_tester env FRONT_CACHEDIR="$work/ours" "$@"; }
compare "a cached docker:// beside a local SIF" with_cache --shell none --warmup 3 --runs 30 -- \
  "SIF" "front exec $work/out/front.sif true" "docker://" "front exec $image true"
