//! The recipes that clusters' documentation shows.

use tests::{Launcher, Wireup};

use super::{HELLO, Workshop, mirror};

/// Runs a command of an image by four ranks, under a launcher of the host's MPICH.
fn ranks(workshop: &Workshop, image: &str, words: &[&str]) -> String {
    let mut launchers = Launcher::of_mpis(4).into_iter();
    let launcher = launchers.find(|one| one.offers == Wireup::Pmi).unwrap();
    let image = workshop.image(image).display().to_string();
    let seen = launcher.front(&[&["exec", &image], words].concat());
    assert_eq!(seen.code, 0, "{words:?}: {seen:?}");
    seen.stdout
}

/// Whether a text is that of four ranks of the program that `hello.c` describes.
fn is_job(text: &str) {
    for rank in 0..4 {
        let line = format!("rank {rank} of 4, sum 6: MPICH");
        assert!(text.contains(&line), "{text}");
    }
}

/// Prints the rank and the sum of all.
const HELLO_PY: &str = "from mpi4py import MPI; w = MPI.COMM_WORLD; \
    print(f'rank {w.rank} of {w.size}, sum {w.allreduce(w.rank)}: MPICH', flush=True)";

#[test]
fn an_mpi_program_is_compiled_in_an_installed_debian() {
    let workshop = Workshop::new();
    workshop.write("hello.c", HELLO);
    let mirror = mirror("bookworm");
    workshop.write(
        "x.def",
        &format!(
            "BootStrap: debootstrap\nOSVersion: bookworm\nMirrorURL: {mirror}\n\
             Include: gcc libc6-dev\n\n%labels\n    Author nobody\n    Version 1\n\n\
             %help\n    Says hello by MPI.\n\n%files\n    hello.c /opt/hello.c\n\n\
             %post\n    apt-get update\n    apt-get install -y --no-install-recommends mpich libmpich-dev\n    mpicc -o /usr/local/bin/hello /opt/hello.c\n    rm /opt/hello.c\n\n\
             %environment\n    export GREETING=hello\n\n%runscript\n    exec hello \"$@\"\n"
        ),
    );
    for name in ["front", "singularity", "apptainer"] {
        let seen = workshop.shell(&format!(
            "ln -sf $front {name}; ./{name} build --fakeroot -F {name}.sif x.def >log 2>&1 || tail -50 log; \
             ./{name} run-help {name}.sif; ./{name} inspect {name}.sif | grep -E '^(Author|Version)'; \
             ./{name} exec {name}.sif sh -c 'echo $GREETING'"
        ));
        let expected = "Says hello by MPI.\nAuthor: nobody\nVersion: 1\nhello\n";
        let stdout = seen.stdout.replace("    ", "");
        assert_eq!(stdout, expected, "{name}: {seen:?}");
        is_job(&ranks(&workshop, &format!("{name}.sif"), &["hello"]));
    }
}

#[test]
fn mpi4py_is_installed_by_pip() {
    let workshop = Workshop::new();
    workshop.write(
        "x.def",
        &format!(
            "Bootstrap: docker\nFrom: {}\n%files\n    wheels /opt/wheels\n%post\n    \
             pip3 install --break-system-packages --no-index --find-links /opt/wheels mpi4py\n    \
             rm -r /opt/wheels\n%environment\n    export OMP_NUM_THREADS=1\n",
            workshop.base()
        ),
    );
    for name in ["front", "singularity", "apptainer"] {
        let seen = workshop.shell(&format!(
            "ln -sf $front {name}; ./{name} build --no-https --fakeroot -F x.sif x.def >log 2>&1 || tail -50 log"
        ));
        assert_eq!(seen.stdout, "", "{name}: {seen:?}");
        is_job(&ranks(&workshop, "x.sif", &["python3", "-c", HELLO_PY]));
    }
}

/// Commands that make what conda does: functions of the shell, and environments with programs.
const CONDA: &str = r#"
    mkdir -p /opt/conda/etc/profile.d /opt/conda/envs/app/bin
    cat > /opt/conda/etc/profile.d/conda.sh <<'END'
conda() { [ "$1" = activate ] && PATH=/opt/conda/envs/$2/bin:$PATH && CONDA_DEFAULT_ENV=$2 && export PATH CONDA_DEFAULT_ENV; }
END
    echo '. /opt/conda/etc/profile.d/conda.sh' >> /opt/bashrc
    printf '#!/bin/sh\necho tool of $CONDA_DEFAULT_ENV\n' > /opt/conda/envs/app/bin/tool
    chmod +x /opt/conda/envs/app/bin/tool
    . /opt/bashrc
    conda activate app
    tool > /opt/built-in
"#;

#[test]
fn an_environment_is_activated() {
    let workshop = Workshop::new();
    let base = tests::fixture("bb.sif").display().to_string();
    workshop.write(
        "x.def",
        &format!(
            "Bootstrap: localimage\nFrom: {base}\nStage: build\n%post\n    echo 'echo built' > /opt/program\n    \
             chmod +x /opt/program\n\nBootstrap: localimage\nFrom: {base}\n%files from build\n    \
             /opt/program /usr/bin/program\n%post{CONDA}\n%environment\n    . /opt/bashrc\n    conda activate app\n\
             %runscript\n    tool\n    program\n%help\n    Help\n%labels\n    Author nobody\n"
        ),
    );
    for name in ["front", "singularity", "apptainer"] {
        let seen = workshop.shell(&format!(
            "ln -sf $front {name}; ./{name} -q build --fakeroot -F x.sif x.def && ./{name} run x.sif && \
             ./{name} exec x.sif cat /opt/built-in && ./{name} exec x.sif tool"
        ));
        let expected = "tool of app\nbuilt\ntool of app\ntool of app\n";
        assert_eq!(seen.stdout, expected, "{name}: {seen:?}");
    }
}

/// MPI and its package for Python.
const MPI4PY: &str = r#"FROM BASE
COPY wheels /tmp/wheels
RUN pip3 install --break-system-packages --no-index --find-links /tmp/wheels mpi4py && \
    rm -r /tmp/wheels
ENV OMP_NUM_THREADS=1
WORKDIR /app
COPY <<END hello.py
from mpi4py import MPI
w = MPI.COMM_WORLD
print('rank %d of %d, sum %d: MPICH' % (w.rank, w.size, w.allreduce(w.rank)), flush=True)
END
CMD ["python3", "/app/hello.py"]
"#;

/// Parallel HDF5, and its package for Python.
const HDF5: &str = r#"FROM BASE
ARG PREFIX=/usr/local
RUN --mount=type=bind,source=wheels,target=/wheels \
    pip3 install --break-system-packages --no-index --find-links /wheels h5py
COPY hdf5.c /src/
WORKDIR /src
RUN mpicc -I/usr/include/hdf5/mpich -o $PREFIX/bin/write-all hdf5.c \
    -L$(dirname $(find /usr/lib -name libhdf5.so -path '*mpich*')) -lhdf5
RUN python3 -c 'import h5py; print(h5py.version.hdf5_version)'
"#;

/// A program that one stage compiles for another.
const STAGES: &str = r#"# syntax=docker/dockerfile:1
FROM BASE AS build
COPY hello.c .
RUN <<END
set -e
mpicc -o /hello hello.c
END
FROM BASE
COPY --from=build --chmod=755 /hello /usr/local/bin/hello
LABEL of=stages
ENTRYPOINT ["hello"]
"#;

#[test]
fn dockerfiles_make_images_that_run_as_jobs() {
    let workshop = Workshop::new();
    workshop.write("hello.c", HELLO);
    workshop.write("hdf5.c", include_str!("../../../mpi/hdf5.c"));
    let file = format!("/dev/shm/recipe-{}", std::process::id());
    for (text, command) in [
        (MPI4PY, &["python3", "/app/hello.py"][..]),
        (HDF5, &["write-all", &file]),
        (STAGES, &["hello"]),
    ] {
        workshop.write("Dockerfile", &text.replace("BASE", &workshop.base()));
        let words = "$front build --no-https -F x.sif Dockerfile >log 2>&1 || tail -50 log";
        let seen = workshop.shell(words);
        assert_eq!(seen.stdout, "", "{text}: {seen:?}");
        let seen = ranks(&workshop, "x.sif", command);
        match text == HDF5 {
            true => assert!(seen.contains("[10, 11, 12, 13]"), "{seen}"),
            false => is_job(&seen),
        }
    }
    std::fs::remove_file(file).unwrap();
}
