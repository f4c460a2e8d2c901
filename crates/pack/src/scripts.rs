//! The scripts in `.singularity.d` that every image has, for runtimes that start them.

/// An instance's program: none.
pub(crate) const START: &str = "#!/bin/sh\n# This instance has no program of its own.";

/// An image's tests: none.
pub(crate) const TEST: &str = "#!/bin/sh\n# This image has no tests.";

/// The directory of [`ACTIONS`].
pub(crate) const DIRECTORY: &str = ".singularity.d/actions";

/// The scripts that runtimes before Apptainer 1.0 execute, by the names of commands. Each sets the
/// image's environment and starts a program.
pub(crate) const ACTIONS: [(&str, &str); 5] = [
    ("exec", "exec \"$@\""),
    (
        "run",
        "[ ! -x /.singularity.d/runscript ] || exec /.singularity.d/runscript \"$@\"\nexec /bin/sh \"$@\"",
    ),
    (
        "shell",
        "for shell in \"${SINGULARITY_SHELL:-}\" /bin/bash /bin/sh; do\n    [ ! -x \"$shell\" ] || exec \"$shell\" \"$@\"\ndone\n\
         echo 'the image has no shell' >&2\nexit 1",
    ),
    (
        "start",
        "[ ! -x /.singularity.d/startscript ] || exec /.singularity.d/startscript \"$@\"",
    ),
    (
        "test",
        "[ ! -x /.singularity.d/test ] || exec /.singularity.d/test \"$@\"",
    ),
];

/// `95-apps.sh`: the environment of the application that was chosen (SCIF).
pub const APPLICATIONS: &str = r#"#!/bin/sh
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    export SINGULARITY_APPNAME
    if [ ! -d "/scif/apps/$SINGULARITY_APPNAME" ]; then
        echo "the image has no application $SINGULARITY_APPNAME" >&2
        exit 1
    fi
    SCIF_APPS=/scif/apps
    SCIF_APPROOT="/scif/apps/$SINGULARITY_APPNAME"
    PATH="$SCIF_APPROOT/bin:$SCIF_APPROOT:/scif/apps/singularity:$PATH"
    LD_LIBRARY_PATH="$SCIF_APPROOT/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    export SCIF_APPS SCIF_APPROOT PATH LD_LIBRARY_PATH
    for script in "$SCIF_APPROOT/scif/env/01-base.sh" "$SCIF_APPROOT/scif/env/90-environment.sh"; do
        [ ! -f "$script" ] || . "$script"
    done
fi
"#;

/// `99-base.sh`: the directory of the host's libraries, and a prompt.
pub const LAST: &str = r#"#!/bin/sh
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
PS1="${PS1:-front> }"
export LD_LIBRARY_PATH PS1
"#;

/// Returns the scripts for older runtimes, by their paths.
#[must_use]
pub fn actions() -> Vec<(String, String)> {
    let scripts = ACTIONS.iter();
    let scripts =
        scripts.map(|(name, program)| (format!("/{DIRECTORY}/{name}"), action(program) + "\n"));
    scripts.collect()
}

/// Returns the whole text of an action.
pub(crate) fn action(program: &str) -> String {
    format!(
        "#!/bin/sh\nfor script in /.singularity.d/env/*.sh; do\n    [ ! -f \"$script\" ] || . \"$script\"\ndone\n{program}"
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        for (name, program) in ACTIONS {
            let path = dir.path().join(name);
            std::fs::write(&path, action(program)).unwrap();
            let read = Command::new("sh").arg("-n").arg(&path).status().unwrap();
            assert!(read.success(), "{name}");
        }
        let mut exec = Command::new("sh");
        exec.arg(dir.path().join("exec")).args(["echo", "a b"]);
        let output = exec.output().unwrap();
        assert_eq!(output.stdout, b"a b\n");
    }
}
