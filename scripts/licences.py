#!/usr/bin/env python3
"""licences.py DIRECTORY: what must travel with the static programs.

Writes the licence texts of every crate that is linked into them, of libseccomp and of the C library, and a list of all
of these, sbom.cdx.json (CycloneDX 1.5). Fails if a licence is not one that deny.toml allows.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

TOP = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("front", "slipway", "slipway-hook")
# The names under which crates keep their licences.
TEXTS = re.compile(r"^(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)
# Debian's packages of the C libraries that are linked in.
LIBRARIES = {"libseccomp": ("libseccomp-dev", "LGPL-2.1-only"), "glibc": ("libc6-dev", "LGPL-2.1-or-later")}


def linked_packages():
    """Returns the packages that the programs are made of, by the edges that are not for tests alone."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host()]
    metadata = json.loads(subprocess.run(command, cwd=TOP, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, queue = set(), [key for key, package in packages.items() if package["name"] in PROGRAMS]
    while queue:
        key = queue.pop()
        if key in found:
            continue
        found.add(key)
        for edge in nodes[key]["deps"]:
            if any(kind["kind"] is None for kind in edge["dep_kinds"]):
                queue.append(edge["pkg"])
    ours = set(metadata["workspace_members"])
    return sorted((packages[key] for key in found - ours), key=lambda one: (one["name"], one["version"]))


def host():
    text = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    return re.search(r"^host: (.*)$", text, re.MULTILINE)[1]


def is_allowed(expression, allowed):
    """Whether one of the alternatives of an SPDX expression, without nested parentheses, is allowed."""
    grouped = re.sub(r"\(([^()]*)\)", lambda group: group[1].replace(" OR ", "/"), expression)
    either = lambda words: any(word.strip() in allowed for word in words.split("/"))
    return any(all(either(part) for part in one.split(" AND ")) for one in grouped.split(" OR "))


def expression_of(package, clarified):
    return clarified.get(package["name"]) or package["license"] or ""


def copy_texts(package, directory):
    source = pathlib.Path(package["manifest_path"]).parent
    texts = [path for path in sorted(source.iterdir()) if TEXTS.match(path.name)]
    if package.get("license_file"):
        texts.append(source / package["license_file"])
    place = directory / f"{package['name']}-{package['version']}"
    place.mkdir()
    for path in texts:
        if path.is_dir():
            shutil.copytree(path, place / path.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, place / path.name)
    if not texts:
        # Its text is that of the licence itself, which others of these directories have.
        (place / "LICENSE").write_text(f"{package['license']}\n{', '.join(package['authors'])}\n")


def debian_version(package):
    query = ["dpkg-query", "-W", "-f", "${Version}", package]
    return subprocess.run(query, check=True, capture_output=True, text=True).stdout


def main(directory):
    deny = tomllib.loads((TOP / "deny.toml").read_text())["licenses"]
    clarified = {one["crate"]: one["expression"] for one in deny.get("clarify", [])}
    packages = linked_packages()
    refused = [f"{one['name']} {one['version']}: {expression_of(one, clarified) or 'no licence'}" for one in packages
               if not is_allowed(expression_of(one, clarified), set(deny["allow"]))]
    if refused:
        sys.exit("deny.toml does not allow the licence of\n" + "\n".join(refused))
    directory.mkdir(parents=True)
    components = []
    for package in packages:
        copy_texts(package, directory)
        components.append({
            "type": "library",
            "name": package["name"],
            "version": package["version"],
            "licenses": [{"expression": expression_of(package, clarified).replace("/", " OR ")}],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
        })
    for name, (package, licence) in LIBRARIES.items():
        shutil.copyfile(f"/usr/share/doc/{package}/copyright", directory / f"{name}.txt")
        components.append({
            "type": "library",
            "name": name,
            "version": debian_version(package),
            "licenses": [{"expression": licence}],
            "purl": f"pkg:deb/debian/{package}@{debian_version(package)}",
        })
    version = tomllib.loads((TOP / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "slipway", "version": version}},
        "components": components,
    }
    (directory.parent / "sbom.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
