//! Workflow engines, each with a workflow of three steps and images from a registry.

use std::fs;

use super::{NAMES, Place};

#[test]
fn snakemake() {
    let place = Place::new();
    place.write("Snakefile", include_str!("data/Snakefile"));
    place.write("b.py", include_str!("data/b.py"));
    let ran = place.shell("snakemake --cores 1 --sdm apptainer");
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = fs::read_to_string(place.path("c.txt")).unwrap();
    assert_eq!(result, "2\ntrixie\n");
}

#[test]
fn cwltool_and_toil() {
    let place = Place::new();
    place.write("workflow.cwl", include_str!("data/workflow.cwl"));
    for engine in ["cwltool", "toil-cwl-runner"] {
        let ran = place.shell(&format!("{engine} --singularity workflow.cwl --word ab"));
        assert_eq!(ran.code, 0, "{engine}: {ran:?}");
        let result = fs::read_to_string(place.path("three.txt")).unwrap();
        assert_eq!(
            result,
            "AbAb\n".replace("AbAb", "Abab") + "trixie\n",
            "{engine}"
        );
        fs::remove_file(place.path("three.txt")).unwrap();
    }
}

#[test]
fn cwltool_with_an_image_that_is_a_file() {
    let place = Place::new();
    place.write("workflow.cwl", include_str!("data/workflow.cwl"));
    let pulled = place.shell(
        "singularity -q pull py.sif $(sed -n 's/ *dockerPull: /docker:\\/\\//p' workflow.cwl) &&
         sed -i \"s|dockerPull: .*|dockerImageId: $PWD/py.sif|\" workflow.cwl",
    );
    assert_eq!(pulled.code, 0, "{pulled:?}");
    let ran = place.shell("cwltool --singularity workflow.cwl --word ab");
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = fs::read_to_string(place.path("three.txt")).unwrap();
    assert_eq!(result, "Abab\ntrixie\n");
}

/// cwltool has spython make a definition file of a Dockerfile, and builds it.
#[test]
fn cwltool_with_a_dockerfile() {
    let place = Place::new();
    place.write("tool.cwl", include_str!("data/dockerfile.cwl"));
    let ran = place.shell("cwltool --singularity tool.cwl");
    assert_eq!(ran.code, 0, "{ran:?}");
    let result = fs::read_to_string(place.path("out.txt")).unwrap();
    assert_eq!(result, "built\nhello\n");
}

#[test]
fn miniwdl_and_toil() {
    let place = Place::new();
    place.write("workflow.wdl", include_str!("data/workflow.wdl"));
    for name in NAMES {
        let ran = place.shell(&format!(
            "MINIWDL__SCHEDULER__CONTAINER_BACKEND=singularity MINIWDL__SINGULARITY__EXE='[\"{name}\"]' \
             miniwdl run --dir mw-{name}/. workflow.wdl word=ab"
        ));
        assert_eq!(ran.code, 0, "{name}: {ran:?}");
        assert!(ran.stdout.contains("\"w.o\": \"abab-trixie\""), "{ran:?}");
    }
    let ran = place.shell(
        "toil-wdl-runner --container singularity workflow.wdl '{\"w.word\": \"ab\"}' -o out",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("\"w.o\": \"abab-trixie\""), "{ran:?}");
}
