#!/usr/bin/env bash
# docs/terminal.svg: what a terminal shows of a few commands, run as the ordinary user.
. "$(dirname "$0")/common.sh"
[ -x "$top/build/front" ] || "$top/scripts/build.sh"
make_tester
install_programs
home=$(mktemp -d /var/tmp/slipway-picture.XXXX)
trap 'as_root rm -rf "$home"' EXIT
as_root chmod 777 "$home"
as_root cp "$SLIPWAY_FIXTURES/py.sif" "$home/debian.sif"
as_root ln -s "$SLIPWAY_FIXTURES/mpich" "$home/mpich"
shown=$home/shown
show() {
  printf '$ %s\n' "$1" >>"$shown"
  as_tester sh -c "cd $home && $1" >>"$shown" 2>&1
}
show 'front exec debian.sif python3 -c "import numpy; print(numpy.__version__)"'
show 'front exec -e debian.sif grep PRETTY /etc/os-release'
show 'mpiexec.hydra -np 4 front exec mpich hello | sort'
show "front doctor debian.sif python3 | cut -c 1-78"
python3 - "$shown" >"$top/docs/terminal.svg" <<'PYTHON'
import html, sys

lines = [line.rstrip("\n") for line in open(sys.argv[1])]
height, left, top, width = 19, 16, 44, 780
print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + height * len(lines) + 8}" '
      'font-family="ui-monospace,Menlo,Consolas,monospace" font-size="13">')
print('<title>A terminal in which front runs programs of images, alone and as ranks of a job</title>')
print('<rect width="100%" height="100%" rx="8" fill="#1e2430"/>')
for number, colour in enumerate(("#e06c75", "#e5c07b", "#98c379")):
    print(f'<circle cx="{22 + 20 * number}" cy="18" r="6" fill="{colour}"/>')
for number, line in enumerate(lines):
    colour = "#98c379" if line.startswith("$ ") else "#d7dae0"
    print(f'<text x="{left}" y="{top + height * number}" fill="{colour}" xml:space="preserve">{html.escape(line)}</text>')
print("</svg>")
PYTHON
