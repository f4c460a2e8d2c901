//! Connections that break, registries that are gone, and data that is damaged.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Fault, Faulty, Registry, TestDirectory, is_bb, run, saved, succeed};

use super::{large, refused};

#[test]
fn where_the_registry_is_gone_the_image_is_still_there() {
    let (saved, mut registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    is_bb(&place.exec(&image));
    registry.down();
    let outcome = run(&mut place.front(&["exec", &image, "cat", "/etc/os-release"]));
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("NAME=bb\n", 0));
    assert!(
        outcome.stderr.contains("using what it was when last seen"),
        "{outcome:?}"
    );
    let empty = TestDirectory::new();
    refused(
        &empty,
        &empty.exec(&image),
        &["cannot be reached", "connection refused"],
    );
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    // Three megabytes for each connection, so it breaks three times.
    let way = Faulty::before(registry.port(), Fault::Cut(3_000_000));
    let image = format!("docker://localhost:{}/large:1", way.port());
    is_bb(&place.exec(&image));
    assert!(way.connections() > 3, "{way:?}");
    assert!(way.bytes() < 12_000_000, "nothing came twice: {way:?}");
}

#[test]
fn a_registry_that_dies_half_way_and_comes_back_is_waited_for() {
    let (saved, mut registry, place) = (saved(), Registry::start(), TestDirectory::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    let way = Faulty::before(registry.port(), Fault::CutFirst(2, 2_000_000));
    let image = format!("docker://localhost:{}/large:1", way.port());
    let mut command = place.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tests::wait_for("the download", Duration::from_secs(20), || {
        way.bytes() > 1_000_000
    });
    registry.down();
    std::thread::sleep(Duration::from_secs(2));
    registry.up();
    is_bb(&child.wait_with_output().unwrap().into());
}

#[test]
fn what_stays_broken_is_said_and_taken_up_by_the_next() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    let mut child = {
        let way = Faulty::before(registry.port(), Fault::Cut(2_000_000));
        let image = format!("docker://localhost:{}/large:1", way.port());
        let mut command = place.front(&["-q", "exec", &image, "true"]);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        // The bytes that are written have arrived; more may be in transit.
        tests::wait_for("a part", Duration::from_secs(20), || {
            let entries = fs::read_dir(place.cache().join("blobs/sha256"));
            let sizes = entries.into_iter().flatten().flatten();
            let sizes = sizes.filter_map(|entry| Some(entry.metadata().ok()?.len()));
            sizes.sum::<u64>() > 2_500_000
        });
        child
    };
    // Killed in the middle: the next run can use the bytes that have arrived.
    child.kill().unwrap();
    child.wait().unwrap();
    let way = Faulty::before(registry.port(), Fault::CutFirst(0, 0));
    let image = format!("docker://localhost:{}/large:1", way.port());
    is_bb(&place.exec(&image));
    assert!(way.bytes() < 7_500_000, "{way:?}");
    assert!(
        place
            .kept("blobs/sha256")
            .iter()
            .all(|name| !name.starts_with('.'))
    );
}

#[test]
fn a_layer_that_is_another_than_its_digest_says_is_refused() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    let way = Faulty::before(registry.port(), Fault::Corrupt(1_500_000));
    let image = format!("docker://localhost:{}/large:1", way.port());
    let start = Instant::now();
    refused(
        &place,
        &place.exec(&image),
        &["layer", "the content is another"],
    );
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "there is no hope in trying again"
    );
    // The same with damaged data in the registry, of the same length.
    let blobs = registry.data().join("docker/registry/v2/blobs/sha256");
    let largest = succeed(Command::new("sh").arg("-c").arg(format!(
        "find {} -name data -size +4M | head -n 1",
        blobs.display()
    )));
    let largest = largest.trim();
    let mut content = fs::read(largest).unwrap();
    content[100] ^= 1;
    fs::write(largest, &content).unwrap();
    let direct = format!("docker://{}", registry.image("large:1"));
    refused(
        &place,
        &place.exec(&direct),
        &["layer", "the content is another"],
    );
    // And with data that was cut.
    content.truncate(500_000);
    fs::write(largest, &content).unwrap();
    let outcome = place.exec(&direct);
    assert_eq!(
        (outcome.code, outcome.stderr.lines().count()),
        (255, 1),
        "{outcome:?}"
    );
}

#[test]
fn an_entry_of_the_cache_that_was_damaged_is_fetched_again() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    is_bb(&place.exec(&image));
    for blob in place.kept("blobs/sha256") {
        let path = format!("{}/front/blobs/sha256/{blob}", place.file("cache"));
        let length = fs::metadata(&path).unwrap().len();
        if length > 10_000 {
            fs::write(&path, vec![0; usize::try_from(length).unwrap()]).unwrap();
        }
    }
    succeed(&mut place.front(&["-q", "cache", "clean", "-f", "-T", "oci"]));
    is_bb(&place.exec(&image));
}
