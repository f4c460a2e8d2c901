#!/bin/sh
# install.sh [--prefix DIRECTORY] [--destdir DIRECTORY] [--names]: install this tree; by default in ~/.local, or in
#   /usr/local for root. --names: also as apptainer and singularity.
# install.sh --uninstall [--prefix DIRECTORY] [--destdir DIRECTORY]: remove what it installed there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=$HOME/.local destdir='' names='' uninstall=''
[ "$(id -u)" != 0 ] || prefix=/usr/local
usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$here/install.sh" | sed '$d'; }
while [ $# != 0 ]; do
  case $1 in
  --prefix | --destdir)
    [ $# -gt 1 ] || { echo "install.sh: $1 needs a directory" >&2; exit 2; }
    if [ "$1" = --prefix ]; then prefix=$2; else destdir=$2; fi
    shift
    ;;
  --names) names=1 ;;
  --uninstall) uninstall=1 ;;
  -h | --help) usage; exit ;;
  *) echo "install.sh: $1 is not one of its options" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
to=$destdir$prefix list=$destdir$prefix/share/slipway/installed

remove() {
  [ -e "$list" ] || { echo "install.sh: nothing of Slipway is installed in $to: $list is missing" >&2; exit 1; }
  # The list is ours, but a directory between may be somebody's link by now: names below the prefix only.
  while IFS= read -r name; do
    case $name in /* | *..*) continue ;; esac
    rm -f "$to/$name"
  done <"$list"
  rm -f "$list"
  for directory in share/slipway share/doc/slipway libexec/slipway share/modulefiles/slipway; do
    [ ! -d "$to/$directory" ] || find "$to/$directory" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

if [ -n "$uninstall" ]; then
  remove
  echo "removed from $to"
  exit
fi
mkdir -p "$to" || { echo "install.sh: $to cannot be made: choose another directory with --prefix" >&2; exit 1; }
[ ! -e "$list" ] || remove
cd "$here"
mkdir -p "$to/share/slipway"
find bin libexec share ! -type d | sort >"$list.new"
while IFS= read -r name; do
  mkdir -p "$to/$(dirname "$name")"
  # A program may be running: its file is replaced, not written to.
  cp -p "$name" "$to/$name.new"
  mv -f "$to/$name.new" "$to/$name"
done <"$list.new"
if [ -n "$names" ]; then
  for name in apptainer singularity run-singularity; do
    [ ! -e "$to/bin/$name" ] || { echo "install.sh: $to/bin/$name is there already, and is left as it is" >&2; continue; }
    ln -s front "$to/bin/$name"
    echo "bin/$name" >>"$list.new"
  done
fi
mv "$list.new" "$list"
echo "installed in $to"
case :$PATH: in *:"$prefix/bin":*) ;; *) echo "add $prefix/bin to PATH" ;; esac
