//! Names and links that would lead outside of the unpacked tree.

use tests::Member;

use super::Outside;

/// A name for what is tried, and layers.
type Case = (&'static str, Vec<Vec<Member>>);

fn changed(name: &[u8]) -> Member {
    Member::file(name, b"changed")
}

fn at(outside: &[u8], name: &[u8]) -> Vec<u8> {
    [outside, b"/", name].concat()
}

/// Names that lead outside themselves.
fn names(outside: &[u8]) -> Vec<Case> {
    let up = |name: &[u8]| [&b"../".repeat(40), name].concat();
    let secret = |prefix: &[u8]| [prefix, &outside[1..], b"/secret"].concat();
    vec![
        ("a parent", vec![vec![changed(b"../outside/secret")]]),
        ("many parents", vec![vec![changed(&secret(&up(b"")))]]),
        (
            "a parent in the middle",
            vec![vec![changed(b"a/b/../../../outside/secret")]],
        ),
        (
            "an absolute name",
            vec![vec![changed(&at(outside, b"secret"))]],
        ),
    ]
}

/// Symbolic links, and files through them.
fn links(outside: &[u8]) -> Vec<Case> {
    vec![
        (
            "a link to a directory outside, and a file in it",
            vec![vec![
                Member::link(b'2', b"a", outside),
                changed(b"a/secret"),
                changed(b"a/new"),
            ]],
        ),
        (
            "the same in two layers",
            vec![
                vec![Member::link(b'2', b"a", outside)],
                vec![changed(b"a/secret"), changed(b"a/new")],
            ],
        ),
        (
            "links through links",
            vec![vec![
                Member::link(b'2', b"a", b".."),
                Member::link(b'2', b"b", b"a/.."),
                Member::link(b'2', b"c", b"b/../../../../../../../../../.."),
                changed(&[b"c/", &outside[1..], b"/secret"].concat()),
            ]],
        ),
        (
            "a link that is a file's own name",
            vec![vec![
                Member::link(b'2', b"a", &at(outside, b"secret")),
                changed(b"a"),
            ]],
        ),
        (
            "the same in two layers, as a file",
            vec![
                vec![Member::link(b'2', b"a", &at(outside, b"secret"))],
                vec![changed(b"a")],
            ],
        ),
    ]
}

/// Hard links to files outside.
fn hard_links(outside: &[u8]) -> Vec<Case> {
    vec![
        (
            "a hard link outside",
            vec![vec![
                Member::link(b'1', b"a", &at(outside, b"secret")),
                changed(b"a"),
            ]],
        ),
        (
            "a hard link by parents",
            vec![vec![
                Member::link(b'1', b"a", b"../outside/secret"),
                changed(b"a"),
            ]],
        ),
        (
            "a hard link to a link outside",
            vec![vec![
                Member::link(b'2', b"s", &at(outside, b"secret")),
                Member::link(b'1', b"a", b"s"),
                changed(b"a"),
            ]],
        ),
        (
            "a hard link through a link",
            vec![vec![
                Member::link(b'2', b"s", outside),
                Member::link(b'1', b"a", b"s/secret"),
                changed(b"a"),
            ]],
        ),
    ]
}

/// Whiteouts, which delete files of lower layers.
fn whiteouts(outside: &[u8]) -> Vec<Case> {
    vec![
        (
            "a whiteout of a parent",
            vec![
                vec![changed(b"x")],
                vec![
                    changed(b"../outside/.wh.secret"),
                    changed(b".wh..."),
                    changed(b".wh.."),
                    changed(b"a/.wh..wh..opq"),
                ],
            ],
        ),
        (
            "a whiteout through a link",
            vec![
                vec![Member::link(b'2', b"a", outside)],
                vec![changed(b"a/.wh.secret"), changed(b"a/.wh..wh..opq")],
            ],
        ),
    ]
}

/// Members that are no files, and those that take the place of others.
fn others(outside: &[u8]) -> Vec<Case> {
    vec![
        (
            "devices",
            vec![vec![
                Member {
                    kind: b'3',
                    ..changed(b"null")
                },
                Member {
                    kind: b'4',
                    ..changed(b"sda")
                },
                Member::link(b'1', b"a", b"null"),
                changed(b"null/x"),
                Member {
                    kind: b'6',
                    ..changed(b"fifo")
                },
            ]],
        ),
        (
            "a directory that is a link's",
            vec![
                vec![Member::link(b'2', b"a", outside)],
                vec![
                    Member {
                        kind: b'5',
                        mode: 0o777,
                        ..changed(b"a")
                    },
                    changed(b"a/secret"),
                ],
            ],
        ),
        (
            "the root itself",
            vec![vec![
                Member {
                    kind: b'5',
                    mode: 0,
                    ..changed(b"./")
                },
                Member::link(b'2', b".", outside),
                changed(b"/"),
                changed(b""),
            ]],
        ),
        (
            "Singularity's own place",
            vec![vec![
                Member::link(b'2', b".singularity.d", outside),
                Member::link(b'2', b"environment", &at(outside, b"secret")),
                Member::link(b'2', b"singularity", &at(outside, b"secret")),
                Member::link(b'2', b"etc", outside),
            ]],
        ),
    ]
}

#[test]
fn no_name_and_no_link_leads_outside() {
    let place = Outside::new();
    let outside = place.file("outside");
    let outside = outside.as_os_str().as_encoded_bytes();
    for cases in [names, links, hard_links, whiteouts, others] {
        for (what, layers) in cases(outside) {
            place.image(&layers);
            place.is_safe(what);
        }
    }
}
