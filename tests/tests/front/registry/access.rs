//! The way to a registry: certificates, passwords, proxies and mirrors.

use std::fs;
use std::path::Path;
use std::process::Command;

use tests::{Registry, TestDirectory, is_bb, run, run_with_input, saved, succeed};

use super::refused;

#[test]
fn proxies_are_used_where_they_shall_be() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    // A name that cannot be resolved: it is reached only through the proxy, which is the registry
    // itself.
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
fn a_registry_with_passwords_lets_in_who_knows_one() {
    let (saved, registry, place) = (saved(), Registry::closed(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "bb:1");
    let image = format!("docker://{}", registry.image("bb:1"));
    let host = format!("docker://localhost:{}", registry.port());
    // Its certificate is not trusted.
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
    each_way_to_give_credentials_works(&registry, &place, &image);
}

/// Each way has a cache of its own, because a cached image would need no credentials.
fn each_way_to_give_credentials_works(registry: &Registry, place: &TestDirectory, image: &str) {
    let right = [("USERNAME", "user"), ("PASSWORD", "secret")];
    for family in ["SINGULARITY", "APPTAINER"] {
        let other = TestDirectory::new();
        let mut command = other.front(&["-q", "exec", image, "cat", "/etc/os-release"]);
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
        let other = TestDirectory::new();
        let mut command = other.front(&["-q", "exec", image, "cat", "/etc/os-release"]);
        command
            .env("SSL_CERT_FILE", registry.certificate())
            .env("PATH", format!("{}:/usr/bin:/bin", place.path().display()))
            .env("REGISTRY_AUTH_FILE", place.file(file));
        is_bb(&run(&mut command));
    }
    let other = TestDirectory::new();
    let mut command = other.front(&["-q", "exec", "--no-https", image, "cat", "/etc/os-release"]);
    command.env("REGISTRY_AUTH_FILE", place.file("auth.json"));
    is_bb(&run(&mut command));
}

/// A certificate as `openssl req -x509` makes it, which OpenSSL and Go also accept for a server.
#[test]
fn webpki_205_a_servers_own_certificate_may_be_an_authoritys() {
    let saved = saved();
    for extensions in [
        "basicConstraints = critical, CA:TRUE",
        "basicConstraints = CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign, digitalSignature",
        "basicConstraints = CA:TRUE, pathlen:0\nsubjectKeyIdentifier = hash\n\
         authorityKeyIdentifier = keyid:always, issuer",
    ] {
        let (registry, place) = (Registry::certified(extensions), TestDirectory::new());
        registry.push(&saved.path().join("layout"), "bb:1");
        let home = registry.certificate();
        tests::open_to_all(home.parent().unwrap());
        let exec = |host: &str, certificate: &Path| {
            let image = format!("docker://{host}:{}/bb:1", registry.port());
            let mut command = place.front(&["-q", "exec", &image, "cat", "/etc/os-release"]);
            run(command.env("SSL_CERT_FILE", certificate))
        };
        // Other untrusted certificates, and other names, are refused.
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
fn a_mirror_is_asked_first() {
    let (saved, registry, mirror, place) = (
        saved(),
        Registry::start(),
        Registry::start(),
        TestDirectory::new(),
    );
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
    // A mirror that is gone is skipped.
    drop(mirror);
    succeed(&mut place.front(&["-q", "cache", "clean", "-f"]));
    exec();
    assert_eq!(registry.served("/blobs/"), 2);
}
