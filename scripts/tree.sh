#!/usr/bin/env bash
# tree.sh DIRECTORY: all files of an installation, as they lie below a prefix, of the programs in build/.
. "$(dirname "$0")/common.sh"
root=$1
version=$(version)
put() { # MODE DIRECTORY FILE...
  command install -d "$root/$2"
  command install -m "$1" "${@:3}" "$root/$2/"
}
[ -x "$top/build/front" ] || die "build/ has no programs: run make build first"
rm -rf "$root"
put 755 bin "$top"/build/{front,slipway}
put 755 libexec/slipway "$top/build/slipway-hook"
command install -d "$root"/share/{man/man1,bash-completion/completions,zsh/site-functions,fish/vendor_completions.d}
"$top/build/front" man "$root/share/man/man1"
put 644 share/man/man8 "$top/packaging/slipway.8"
gzip -n9 "$root"/share/man/man?/*
"$top/build/front" completion bash >"$root/share/bash-completion/completions/front"
"$top/build/front" completion zsh >"$root/share/zsh/site-functions/_front"
"$top/build/front" completion fish >"$root/share/fish/vendor_completions.d/front.fish"
put 644 share/doc/slipway "$top"/{README,CHANGELOG,SECURITY}.md "$top/LICENSE"
cp -r "$top/docs" "$root/share/doc/slipway/"
command install -d "$root/share/slipway"
cp -r "$top/integration" "$root/share/slipway/"
# The prefix is the modulefile's own grandparent, wherever the tree lies.
command install -d "$root/share/modulefiles/slipway"
command install -m 644 "$top/packaging/modulefile" "$root/share/modulefiles/slipway/$version"
find "$root" -type d -exec chmod 755 {} + -o -type f ! -perm -u=x -exec chmod 644 {} +
