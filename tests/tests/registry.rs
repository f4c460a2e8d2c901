//! Images in a registry: Debian's own, with and without TLS and passwords, and over ways that fail.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Fault, Faulty, Outcome, Place, Registry, is_bb, run, run_with_input, saved, succeed};

/// One line that says what is wrong, and nothing in the cache that is.
fn refused(place: &Place, outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
    assert_eq!(place.kept("images"), [""; 0]);
    for blob in place
        .kept("blobs/sha256")
        .iter()
        .filter(|name| !name.starts_with('.'))
    {
        let path = format!("{}/front/blobs/sha256/{blob}", place.file("cache"));
        let sum = succeed(Command::new("sha256sum").arg(path));
        assert!(sum.starts_with(blob), "a bad entry");
    }
}

/// An image of a few incompressible megabytes beside busybox, so that a break has something to break.
fn large(layout: &Path) {
    let home = tempfile::tempdir().unwrap();
    let random = home.path().join("random");
    succeed(Command::new("sh").arg("-c").arg(format!(
        "head -c 8000000 /dev/urandom >{}",
        random.display()
    )));
    let image = format!("{}:localhost/bb:1", layout.display());
    succeed(
        Command::new("umoci")
            .args(["insert", "--image", &image])
            .arg(&random)
            .arg("/random")
            .stderr(Stdio::null()),
    );
}

#[test]
fn an_image_is_pulled_once_and_run_from_the_cache() {
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    registry.push(&saved.path().join("layout"), "a/bb:1");
    let image = format!("docker://{}", registry.image("a/bb:1"));
    let first = run(&mut place.front(&["exec", &image, "cat", "/etc/os-release"]));
    assert_eq!(first.stdout, "NAME=bb\n", "{first:?}");
    assert!(first.stderr.contains("Converting"), "{first:?}");
    is_bb(&place.exec(&image));
    // By its digest it is the same image.
    let inspected = succeed(
        Command::new("skopeo")
            .args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"])
            .arg(&image),
    );
    let by_digest = format!("docker://{}@{}", registry.image("a/bb"), inspected.trim());
    is_bb(&place.exec(&by_digest));
    assert_eq!(place.kept("images").len(), 1);
    // A file of it is a program.
    succeed(&mut place.front(&["-q", "pull", &image]));
    assert_eq!(
        succeed(&mut place.front(&["run", "bb_1.sif"])),
        "it's $HOME\n"
    );
    let again = run(&mut place.front(&["pull", &image]));
    assert!(again.stderr.contains("exists; give --force"), "{again:?}");
    succeed(&mut place.front(&[
        "-q",
        "pull",
        "-F",
        "--dir",
        "/tmp",
        &place.file("bb_1.sif"),
        &image,
    ]));
    succeed(&mut place.front(&["-q", "pull", "--disable-cache", "other.sif", &image]));
    assert_eq!(
        fs::read(place.file("bb_1.sif")).unwrap().len(),
        fs::read(place.file("other.sif")).unwrap().len()
    );
}

#[test]
fn nothing_is_kept_where_nothing_shall_be() {
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    let scratch = place.file("scratch");
    fs::create_dir(&scratch).unwrap();
    succeed(Command::new("chmod").args(["777", &scratch]));
    let args = [
        "-q",
        "exec",
        "--disable-cache",
        &image,
        "cat",
        "/etc/os-release",
    ];
    is_bb(&run(place.front(&args).env("FRONT_TMPDIR", &scratch)));
    assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    assert!(!place.cache().exists());
}

#[test]
fn proxies_are_used_where_they_shall_be() {
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    // A name that nobody knows: only through the proxy, which is the registry itself, is there a way.
    let exec = |variables: &[(&str, &str)]| {
        let image = "docker://registry.invalid/bb:1";
        let mut command =
            place.front(&["-q", "exec", "--no-https", image, "cat", "/etc/os-release"]);
        command.envs(variables.iter().copied());
        run(&mut command)
    };
    let proxy = format!("http://127.0.0.1:{}", registry.port());
    refused(
        &place,
        &exec(&[("http_proxy", &proxy), ("no_proxy", "registry.invalid")]),
        &["cannot be reached"],
    );
    is_bb(&exec(&[("http_proxy", &proxy)]));
}

#[test]
fn where_the_registry_is_gone_the_image_is_still_there() {
    let (saved, mut registry, place) = (saved(), Registry::start(), Place::new());
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
    let empty = Place::new();
    refused(
        &empty,
        &empty.exec(&image),
        &["cannot be reached", "connection refused"],
    );
}

#[test]
fn what_is_not_there_is_said() {
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = |name: &str| format!("docker://{}", registry.image(name));
    refused(
        &place,
        &place.exec(&image("bb:nosuch")),
        &["bb:nosuch", "none of that name"],
    );
    refused(
        &place,
        &place.exec(&image("nosuch:1")),
        &["nosuch:1", "none of that name"],
    );
    // An index that has other architectures only.
    let layout = saved.path().join("layout");
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    index["manifests"][0]["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
    index["mediaType"] = "application/vnd.oci.image.index.v1+json".into();
    let text = index.to_string();
    let url = format!("http://{}/manifests/other", registry.image("v2/bb"));
    succeed(
        Command::new("curl")
            .args([
                "-fsS",
                "-X",
                "PUT",
                "-H",
                "Content-Type: application/vnd.oci.image.index.v1+json",
            ])
            .args(["-d", &text, &url]),
    );
    refused(
        &place,
        &place.exec(&image("bb:other")),
        &["no image for amd64", "s390x"],
    );
    let outcome = run(&mut place.front(&["pull", "--arch", "s390x", "x.sif", &image("bb:other")]));
    assert_eq!(
        outcome.code, 0,
        "it can be pulled all the same: {outcome:?}"
    );
}

#[test]
fn a_registry_with_passwords_lets_in_who_knows_one() {
    let (saved, registry, place) = (saved(), Registry::closed(), Place::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    let host = format!("docker://localhost:{}", registry.port());
    // Nobody vouches for its certificate.
    let outcome = place.exec(&image);
    refused(&place, &outcome, &["cannot be reached", "ertificate"]);
    let trusting = |args: &[&str]| {
        let mut command = place.front(args);
        command.env("SSL_CERT_FILE", registry.certificate());
        command
    };
    fs::set_permissions(
        registry.certificate().parent().unwrap(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let cat =
        |command: &mut Command| run(command.args(["-q", "exec", &image, "cat", "/etc/os-release"]));
    refused(
        &place,
        &cat(&mut trusting(&[])),
        &["bb:1", "everybody", "registry login"],
    );
    let wrong = cat(trusting(&[])
        .env("SINGULARITY_DOCKER_USERNAME", "user")
        .env("SINGULARITY_DOCKER_PASSWORD", "wrong"));
    refused(&place, &wrong, &["bb:1", "\"user\" with this password"]);
    let login = |password: &str| {
        let args = ["registry", "login", "-u", "user", "--password-stdin", &host];
        run_with_input(&mut trusting(&args), password.as_bytes())
    };
    let outcome = login("wrong\n");
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert!(
        outcome.stderr.contains("\"user\" with this password"),
        "{outcome:?}"
    );
    assert_eq!(login("secret\n").code, 0);
    let listed = succeed(&mut place.front(&["registry", "list"]));
    assert!(
        listed.contains(&format!("localhost:{}", registry.port())),
        "{listed}"
    );
    is_bb(&cat(&mut trusting(&[])));
    succeed(&mut place.front(&["registry", "logout", &host]));
    // Each way to say who one is, each with a cache of its own.
    let right = [("USERNAME", "user"), ("PASSWORD", "secret")];
    for family in ["SINGULARITY", "APPTAINER"] {
        let other = Place::new();
        let mut command = other.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
        command.env("SSL_CERT_FILE", registry.certificate());
        command.envs(right.map(|(name, value)| (format!("{family}_DOCKER_{name}"), value)));
        is_bb(&run(&mut command));
    }
    let auth = serde_json::json!({"auths": {format!("localhost:{}", registry.port()): {"auth": "dXNlcjpzZWNyZXQ="}}});
    fs::write(place.file("auth.json"), auth.to_string()).unwrap();
    fs::write(
        place.file("docker-credential-front"),
        "#!/bin/sh\ncat >/dev/null\necho '{\"Username\": \"user\", \"Secret\": \"secret\"}'\n",
    )
    .unwrap();
    tests::open_to_all(Path::new(&place.file("docker-credential-front")));
    let helper =
        serde_json::json!({"credHelpers": {format!("localhost:{}", registry.port()): "front"}});
    fs::write(place.file("helper.json"), helper.to_string()).unwrap();
    for file in ["auth.json", "helper.json"] {
        let other = Place::new();
        let mut command = other.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
        command
            .env("SSL_CERT_FILE", registry.certificate())
            .env("PATH", format!("{}:/usr/bin:/bin", place.path().display()))
            .env("REGISTRY_AUTH_FILE", place.file(file));
        is_bb(&run(&mut command));
    }
    let other = Place::new();
    let mut command = other.front(&["-q", "exec", "--no-https", &image, "cat", "/etc/os-release"]);
    command.env("REGISTRY_AUTH_FILE", place.file("auth.json"));
    is_bb(&run(&mut command));
}

/// As `openssl req -x509` makes one, which OpenSSL and Go take for a server's too.
#[test]
fn webpki_205_a_servers_own_certificate_may_be_an_authoritys() {
    let saved = saved();
    for extensions in [
        "basicConstraints = critical, CA:TRUE",
        "basicConstraints = CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign, digitalSignature",
        "basicConstraints = CA:TRUE, pathlen:0\nsubjectKeyIdentifier = hash\n\
         authorityKeyIdentifier = keyid:always, issuer",
    ] {
        let (registry, place) = (Registry::certified(extensions), Place::new());
        registry.push(&saved.path().join("layout"), "bb:1");
        let home = registry.certificate();
        tests::open_to_all(home.parent().unwrap());
        let exec = |host: &str, certificate: &Path| {
            let image = format!("docker://{host}:{}/bb:1", registry.port());
            let mut command = place.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
            run(command.env("SSL_CERT_FILE", certificate))
        };
        // Others that nobody vouches for, and other names, are refused.
        let other = Registry::certified(extensions);
        tests::open_to_all(other.certificate().parent().unwrap());
        let outcome = exec("localhost", &other.certificate());
        refused(&place, &outcome, &["cannot be reached", "ertificate"]);
        let outcome = exec("127.0.0.1", &registry.certificate());
        refused(
            &place,
            &outcome,
            &["cannot be reached", "not valid for name"],
        );
        is_bb(&exec("localhost", &registry.certificate()));
        // A push trusts the same servers.
        let target = format!("oras://localhost:{}/sif:1", registry.port());
        let sif = tests::fixture("bb.sif").display().to_string();
        let mut push = place.front(&["push", "-U", &sif, &target]);
        succeed(push.env("SSL_CERT_FILE", registry.certificate()));
    }
}

#[test]
fn a_connection_that_breaks_is_taken_up_where_it_broke() {
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    // Three megabytes a connection: three breaks on the way.
    let way = Faulty::before(registry.port(), Fault::Cut(3_000_000));
    let image = format!("docker://localhost:{}/large:1", way.port());
    is_bb(&place.exec(&image));
    assert!(way.connections() > 3, "{way:?}");
    assert!(way.bytes() < 12_000_000, "nothing came twice: {way:?}");
}

#[test]
fn a_registry_that_dies_half_way_and_comes_back_is_waited_for() {
    let (saved, mut registry, place) = (saved(), Registry::start(), Place::new());
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
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    let mut child = {
        let way = Faulty::before(registry.port(), Fault::Cut(2_000_000));
        let image = format!("docker://localhost:{}/large:1", way.port());
        let mut command = place.front(&["-q", "exec", &image, "true"]);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        // What has come is what is written: more may be on the way.
        tests::wait_for("a part", Duration::from_secs(20), || {
            let entries = fs::read_dir(place.cache().join("blobs/sha256"));
            let sizes = entries.into_iter().flatten().flatten();
            let sizes = sizes.filter_map(|entry| Some(entry.metadata().ok()?.len()));
            sizes.sum::<u64>() > 2_500_000
        });
        child
    };
    // Killed on the way: what came is there for the next.
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
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
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
    // The same by the registry's own fault, of the same length.
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
    // And one that was cut.
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
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
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

#[test]
fn sixty_four_at_once_are_one_download() {
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    let layout = saved.path().join("layout");
    large(&layout);
    registry.push(&layout, "large:1");
    let image = format!("docker://{}", registry.image("large:1"));
    let children: Vec<_> = (0..64)
        .map(|_| {
            let mut command = place.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        is_bb(&child.wait_with_output().unwrap().into());
    }
    let layers = 2;
    let config = 1;
    assert_eq!(registry.served("/blobs/"), layers + config);
    assert_eq!(place.kept("images").len(), 1);
    assert_eq!(place.kept("blobs/sha256").len(), layers + config);
}

#[test]
fn a_mirror_is_asked_first() {
    let (saved, registry, mirror, place) =
        (saved(), Registry::start(), Registry::start(), Place::new());
    let layout = saved.path().join("layout");
    registry.push(&layout, "bb:1");
    mirror.push(&layout, "bb:1");
    let site = format!(
        "[[registry]]\nlocation = \"localhost:{}\"\n[[registry.mirror]]\nlocation = \"localhost:{}\"\n",
        registry.port(),
        mirror.port()
    );
    fs::write(place.file("front.toml"), site).unwrap();
    let image = format!("docker://{}", registry.image("bb:1"));
    let exec = || {
        let mut command = place.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
        is_bb(&run(command.env("FRONT_CONFIG", place.file("front.toml"))));
    };
    exec();
    assert_eq!(
        (registry.served("/blobs/"), mirror.served("/blobs/")),
        (0, 2)
    );
    // One that is gone is passed over.
    drop(mirror);
    succeed(&mut place.front(&["-q", "cache", "clean", "-f"]));
    exec();
    assert_eq!(registry.served("/blobs/"), 2);
}

#[test]
fn a_sif_goes_to_a_registry_and_comes_back() {
    let (saved, registry, place) = (saved(), Registry::start(), Place::new());
    let layout = format!("oci:{}", saved.path().join("layout").display());
    let sif = place.file("bb.sif");
    succeed(&mut place.front(&["-q", "build", &sif, &layout]));
    let target = format!("oras://{}", registry.image("sifs/bb:1"));
    succeed(&mut place.front(&["-q", "push", &sif, &target]));
    is_bb(&place.exec(&target));
    is_bb(&place.exec(&target));
    succeed(&mut place.front(&["-q", "pull", "back.sif", &target]));
    assert!(fs::read(&sif).unwrap() == fs::read(place.file("back.sif")).unwrap());
    // One with layers, as it is.
    let docker = format!("docker://{}", registry.image("pushed:1"));
    succeed(&mut place.front(&["-q", "push", &layout, &docker]));
    is_bb(&place.exec(&docker));
    let archive = format!(
        "docker-archive:{}",
        saved.path().join("docker.tar").display()
    );
    let docker = format!("docker://{}", registry.image("pushed:2"));
    succeed(&mut place.front(&["-q", "push", &archive, &docker]));
    is_bb(&place.exec(&docker));
    let labels = succeed(&mut place.front(&["-q", "inspect", &docker]));
    assert!(labels.contains("org.example.of: us"), "{labels}");
    // What is no SIF is not taken for one.
    let wrong = format!("oras://{}", registry.image("pushed:1"));
    let outcome = place.exec(&wrong);
    assert!(outcome.stderr.contains("there is no SIF"), "{outcome:?}");
    let outcome = run(&mut place.front(&["push", &sif, &docker]));
    assert!(
        outcome.stderr.contains("a SIF goes to oras://"),
        "{outcome:?}"
    );
}
