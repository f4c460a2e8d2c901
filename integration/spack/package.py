"""A recipe for Spack, for a repository of the site's: repo/packages/slipway/package.py."""

from spack.package import *


class Slipway(Package):
    """Containers for MPI and GPU jobs on clusters, without root."""

    # The tarball of a release, from wherever the site keeps it; `make release` prints its sum.
    url = "file:///opt/sources/slipway-0.1.0-x86_64-linux.tar.gz"
    license("Apache-2.0")

    # version("0.1.0", sha256="THE SUM IN SHA256SUMS")

    requires("target=x86_64:", msg="the programs are made for x86-64")
    depends_on("squashfs@4.5:", type="run", when="+squashfs")
    variant("squashfs", default=True, description="Convert images with mksquashfs")

    def install(self, spec, prefix):
        Executable("./install.sh")("--prefix", prefix)
