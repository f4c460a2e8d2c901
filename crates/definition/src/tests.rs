use std::collections::BTreeMap;

use super::*;

fn read(text: &str) -> Definition {
    parse(text, &BTreeMap::new()).unwrap()
}

fn fault(text: &str) -> String {
    parse(text, &BTreeMap::new()).unwrap_err().to_string()
}

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_header_has_keywords_comments_and_continued_lines() {
    let text = "# a comment\n\nBootStrap: docker # trailing\nFrom : debian:12\nInclude: a \\\n  b\nOtherURL12: x\n";
    let header = &read(text).stages[0].header;
    let found: Vec<_> = header.iter().collect();
    assert_eq!(
        found,
        [
            ("bootstrap", "docker"),
            ("from", "debian:12"),
            ("include", "a b"),
            ("otherurl12", "x")
        ]
    );
    assert_eq!(header.line("from"), Some(4));
    // Keywords may stand above the first Bootstrap.
    let first = read("From: a\nBootstrap: docker\n%post\ntrue\n");
    assert_eq!(first.stages.len(), 1);
    assert_eq!(first.stages[0].header.get("from"), Some("a"));
}

#[test]
fn sections_are_added_up() {
    let text = "Bootstrap: scratch\n%post -c /bin/bash # why\n  echo a # b\n\n%Post\necho c\n%environment\nexport A=b\n";
    let stage = &read(text).stages[0];
    let post = stage.post.as_ref().unwrap();
    assert_eq!(post.text, "  echo a # b\n\necho c\n");
    assert_eq!((post.arguments.as_str(), post.line), ("-c /bin/bash", 2));
    assert_eq!(stage.environment.as_ref().unwrap().text, "export A=b\n");
}

#[test]
fn files_and_labels_are_lists() {
    let text = "Bootstrap: scratch\n%files\n a\n\"b c\" /d\n'e' \"f g\" # h\n# i\nj # k\n%files from one # l\n/m /n\n\
                %labels\nA b c\n# no\nD\n";
    let stage = &read(text).stages[0];
    let files: Vec<_> = { stage.files.iter() }
        .map(|one| {
            (
                one.from.as_deref(),
                one.source.as_str(),
                one.target.as_str(),
                one.line,
            )
        })
        .collect();
    assert_eq!(
        files,
        [
            (None, "a", "", 3),
            (None, "b c", "/d", 4),
            (None, "e", "f g", 5),
            (None, "j", "", 7),
            (Some("one"), "/m", "/n", 9)
        ]
    );
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(stage.labels, [pair("A", "b c"), pair("D", "")]);
}

#[test]
fn stages_begin_at_each_bootstrap() {
    let text = "Bootstrap: docker\nFrom: a\nStage: one\n%post\ntrue\nbootstrap: docker\nFrom: b\n%files from one\n/x\n";
    let definition = read(text);
    let lines: Vec<_> = definition.stages.iter().map(|stage| stage.line).collect();
    assert_eq!(lines, [1, 6]);
    assert_eq!(definition.text, text);
    assert_eq!(definition.stages[0].header.get("stage"), Some("one"));
}

#[test]
fn applications_are_collected() {
    let text = "Bootstrap: scratch\n%apprun foo\nexec a\n%appinstall bar\nb\n%applabels foo\nA b\n%appfiles foo\nx y\n";
    let apps = &read(text).stages[0].apps;
    assert_eq!(apps[0].name, "foo");
    assert_eq!(apps[0].runscript.as_ref().unwrap().text, "exec a\n");
    assert_eq!(apps[0].labels.as_ref().unwrap().len(), 1);
    assert_eq!(apps[0].files[0].target, "y");
    assert_eq!(apps[1].install.as_ref().unwrap().line, 4);
}

#[test]
fn variables_have_values() {
    let text = "Bootstrap: docker\nFrom: debian:{{ V }}\n%arguments\nV=11\nW=w{{V}}\n%post\n\
                echo {{W}} {{ V }} {{ v x }} # {{ NONE }}\n#{{ V }}\n";
    let given = values(&[("V", "12"), ("X", "y")]);
    let definition = parse(text, &given).unwrap();
    let stage = &definition.stages[0];
    assert_eq!(stage.header.get("from"), Some("debian:12"));
    let post = &stage.post.as_ref().unwrap().text;
    assert_eq!(post, "echo w12 12 {{ v x }} # {{ NONE }}\n#12\n");
    assert_eq!(definition.unused, ["X"]);
    assert_eq!(
        fault("Bootstrap: docker\n%post\n  echo {{ A }}\n"),
        "3:8: build var A is not defined through either --build-arg (--build-arg-file) or 'arguments' section"
    );
}

#[test]
fn faults_have_a_place_and_a_suggestion() {
    let rows = [
        ("", "1:1: the definition file is empty"),
        ("# x\n", "1:1: the definition file is empty"),
        (
            "Bootstrap: docker\nForm: x\n",
            "2:1: invalid header keyword found: form; did you mean from?",
        ),
        (
            "Bootstrap: docker\n  debian\n",
            "2:3: header key debian had no val: expected KEYWORD: VALUE, or a section such as %post",
        ),
        (
            "Bootstrap: docker\n%pots\n",
            "2:1: invalid section(s) specified: pots; did you mean %post?",
        ),
        (
            "Bootstrap: docker\n%\n",
            "2:1: invalid section(s) specified: ",
        ),
        (
            "Bootstrap: docker\n%apprun\n",
            "2:1: %apprun: the application's name is missing",
        ),
        (
            "Bootstrap: docker\n%apprun ../x\n",
            "2:1: %apprun ../x: not the name of an application",
        ),
        (
            "Bootstrap: docker\n%files form x\n",
            "2:1: %files form x: expected %files, or %files from STAGE",
        ),
        (
            "Bootstrap: docker\n%files\n\"\" x\n",
            "3:1: the name of a file is empty",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(fault(text), expected, "{text}");
    }
}
