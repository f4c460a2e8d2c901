#!/usr/bin/env python3
"""Prints what lies below a directory's t, a line each, without set-id bits: tree.py DIRECTORY"""

import hashlib
import os
import stat
import sys

root = os.path.join(sys.argv[1], "t")
first = {}


def tell(path):
    info = os.lstat(path)
    name = os.path.relpath(path, root).encode("utf-8", "surrogateescape")
    kind, what = stat.S_IFMT(info.st_mode), ""
    if stat.S_ISREG(info.st_mode):
        with open(path, "rb") as file:
            what = "%d %s" % (info.st_size, hashlib.sha256(file.read()).hexdigest()[:12])
        if info.st_nlink > 1:
            what += " same as %r" % first.setdefault(info.st_ino, name)
    elif stat.S_ISLNK(info.st_mode):
        what = "-> %s" % os.readlink(path)
    mode = "" if stat.S_ISLNK(info.st_mode) else "%o" % (info.st_mode & 0o1777)
    time = "" if stat.S_ISDIR(info.st_mode) else "%d" % info.st_mtime
    print(ascii(name), "%o" % kind, mode, time, ascii(what))


for path, directories, files in os.walk(root):
    directories.sort()
    for name in sorted(directories + files):
        tell(os.path.join(path, name))
