//! Tools for containers.

use std::process::Command;

use tests::succeed;

use super::{NAMES, Place};

#[test]
fn spython() {
    let place = Place::new();
    place.write("calls.py", include_str!("data/spython_calls.py"));
    let ran = place.shell("python3 calls.py");
    assert_eq!(ran.stdout, "42\n1.0\nyes\n['spy']\ninside\n[]\n", "{ran:?}");
}

/// Its translation of a Dockerfile to a definition file.
#[test]
fn recipes_of_spython() {
    let place = Place::new();
    place.write(
        "Dockerfile",
        "FROM localhost:PORT/py:1\nENV GREETING=hello\nCOPY data /opt/data\nWORKDIR /opt\n\
         RUN cat data > made && \\\n    echo more >> made\nENTRYPOINT [\"cat\", \"/opt/made\"]\n",
    );
    place.write("data", "data\n");
    for name in super::NAMES {
        let ran = place.shell(&format!(
            "spython recipe Dockerfile x.def && {name} -q build --fakeroot --force x.sif x.def && {name} run x.sif && \
             {name} exec x.sif sh -c 'echo $GREETING'"
        ));
        assert_eq!(ran.stdout, "data\nmore\nhello\n", "{name}: {ran:?}");
    }
}

#[test]
fn reframe() {
    let place = Place::new();
    for (name, platform) in NAMES.into_iter().zip(["Singularity", "Apptainer"]) {
        let check = include_str!("data/reframe_check.py").replace("PLATFORM", platform);
        place.write(&format!("check_{name}.py"), &check);
        let ran = place.shell(&format!("reframe -c check_{name}.py -r"));
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains("Ran 1/1 test case(s)"), "{ran:?}");
    }
}

#[test]
fn singularity_compose() {
    let place = Place::new();
    place.write("compose.yml", include_str!("data/compose.yml"));
    let ran = place.shell(
        "compose='singularity-compose -f compose.yml'; $compose up --no-resolv && $compose ps && \
         $compose exec one1 ls /made && $compose down && singularity instance list",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in ["one1", "two1", "\n/made\n", "Stopping"] {
        assert!(ran.stdout.contains(words), "{words}: {ran:?}");
    }
    assert!(
        ran.stdout
            .ends_with("INSTANCE NAME    PID    IP    IMAGE\n"),
        "{ran:?}"
    );
}

#[test]
fn cotainr() {
    let place = Place::new();
    let image = format!("docker://localhost:{}/py:1", place.registry.port());
    let ran = place.shell(&format!(
        "cotainr build made.sif --base-image {image} --accept-licenses && \
         singularity exec made.sif python3 -c 'print(6 * 7)'"
    ));
    assert!(ran.stdout.ends_with("\n42\n"), "{ran:?}");
}

#[test]
fn shpc_with_a_script_that_is_bound() {
    let place = Place::new();
    let image = format!("docker://localhost:{}/py:1", place.registry.port());
    let mut skopeo = Command::new("skopeo");
    skopeo.args([
        "inspect",
        "--tls-verify=false",
        "--format",
        "{{.Digest}}",
        &image,
    ]);
    let digest = succeed(&mut skopeo);
    let recipe = include_str!("data/container.yaml").replace("DIGEST", digest.trim());
    place.write("registry/local/py/container.yaml", &recipe);
    let ran = place.shell(
        "cp $(python3 -c 'import os, shpc; print(os.path.dirname(shpc.__file__))')/settings.yml . &&
         sed -i \"s|^registry:.*|registry: [$PWD/registry]|; s|^module_base:.*|module_base: $PWD/modules|; s|^wrapper_base:.*|wrapper_base: $PWD/modules|; \
           s|^container_base:.*|container_base: $PWD/containers|; s|^sync_registry:.*|sync_registry: file://$PWD|\" settings.yml &&
         shpc --settings-file $PWD/settings.yml install local/py:1 --keep-path >&2 &&
         $(find modules -name snake) -c 'import os; print(os.environ[\"MARK\"], 6 * 7)'",
    );
    assert_eq!(ran.stdout, "bound 42\n", "{ran:?}");
}
