#!/usr/bin/env python3
"""Makes images of layers that tars can say in many ways: make.py DIRECTORY

Each image is an OCI layout DIRECTORY/NAME. Its layers are made by GNU tar, by bsdtar and by Python.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

OUT = sys.argv[1]
CASES = {}


def layout(name, layers):
    """Writes an image of these layers: bytes of tars, or of compressed ones with their kind."""
    place = os.path.join(OUT, name)
    blobs = os.path.join(place, "blobs", "sha256")
    os.makedirs(blobs)

    def blob(content, kind):
        digest = hashlib.sha256(content).hexdigest()
        with open(os.path.join(blobs, digest), "wb") as file:
            file.write(content)
        return {"mediaType": kind, "digest": "sha256:" + digest, "size": len(content)}

    told, ids = [], []
    for layer in layers:
        kind, content, plain = layer if isinstance(layer, tuple) else ("", layer, layer)
        ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
        told.append(blob(content, "application/vnd.oci.image.layer.v1.tar" + kind))
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ids}}
    config = blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": told}
    manifest["mediaType"] = "application/vnd.oci.image.manifest.v1+json"
    manifest = blob(json.dumps(manifest).encode(), manifest["mediaType"])
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    with open(os.path.join(place, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [manifest]}, file)
    with open(os.path.join(place, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)


class Layer:
    """A layer by Python, entry by entry."""

    def __init__(self, format=tarfile.PAX_FORMAT, **more):
        self.content = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.content, mode="w", format=format, **more)

    def add(self, name, kind=tarfile.REGTYPE, content=b"", link="", mode=0o644, time=1000000000, pax=None):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode, info.mtime = kind, link, mode, time
        info.size = len(content)
        info.pax_headers = pax or {}
        self.tar.addfile(info, io.BytesIO(content))
        return self

    def file(self, name, content=None, **more):
        return self.add(name, content=name.encode("utf-8", "surrogateescape") if content is None else content, **more)

    def dir(self, name, mode=0o755, **more):
        return self.add(name, tarfile.DIRTYPE, mode=mode, **more)

    def link(self, name, target, **more):
        return self.add(name, tarfile.SYMTYPE, link=target, mode=0o777, **more)

    def hard(self, name, target, **more):
        return self.add(name, tarfile.LNKTYPE, link=target, **more)

    def end(self):
        self.tar.close()
        return self.content.getvalue()


def tree(place):
    """Files of every kind, to be packed by a tar."""
    os.makedirs(place + "/t/dir/empty")
    with open(place + "/t/file", "w") as file:
        file.write("content\n")
    with open(place + "/t/" + "long" * 30, "w") as file:
        file.write("a long name\n")
    os.makedirs(place + "/t/" + "/".join(["deep" * 10] * 8))
    with open(place + "/t/" + "/".join(["deep" * 10] * 8) + "/file", "w") as file:
        file.write("deep\n")
    with open(place + "/t/umläut ☃", "w") as file:
        file.write("unicode\n")
    os.symlink("file", place + "/t/link")
    os.symlink("x" * 150, place + "/t/long-link")
    os.link(place + "/t/file", place + "/t/hard")
    os.mkfifo(place + "/t/fifo")
    os.chmod(place + "/t/dir", 0o2750)
    os.chmod(place + "/t/file", 0o4711)
    for path, directories, files in os.walk(place):
        for name in directories + files:
            os.utime(os.path.join(path, name), (1e9, 1e9), follow_symlinks=False)


def holes(place):
    """Sparse files."""
    os.makedirs(place + "/t")
    for name, blocks, size in [
        ("two", [(1 << 20, b"a" * 4096), (3 << 20, b"b" * 4096)], 4 << 20),
        ("none", [], 1 << 20),
        ("first", [(0, b"c" * 5000)], 1 << 20),
        ("last", [((1 << 20) - 4096, b"d" * 4096)], 1 << 20),
        ("long" * 40, [(65536, b"e" * 100)], 131072),
    ]:
        with open(place + "/t/" + name, "wb") as file:
            file.truncate(size)
            for offset, data in blocks:
                file.seek(offset)
                file.write(data)


def packed(fill, *command):
    with tempfile.TemporaryDirectory() as place:
        fill(place)
        return subprocess.run([*command, "t"], cwd=place, check=True, stdout=subprocess.PIPE).stdout


def gnu(fill, *options):
    return packed(fill, "tar", "--sort=name", *options, "-cf", "-")


def short(place):
    """As tree, without what ustar has no room for."""
    tree(place)
    shutil.rmtree(place + "/t/" + "deep" * 10)
    os.remove(place + "/t/long-link")
    os.remove(place + "/t/" + "long" * 30)


for format in ["ustar", "gnu", "oldgnu", "posix"]:
    fill = short if format == "ustar" else tree
    CASES["gnu_" + format] = lambda fill=fill, format=format: [gnu(fill, "--format=" + format)]
for format in ["ustar", "pax", "gnutar"]:
    fill = short if format == "ustar" else tree
    CASES["bsd_" + format] = lambda fill=fill, format=format: [packed(fill, "bsdtar", "--format=" + format, "-cf", "-")]
for version in ["0.0", "0.1", "1.0"]:
    CASES["sparse_posix_" + version.replace(".", "_")] = lambda version=version: [
        gnu(holes, "--sparse", "--format=posix", "--sparse-version=" + version)
    ]
for format in ["gnu", "oldgnu"]:
    CASES["sparse_" + format] = lambda format=format: [gnu(holes, "--sparse", "--format=" + format)]
CASES["sparse_bsd"] = lambda: [packed(holes, "bsdtar", "--format=pax", "-cf", "-")]
for name, format in [("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("ustar", tarfile.USTAR_FORMAT)]:
    CASES["python_" + name] = lambda format=format: [
        Layer(format).dir("t").file("t/a").dir("t/d", mode=0o1777).link("t/l", "a").hard("t/h", "t/a").file("t/d/x").end()
    ]


def plain():
    return Layer().dir("t").file("t/a").link("t/l", "a").end()


CASES["gzip"] = lambda: [("+gzip", gzip.compress(plain()), plain())]
CASES["gzip_members"] = lambda: [("+gzip", gzip.compress(plain()[:700]) + gzip.compress(plain()[700:]), plain())]
CASES["zstd"] = lambda: [("+zstd", subprocess.run(["zstd", "-qc"], input=plain(), check=True, stdout=subprocess.PIPE).stdout, plain())]
CASES["names_with_dots"] = lambda: [Layer().dir("./t").file("./t/a").file("t//b").file("t/./c").file("/t/d").end()]
CASES["names_go_up_inside"] = lambda: [Layer().dir("t").dir("t/x").file("t/x/../a").file("q/../t/b").file("t/x/y/../../c").end()]
CASES["names_without_parents"] = lambda: [Layer().file("t/a/b/c").end()]
CASES["directory_after_its_files"] = lambda: [Layer().file("t/d/x").dir("t/d", mode=0o700).dir("t", mode=0o711).end()]
CASES["odd_names"] = lambda: [
    Layer(encoding="utf-8", errors="surrogateescape")
    .file("t/new\nline").file("t/ blank ").file("t/back\\slash").file("t/-dash").file("t/*?[x]").file("t/\udcff\udcfe").end()
]
CASES["long_names_pax"] = lambda: [Layer().file("t/" + "n" * 255).file("t/" + "/".join(["d" * 100] * 5) + "/f").link("t/l", "x" * 500).end()]
CASES["long_names_gnu"] = lambda: [Layer(tarfile.GNU_FORMAT).file("t/" + "n" * 255).file("t/" + "/".join(["d" * 100] * 5) + "/f").link("t/l", "x" * 500).hard("t/h", "t/" + "n" * 255).end()]
CASES["global_headers"] = lambda: [Layer(pax_headers={"comment": "all", "path": "t/wrong"}).dir("t").file("t/a").end()]
CASES["pax_size_and_path"] = lambda: [Layer().dir("t").file("t/short", b"x" * 10, pax={"path": "t/real"}).file("t/b").end()]
CASES["pax_linkpath"] = lambda: [Layer().dir("t").file("t/a").add("t/l", tarfile.SYMTYPE, link="wrong", pax={"linkpath": "a"}).end()]
CASES["times"] = lambda: [Layer().dir("t").file("t/old", time=0).file("t/part", time=1000000000.25).file("t/late", time=4102444800).end()]
CASES["modes"] = lambda: [
    Layer().dir("t").file("t/suid", mode=0o4755).file("t/none", mode=0).file("t/all", mode=0o777).dir("t/sticky", mode=0o1777)
    .dir("t/sgid", mode=0o2775).file("t/high", mode=0o100644).end()
]
CASES["kinds"] = lambda: [Layer().dir("t").add("t/cont", tarfile.CONTTYPE, b"c").add("t/old", tarfile.AREGTYPE, b"o").add("t/fifo", tarfile.FIFOTYPE).end()]
CASES["file_twice"] = lambda: [Layer().file("t/a", b"1").file("t/a", b"22").end()]
CASES["file_then_directory"] = lambda: [Layer().file("t/a", b"1").dir("t/a").file("t/a/b").end()]
CASES["directory_then_file"] = lambda: [Layer().dir("t/a").file("t/a", b"1").end()]
CASES["full_directory_then_file"] = lambda: [Layer().dir("t/a").file("t/a/b").file("t/a", b"1").end()]
CASES["directory_twice"] = lambda: [Layer().dir("t/a", mode=0o700).file("t/a/b").dir("t/a", mode=0o711).end()]
CASES["link_then_file"] = lambda: [Layer().file("t/a", b"1").link("t/l", "a").file("t/l", b"2").end()]
CASES["link_then_directory"] = lambda: [Layer().dir("t/a").link("t/l", "a").dir("t/l").file("t/l/x").end()]
CASES["through_a_link"] = lambda: [Layer().dir("t/usr/lib").link("t/lib", "usr/lib").file("t/lib/extra.so").file("t/lib/sub/x.so").end()]
CASES["through_an_absolute_link"] = lambda: [Layer().dir("t/usr/lib").link("t/lib", "/t/usr/lib").file("t/lib/x.so").end()]
CASES["through_a_link_that_goes_up"] = lambda: [Layer().dir("t/a/b").dir("t/c").link("t/a/b/l", "../../c").file("t/a/b/l/x").end()]
CASES["through_a_link_above_the_root"] = lambda: [Layer().dir("t/c").link("t/l", "../../../../t/c").file("t/l/x").end()]
CASES["through_two_links"] = lambda: [Layer().dir("t/c").link("t/one", "c").link("t/two", "one").file("t/two/x").end()]
CASES["through_a_later_link"] = lambda: [Layer().dir("t/c").file("t/l/x").link("t/l", "c").file("t/l/y").end()]
CASES["through_a_lower_link"] = lambda: [Layer().dir("t/c").file("t/c/x").link("t/l", "c").end(), Layer().file("t/l/y").end()]
CASES["lower_directory_becomes_a_link"] = lambda: [Layer().dir("t/l").file("t/l/x").dir("t/c").end(), Layer().link("t/l", "c").end()]
CASES["lower_link_becomes_a_directory"] = lambda: [Layer().dir("t/c").file("t/c/x").link("t/l", "c").end(), Layer().dir("t/l").file("t/l/y").end()]
CASES["lower_file_becomes_a_directory"] = lambda: [Layer().file("t/a").end(), Layer().dir("t/a").file("t/a/b").end()]
CASES["lower_directory_becomes_a_file"] = lambda: [Layer().dir("t/a").file("t/a/b").end(), Layer().file("t/a").end()]
CASES["hard_links"] = lambda: [Layer().file("t/a").hard("t/b", "t/a").hard("t/c", "t/b").end()]
CASES["hard_link_with_a_slash"] = lambda: [Layer().file("t/a").hard("t/b", "/t/a").hard("t/c", "./t/a").end()]
CASES["hard_link_to_a_link"] = lambda: [Layer().file("t/a").link("t/l", "a").hard("t/h", "t/l").end()]
CASES["hard_link_through_a_link"] = lambda: [Layer().dir("t/d").file("t/d/a").link("t/l", "d").hard("t/h", "t/l/a").hard("t/l/i", "t/d/a").end()]
CASES["hard_link_is_replaced"] = lambda: [Layer().file("t/a", b"1").hard("t/b", "t/a").file("t/a", b"2").end()]
CASES["hard_link_loses_its_file_above"] = lambda: [Layer().file("t/a").hard("t/b", "t/a").end(), Layer().file("t/.wh.a").end()]
CASES["removed_file"] = lambda: [Layer().file("t/a").file("t/b").end(), Layer().file("t/.wh.a").end()]
CASES["removed_directory"] = lambda: [Layer().dir("t/d").file("t/d/x").file("t/b").end(), Layer().file("t/.wh.d").end()]
CASES["removed_and_made_anew"] = lambda: [Layer().dir("t/d").file("t/d/x").end(), Layer().file("t/.wh.d").end(), Layer().dir("t/d").file("t/d/y").end()]
CASES["removed_link"] = lambda: [Layer().dir("t/d").file("t/d/x").link("t/l", "d").end(), Layer().file("t/.wh.l").end()]
CASES["removed_that_was_never_there"] = lambda: [Layer().file("t/b").end(), Layer().file("t/.wh.a").end()]
CASES["opaque"] = lambda: [Layer().dir("t/d").file("t/d/x").end(), Layer().dir("t/d").file("t/d/.wh..wh..opq").file("t/d/y").end()]
CASES["opaque_after_its_files"] = lambda: [Layer().dir("t/d").file("t/d/x").end(), Layer().dir("t/d").file("t/d/y").file("t/d/.wh..wh..opq").end()]
CASES["opaque_below"] = lambda: [Layer().dir("t/d/e").file("t/d/e/x").end(), Layer().dir("t/d").file("t/d/.wh..wh..opq").end(), Layer().file("t/d/e/y").end()]
CASES["an_empty_layer"] = lambda: [Layer().file("t/a").end(), Layer().end(), Layer().file("t/b").end()]
CASES["no_end"] = lambda: [Layer().file("t/a").end()[:1024]]
CASES["no_end_of_a_block"] = lambda: [Layer().file("t/a").file("t/b", b"x" * 700).end()[: 3 * 512 + 512 + 188]]
CASES["more_after_the_end"] = lambda: [Layer().file("t/a").end() + b"\1" * 512]
CASES["many_layers"] = lambda: [Layer().file("t/%d" % number).file("t/same", b"%d" % number).end() for number in range(30)]
CASES["a_directory_keeps_its_mode"] = lambda: [Layer().dir("t/d", mode=0o700).end(), Layer().file("t/d/x").end()]
CASES["directory_mode_above"] = lambda: [Layer().dir("t/d", mode=0o700).file("t/d/x").end(), Layer().dir("t/d", mode=0o711).end()]

for name, layers in CASES.items():
    layout(name, layers())
print(len(CASES))
