//! What a Dockerfile's image runs, and secrets.

use tests::{run, saved, user_shell};

use super::context;

#[test]
fn a_program_has_the_environment_and_the_arguments() {
    let saved = saved();
    let text = "FROM BASE\nENV FINAL=1\nENTRYPOINT [\"sh\", \"-c\", \"echo $0 $FINAL $*\"]\nCMD [\"cmd\"]\n";
    let place = context(text, &saved.path().join("oci.tar"));
    let words = "$front -q build x.sif docker-build:. && $front run x.sif; $front run x.sif x y; \
                 $front inspect --deffile x.sif | /usr/bin/head -2 | /usr/bin/tail -1";
    let seen = run(&mut user_shell(&place, words));
    assert_eq!(seen.stdout, "cmd 1\nx 1 y\nENV FINAL=1\n", "{seen:?}");
}

#[test]
fn a_secret_stays_outside() {
    let saved = saved();
    let text = "FROM BASE\nRUN --mount=type=secret,id=s cat /run/secrets/s | tr a-z A-Z > /seen\n\
                RUN --mount=type=secret,id=t,target=/t,required=true cat /t >> /seen\n";
    let place = context(text, &saved.path().join("oci.tar"));
    let words = "echo word > a; echo other > b; $front -q build --secret id=s,src=a --secret id=t,src=b x.sif Dockerfile; \
                 $front exec x.sif sh -c 'cat /seen /run/secrets/s /t'; $front -q build --secret id=s,src=a y.sif Dockerfile; echo $?";
    let seen = run(&mut user_shell(&place, words));
    assert_eq!(seen.stdout, "WORD\nother\n255\n", "{seen:?}");
    assert!(
        seen.stderr.contains(
            "Dockerfile:3: --mount=type=secret,id=t,target=/t,required=true: give it with --secret"
        ),
        "{seen:?}"
    );
}

#[test]
fn a_hostile_base_leads_nowhere() {
    let saved = saved();
    // Links of an image that lead to the host's files, where a build writes.
    let text = "FROM BASE AS evil\nRUN ln -s /var/tmp /opt/out && ln -sfn /var/tmp /srv && rm -rf /etc/motd && ln -s /var/tmp/victim /etc/motd\n\
                FROM evil\nCOPY a.txt /opt/out/evil-1\nCOPY a.txt /etc/motd\nADD t.tgz /srv/\nWORKDIR /opt/out/evil-2\nCOPY --from=evil /etc/motd /m\n";
    let place = context(text, &saved.path().join("oci.tar"));
    let seen = run(
        user_shell(&place, "$front -q build -s box Dockerfile; echo $?")
            .env("PATH", "/usr/bin:/bin"),
    );
    // The last instruction reads a link that leads to nothing within the stage.
    assert_eq!(seen.stdout, "255\n", "{seen:?}");
    assert!(seen.stderr.contains("Dockerfile:8: "), "{seen:?}");
    for name in ["evil-1", "evil-2", "victim", "a.txt", "sub"] {
        assert!(
            !std::path::Path::new("/var/tmp").join(name).exists(),
            "{name}"
        );
    }
}
