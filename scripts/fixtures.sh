#!/usr/bin/env bash
# Images and roots for the tests, made with Debian's own tools in $SLIPWAY_FIXTURES; each once: scripts/fixtures.sh [NAME…]
#   bb, py         directories: a static busybox; Debian stable with Python and NumPy
#   peers          a Debian sid root with the real Apptainer and Charliecloud
#   bb.sif, py.sif SIFs of the two, written by that Apptainer; in peers/fixtures also full.sif, with scripts and apps
#   criu           a Debian stable root with CRIU, which Debian 12 lacks, and a script that runs it from there
#   bare           small roots of Debian's releases
#   runtimes       runc and crun of Debian sid
#   old, new, musl directories: a Debian with an older glibc, one of today with GLVND, a musl
#   ompi, mpich, rpath   directories with an MPI each and a program that uses it; mpi: other MPIs for the host's side
#   guest          a kernel with RDMA over Ethernet, to be run by QEMU on this machine's files, and what it starts from
#   verbs          a Debian sid root with libibverbs
#   hdf5           a Debian 12 root with MPICH's HDF5
#   slurm          a newer Debian root with a newer Slurm than Debian 12's
#   rocm           a Debian root with ROCm's packages, and nodes for it in rocm.dev
#   recipes        a Debian with a compiler, MPICH, HDF5 and pip as an OCI layout, and Python's packages to install
#   clients        programs that call singularity, from the Python package index
#   nvidia-535, nvidia-550   Debian roots with NVIDIA's driver packages, and nodes for them in NAME.dev
. "$(dirname "$0")/common.sh"
mkdir -p "$SLIPWAY_FIXTURES"
cd "$SLIPWAY_FIXTURES"

# debian SUITE DIRECTORY COMPONENTS PACKAGES [OPTION]...: unpack a small Debian. A mirror may be frozen, so an old
# Release file is accepted; its signature must be good.
debian() {
  rm -rf --one-file-system "$2" "$2.part"
  mmdebstrap --quiet --mode=root --variant=minbase --components="$3" --include="$4" \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Check-Valid-Until "false"' "${@:5}" "$1" "$2.part"
  mv "$2.part" "$2"
}

make_bb() {
  local root=bb.part applet
  rm -rf "$root"
  mkdir -p "$root"/{bin,sbin,dev,etc,home,mnt,opt,proc,root,run,sys,tmp,usr/bin,var/tmp}
  chmod 1777 "$root/tmp" "$root/var/tmp"
  cp "$(command -v busybox)" "$root/bin/busybox"
  for applet in $(busybox --list); do [ -e "$root/bin/$applet" ] || ln -s busybox "$root/bin/$applet"; done
  touch "$root"/etc/{hosts,localtime,resolv.conf}
  echo NAME=bb >"$root/etc/os-release"
  printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/:/bin/false >"$root/etc/passwd"
  printf '%s\n' root:x:0: nogroup:x:65534: >"$root/etc/group"
  mv "$root" bb
}

make_py() { debian trixie py main python3-numpy; }

make_peers() {
  debian sid peers main apptainer,charliecloud-runtime,squashfuse,squashfs-tools,fuse3,busybox-static,hyperfine
  mkdir -p peers/fixtures peers/tmp/host peers/bin-under-test
  echo "$tester:x:$(id -u "$tester"):$(id -g "$tester")::/home/$tester:/bin/sh" >>peers/etc/passwd
  echo "$tester:x:$(id -g "$tester"):" >>peers/etc/group
  command install -d -o "$tester" -g "$tester" "peers/home/$tester"
}

make_sifs() {
  local name
  for name in bb py; do
    mv "$name" "peers/fixtures/$name"
    "$top/target/debug/enter" peers 0 /usr/bin/apptainer -q build -F "/fixtures/$name.sif" "/fixtures/$name" || true
    mv "peers/fixtures/$name" "$name"
    cp "peers/fixtures/$name.sif" "$name.sif"
    cp -al "$name" "peers/fixtures/$name"
  done
}

# An image with everything that a definition file can have.
make_full() {
  cp "$top/tests/tests/front/differential/full.def" peers/fixtures/
  "$top/target/debug/enter" peers "$(id -u "$tester")" /bin/sh -c "cd /tmp/host && rm -f full.sif &&
    HOME=/home/$tester /usr/bin/apptainer -q build full.sif /fixtures/full.def"
  mv /tmp/full.sif peers/fixtures/
}

# Debians of other ages: before glibc 2.34, and of today with GLVND; and a musl with a program.
make_old() { debian bullseye old main python3-minimal,libc6-i386; }
make_new() { debian sid new main libgl1,libegl1,libopengl0,libgles2,ocl-icd-libopencl1; }
make_musl() {
  rm -rf musl musl.part
  cp -a bb musl.part
  mkdir -p musl.part/lib
  cp -L /lib/"$(gcc -dumpmachine | sed 's/gnu/musl/')"/libc.so "musl.part/lib/ld-musl-$(uname -m).so.1"
  printf 'int puts(const char *);\nint main(void) { puts("hello"); return 0; }\n' |
    musl-gcc -x c -o musl.part/bin/hello -
  mv musl.part musl
}

# nvidia_host NAME SUITE [,PACKAGES [OPTION]...]: a Debian with NVIDIA's driver packages, and nodes for it.
nvidia_host() {
  debian "$2" "$1" main,contrib,non-free,non-free-firmware \
    nvidia-smi,libcuda1,libnvidia-ml1,nvidia-driver-libs,nvidia-vulkan-icd,nvidia-egl-icd,nvidia-opencl-icd,libnvoptix1,libnvcuvid1,nvidia-cuda-mps,libnvidia-allocator1,libnvidia-ptxjitcompiler1"${3:-}" "${@:4}"
  mkdir -p "$1/tmp/host" "$1/images"
  local image
  for image in bb py old new musl; do cp -al "$image" "$1/images/$image"; done
  cp bb.sif py.sif "$1/images/"
  # The driver's majors: 195 is NVIDIA's own, LANANA's list of devices.
  printf '%s\n' 'nvidia0 195 0' 'nvidia1 195 1' 'nvidiactl 195 255' 'nvidia-uvm 510 0' >"$1.dev"
}
make_rocm() {
  debian bookworm rocm main rocminfo,rocm-smi,libamdhip64-5,libhsa-runtime64-1
  mkdir -p rocm/tmp/host rocm/images
  local image
  for image in bb py old; do cp -al "$image" "rocm/images/$image"; done
  # 226 is the kernel's number for graphics; kfd's is given at run time.
  printf '%s\n' 'kfd 511 0' 'dri/card1 226 1' 'dri/renderD128 226 128' >rocm.dev
}
make_nvidia-535() { nvidia_host nvidia-535 bookworm; }
# With libraries for programs of 32 bits, which today's Debian has and needs no updates for.
make_nvidia-550() {
  nvidia_host nvidia-550 sid ,libcuda1:i386,libnvidia-ml1:i386 --architectures=amd64,i386
}

# Images with Debian's Open MPI and MPICH, and with an MPICH in /opt that its programs find by RPATH; in each
# the program hello. `mpi` has other MPIs for the host's side, from Python's packages.
make_mpi() {
  local name wheel
  debian trixie ompi main openmpi-bin,python3-mpi4py,python3-h5py,python3-h5py-mpi
  debian trixie mpich main mpich,python3
  rm -rf mpi mpi.part rpath rpath.part
  mkdir -p mpi.part/wheels
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 313 \
    --dest mpi.part/wheels impi-rt==2021.19.0 mpich==4.3.2 openmpi==5.0.11 mpi4py==4.1.2
  for wheel in mpi.part/wheels/*.whl; do
    name=${wheel##*/}
    python3 -m zipfile -e "$wheel" "mpi.part/wheels/${name%%-*}"
    [ ! -d "mpi.part/wheels/${name%%-*}"/*.data ] || mv "mpi.part/wheels/${name%%-*}"/*.data/data "mpi.part/${name%%-*}"
  done
  cp -a mpi.part/wheels/mpi4py/mpi4py mpich/usr/local/lib/python3.13/dist-packages/
  rm -r mpi.part/wheels
  chmod -R a+rX mpi.part
  chmod +x mpi.part/*/bin/*
  mpicc.openmpi -o ompi/usr/bin/hello "$top/tests/mpi/hello.c"
  mpicc.mpich -o mpich/usr/bin/hello "$top/tests/mpi/hello.c"
  cp -al py rpath.part
  cp -a mpi.part/mpich rpath.part/opt/
  cc -o rpath.part/usr/bin/hello "$top/tests/mpi/hello.c" $(mpicc.mpich -show | grep -o -- '-I[^ ]*') \
    -Wl,-rpath,/opt/mpich/lib,--disable-new-dtags mpi.part/mpich/lib/libmpi.so.12
  mv rpath.part rpath
  mv mpi.part mpi
}

# A kernel with a network card that is made of software (rxe), for machines whose own has none. Its file system is
# this machine's, read-only; the command line names the script that it runs.
make_guest() {
  local kernel module file
  rm -rf guest guest.part
  mkdir -p guest.part/initrd/{bin,modules,proc,sys,dev,root}
  kernel=$(apt-cache depends "linux-image-$(dpkg --print-architecture)" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
  (cd guest.part && apt-get -q -o APT::Sandbox::User=root download "$kernel")
  dpkg-deb -x guest.part/linux-image-*.deb guest.part/kernel
  rm guest.part/*.deb
  kernel=$(ls guest.part/kernel/lib/modules)
  depmod -b guest.part/kernel "$kernel"
  for module in 9p 9pnet_virtio virtio_pci overlay fuse crc32_generic rdma_rxe rdma_ucm dummy; do
    modprobe -d guest.part/kernel -S "$kernel" --show-depends "$module" | while read -r _ file _; do
      [ ! -e "guest.part/initrd/modules/${file##*/}" ] || continue
      cp "$file" guest.part/initrd/modules/
      echo "${file##*/}" >>guest.part/initrd/order
    done
  done
  mv guest.part/kernel/boot/vmlinuz-* guest.part/vmlinuz
  rm -r guest.part/kernel
  cp "$(command -v busybox)" guest.part/initrd/bin/
  cat >guest.part/initrd/init <<'EOF'
#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t devtmpfs dev /dev
while read -r module; do $busybox insmod "/modules/$module"; done </order
script=$($busybox sed 's/.*script=\([^ ]*\).*/\1/' /proc/cmdline)
$busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /root
for directory in tmp run; do $busybox mount -t tmpfs -o mode=1777 none "/root/$directory"; done
$busybox mount -t proc proc /root/proc
$busybox mount -t sysfs sys /root/sys
$busybox mount -t devtmpfs dev /root/dev
$busybox mkdir /root/dev/shm /root/dev/pts
$busybox mount -t tmpfs -o mode=1777 shm /root/dev/shm
$busybox mount -t devpts pts /root/dev/pts
$busybox chmod 666 /root/dev/fuse
$busybox ip link set lo up
exec $busybox switch_root /root /bin/bash -c '"$0"; echo "exit status $?"; busybox poweroff -f' "$script" \
  >/dev/ttyS0 2>&1 </dev/null
EOF
  chmod 755 guest.part/initrd/init
  (cd guest.part/initrd && find . | busybox cpio -o -H newc | gzip -1) >guest.part/initrd.gz
  rm -r guest.part/initrd
  mv guest.part guest
}

# The libraries of verbs of another build than Debian 12's and 13's.
make_verbs() { debian sid verbs main ibverbs-utils,ibverbs-providers; }

# A Slurm that hands containers what MPI's ranks need, which Debian 12's does not.
make_slurm() {
  debian trixie slurm main slurmctld,slurmd,slurm-client,munge,libpmix2t64
  printf '127.0.0.1 localhost %s n1 n2 n3 n4\n' "$(hostname -s)" >slurm/etc/hosts
  getent passwd "$tester" >>slurm/etc/passwd
  getent group "$tester" >>slurm/etc/group
  command install -d -o "$tester" -g "$tester" "slurm/home/$tester"
}

# An image with MPICH's HDF5, and a program that writes a file from all ranks.
make_hdf5() {
  debian bookworm hdf5 main libhdf5-mpich-103-1,mpich
  mpicc.mpich -I/usr/include/hdf5/mpich -o hdf5/usr/bin/write-all "$top/tests/mpi/hdf5.c" \
    "-L/usr/lib/$(gcc -dumpmachine)/hdf5/mpich" -lhdf5
}

# The base of recipes, and what they install, in place of downloads.
make_recipes() {
  rm -rf recipes recipes.part
  mkdir -p recipes.part/wheels
  debian trixie recipes.part/root main gcc,libc6-dev,mpich,libmpich-dev,libhdf5-mpich-dev,python3-pip
  python3 -m pip download --quiet --disable-pip-version-check --only-binary=:all: --python-version 313 \
    --dest recipes.part/wheels mpi4py==4.1.2 h5py==3.15.1
  chmod -R a+rX recipes.part/wheels
  local podman="podman --root $PWD/recipes.part/storage --runroot $PWD/recipes.part/run --storage-driver vfs"
  tar -C recipes.part/root --exclude='./dev/*' -cf recipes.part/root.tar .
  $podman import --quiet recipes.part/root.tar localhost/base:1
  $podman save --quiet --format oci-dir -o recipes.part/layout localhost/base:1
  rm -rf --one-file-system recipes.part/{root,root.tar,storage,run}
  mv recipes.part recipes
}

make_clients() {
  install /usr/lib/python3.11/ensurepip/__init__.py=python3-venv
  rm -rf clients
  # Debian's Python, which an ordinary user can run.
  /usr/bin/python3 -m venv clients
  clients/bin/pip install --quiet --disable-pip-version-check --progress-bar off setuptools==79.0.1 wheel \
    snakemake==9.27.1 cwltool==3.3.20260925135507 'toil[cwl,wdl]==9.6.0' miniwdl==1.15.0 spython==0.3.14 \
    singularity-hpc==0.1.32 reframe-hpc==4.10.4 singularity-compose==0.1.19 cotainr==2025.7.1
}

make_criu() {
  debian trixie criu main criu
  cat >criu/criu <<EOF
#!/bin/sh
lib=$SLIPWAY_FIXTURES/criu/usr/lib/$(gcc -dumpmachine)
exec "\$lib"/ld-linux-*.so.* --library-path "\$lib" $SLIPWAY_FIXTURES/criu/usr/sbin/criu "\$@"
EOF
  chmod 755 criu/criu
}

# Bare roots of Debian's releases, without apt, to install in.
make_bare() {
  local suite
  mkdir -p bare
  for suite in bookworm trixie sid; do
    debian "$suite" "bare/$suite" main tar --variant=essential
    mkdir -p "bare/$suite/tmp/host"
  done
}

# Today's runc and crun, which find their libraries here.
make_runtimes() {
  local program lib
  rm -rf runtimes runtimes.part
  debian sid runtimes.part main runc,crun --variant=extract
  lib=$SLIPWAY_FIXTURES/runtimes/usr/lib
  for program in runc crun; do
    cp "runtimes.part/usr/bin/$program" runtimes.part/
    patchelf --set-interpreter "$(echo runtimes.part/usr/lib/"$(gcc -dumpmachine)"/ld-linux-*.so.* | sed "s|^runtimes.part/usr/lib|$lib|")" \
      --set-rpath "$lib/$(gcc -dumpmachine)" "runtimes.part/$program"
  done
  mv runtimes.part runtimes
}

step() {
  [ -e ".done-$1" ] && return
  say "fixture: $1"
  "make_$1"
  touch ".done-$1"
}

# Those that are named, and no others.
if [ $# != 0 ]; then
  install busybox=busybox-static
  for name; do step "$name"; done
  exit
fi

install /usr/include/hdf5/mpich/hdf5.h=libhdf5-mpich-dev /usr/lib/$(gcc -dumpmachine)/openmpi/include/mpi.h=libopenmpi-dev mpirun.openmpi=openmpi-bin /usr/include/$(gcc -dumpmachine)/mpich/mpi.h=libmpich-dev mpiexec.hydra=mpich \
  qemu-system-x86_64=qemu-system-x86 depmod=kmod rdma=iproute2 ibv_devinfo=ibverbs-utils /etc/libibverbs.d/rxe.driver=ibverbs-providers \
  podman=podman pip3=python3-pip mmdebstrap=mmdebstrap busybox=busybox-static patchelf=patchelf mksquashfs=squashfs-tools musl-gcc=musl-tools \
  /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring
cargo build --quiet --locked --manifest-path "$top/Cargo.toml" -p tests --bin enter
make_tester
step bb
step py
step peers
step sifs
step full
step old
step new
step musl
step rocm
step nvidia-535
step nvidia-550
step mpi
step guest
step verbs
step slurm
step hdf5
step criu
step runtimes
step bare
step clients
step recipes
chmod 755 "$SLIPWAY_FIXTURES"
