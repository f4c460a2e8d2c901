//! Layers above an image.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::{run, succeed, wait_for};

use super::{directory, shell};

#[test]
fn a_directory_keeps_changes_of_all_images() {
    for image in ["$bb", "$dir"] {
        let place = directory();
        let sh = |words: &str| succeed(&mut shell(&place, &words.replace("IMAGE", image)));
        fs::create_dir(place.path().join("o")).unwrap();
        tests::open_to_all(&place.path().join("o"));
        succeed(Command::new("chmod").arg("777").arg(place.path().join("o")));
        sh("$front exec --overlay o IMAGE sh -c 'echo kept > /new && mkdir /d && echo 1 > /d/f'");
        assert_eq!(sh("$front exec --overlay o IMAGE cat /new"), "kept\n");
        assert_eq!(sh("$front exec --overlay o:ro IMAGE cat /d/f"), "1\n");
        let refused = run(&mut shell(
            &place,
            &format!("$front exec --overlay o:ro {image} touch /x"),
        ));
        assert_ne!(refused.code, 0, "{refused:?}");
        // Its owner can always remove it.
        let removed = run(&mut shell(
            &place,
            "/bin/rm -rf o/upper o/work; /bin/ls -A o",
        ));
        assert_eq!(removed.stdout, "", "{removed:?}");
    }
}

#[test]
fn one_container_at_a_time_writes_to_a_directory() {
    let place = directory();
    succeed(&mut shell(&place, "/bin/mkdir o"));
    let long = "exec $front exec --overlay o $bb sh -c 'touch /tmp/MARK; sleep 30'";
    let mark = format!("{}/mark", place.path().display());
    let mut first = shell(&place, &long.replace("/tmp/MARK", &mark))
        .spawn()
        .unwrap();
    wait_for("the first container", Duration::from_secs(10), || {
        fs::exists(&mark).unwrap()
    });
    // The same request is the same container.
    let same = run(&mut shell(
        &place,
        "$front exec --overlay o $bb touch /second",
    ));
    assert_eq!(same.code, 0, "{same:?}");
    let other = run(&mut shell(
        &place,
        "$front exec --overlay o --no-home $bb true",
    ));
    assert_eq!(other.code, 255, "{other:?}");
    assert!(
        other.stderr.contains("another container is writing to it"),
        "{other:?}"
    );
    assert_eq!(other.stderr.lines().count(), 1, "{other:?}");
    let reads = run(&mut shell(
        &place,
        "$front exec --overlay o:ro --no-home $bb true",
    ));
    assert_eq!(reads.code, 0, "{reads:?}");
    first.kill().unwrap();
    first.wait().unwrap();
    // The next one need not wait for the end of the session.
    let began = Instant::now();
    succeed(&mut shell(
        &place,
        "$front exec --overlay o --no-home $bb ls /second",
    ));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn changes_in_memory_are_nobodys_business() {
    let place = directory();
    let words =
        "$front exec --writable-tmpfs $bb sh -c 'ls /mine 2>/dev/null; touch /mine; sleep 1'";
    let both = format!("{words} & {words} & wait");
    let seen = run(&mut shell(&place, &both));
    assert_eq!((seen.code, seen.stdout.as_str()), (0, ""), "{seen:?}");
    let limited = "$front exec --writable-tmpfs=1M $bb dd if=/dev/zero of=/f bs=2M count=1";
    let limited = run(&mut shell(&place, limited));
    assert!(
        limited.stderr.contains("No space left on device"),
        "{limited:?}"
    );
}

#[test]
fn a_sandbox_is_written_to() {
    let place = directory();
    let seen = run(&mut shell(
        &place,
        "/bin/cp -r $dir own && $front exec -w own sh -c 'echo new > /etc/new; ls -d ~; pwd' && /bin/cat own/etc/new",
    ));
    let home = format!("/home/{}", tests::TESTER);
    let here = place.path().display();
    assert_eq!(seen.stdout, format!("{home}\n{here}\nnew\n"), "{seen:?}");
    // Nothing was added for the mounts.
    let home = run(&mut shell(&place, "/bin/ls -A own/home own/tmp"));
    assert_eq!(home.stdout, "own/home:\n\nown/tmp:\n", "{home:?}");
    let bound = run(&mut shell(
        &place,
        "$front exec -w -B /usr:/nosuch own true",
    ));
    assert_eq!(bound.code, 255, "{bound:?}");
    let file = run(&mut shell(&place, "$front exec -w $bb true"));
    assert!(file.stderr.contains("--overlay DIRECTORY"), "{file:?}");
}

#[test]
fn images_are_layers_and_data() {
    let place = directory();
    let make = "for one in a b; do mkdir -p $one/d; echo $one > $one/d/$one; echo $one > $one/d/both; \
                mksquashfs $one $one.sqfs -quiet -no-progress >/dev/null; done; rm -r a b; mkdir o";
    succeed(shell(&place, make).env("PATH", "/usr/bin:/bin"));
    let layers = "$front exec --overlay a.sqfs:ro --overlay b.sqfs:ro --overlay o $bb \
                  sh -c 'cat /d/a /d/b /d/both; echo new > /d/both; cat /d/both'";
    assert_eq!(succeed(&mut shell(&place, layers)), "a\nb\nb\nnew\n");
    let data = "$front exec -B a.sqfs:/x:image-src=/d,b.sqfs:/y:image-src=/ $bb \
                sh -c 'cat /x/a /y/d/b; touch /x/new || echo read-only'";
    let seen = run(&mut shell(&place, data));
    assert_eq!(seen.stdout, "a\nb\nread-only\n", "{seen:?}");
    // Two servers end with the container, and one that is stopped is continued.
    let ended = run(&mut shell(
        &place,
        "$front exec -C -B a.sqfs:/x:image-src=/d $bb cat /x/a; $front exec -B a.sqfs:/x:image-src=/none $bb true",
    ));
    assert_eq!(ended.stdout, "a\n", "{ended:?}");
    assert!(ended.stderr.contains("it has no /none"), "{ended:?}");
}

#[test]
fn an_ext3_image_is_a_layer_that_is_read() {
    let place = directory();
    let make = "$front overlay create --sparse --create-dir /opt/kept o.img 2>/dev/null && mkdir o";
    succeed(shell(&place, make).env("PATH", "/usr/bin:/bin"));
    let seen = run(&mut shell(
        &place,
        "$front -q exec --overlay o.img:ro --overlay o $bb sh -c 'ls -d /opt/kept; touch /opt/kept/x' && /bin/ls o/upper/opt/kept",
    ));
    assert_eq!(seen.stdout, "/opt/kept\nx\n", "{seen:?}");
    let written = run(&mut shell(&place, "$front exec --overlay o.img $bb true"));
    assert_eq!(written.code, 255, "{written:?}");
    assert!(
        written.stderr.contains("--overlay DIRECTORY"),
        "{written:?}"
    );
}

#[test]
fn a_hostile_layer_leads_nowhere() {
    let place = directory();
    succeed(&mut shell(
        &place,
        "/bin/mkdir o secret; /bin/ln -s ../secret o/upper",
    ));
    let seen = run(&mut shell(
        &place,
        "$front exec -C --overlay o $bb touch /x",
    ));
    assert_eq!(seen.code, 255, "{seen:?}");
    let left = run(&mut shell(&place, "/bin/ls -A secret"));
    assert_eq!(left.stdout, "", "{left:?}");
}
