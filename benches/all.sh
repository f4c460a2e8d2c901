#!/usr/bin/env bash
# All measurements, one after the other, and one page of them: build/bench/index.html.
. "$(dirname "$0")/../scripts/common.sh"
install python3=python3 /usr/lib/python3/dist-packages/pygal=python3-pygal
measurements=(launch oci mpi gpu images build)
for each in "${measurements[@]}"; do "$top/benches/$each.sh"; done
# Debian's own Python, for which Debian's packages are.
/usr/bin/python3 "$top/benches/page.py" "$top/build/bench" "${measurements[@]}"
say "in build/bench/index.html"
