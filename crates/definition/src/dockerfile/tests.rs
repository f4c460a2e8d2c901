use super::*;

fn read(text: &str) -> Dockerfile {
    parse(text).unwrap()
}

fn kinds(text: &str) -> Vec<Kind> {
    let stages = read(&format!("FROM a\n{text}")).stages;
    let all = stages.into_iter().flat_map(|stage| stage.instructions);
    all.map(|one| one.kind).collect()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn stages_have_names_and_bases() {
    let file = read(
        "# syntax=docker/dockerfile:1\nARG V=1\nfrom --platform=$B a:${V} As Build\nRUN x\nFROM build\nFROM scratch as c\n",
    );
    let names: Vec<_> = file
        .stages
        .iter()
        .map(|one| (one.line, one.base.as_str(), one.name.as_deref()))
        .collect();
    assert_eq!(
        names,
        [
            (3, "a:${V}", Some("build")),
            (5, "build", None),
            (6, "scratch", Some("c"))
        ]
    );
    assert_eq!(file.stages[0].platform.as_deref(), Some("$B"));
    assert_eq!(
        file.arguments[0].kind,
        Kind::Arg(vec![("V".to_owned(), Some("1".to_owned()))])
    );
}

#[test]
fn lines_are_joined() {
    let found =
        kinds("RUN a && \\\n  # a comment\n\n  b \\  \n  c\nRUN [\"a\", \"b c\"]\nRUN [ a ]\n");
    assert_eq!(
        found,
        [
            Kind::Run(Command::Shell("a &&   b   c".to_owned()), vec![]),
            Kind::Run(Command::Exec(strings(&["a", "b c"])), vec![]),
            Kind::Run(Command::Shell("[ a ]".to_owned()), vec![]),
        ]
    );
    let file = read("# escape=`\nFROM a\nRUN a `\n b \\\n");
    assert_eq!(file.escape, '`');
    assert_eq!(file.stages[0].instructions[0].text, "RUN a  b \\");
}

#[test]
fn here_documents_belong_to_their_lines() {
    let found = kinds(
        "RUN cat <<'X' > /x && cat <<-Y\n a $b\nX\n\tc\n\tY\nCOPY <<EOF /d\nRUN\nEOF\nRUN true\n",
    );
    let Kind::Run(_, documents) = &found[0] else {
        panic!("{found:?}")
    };
    let seen: Vec<_> = documents
        .iter()
        .map(|one| (one.name.as_str(), one.expands, one.text.as_str()))
        .collect();
    assert_eq!(seen, [("X", false, " a $b\n"), ("Y", true, "c\n")]);
    assert_eq!(documents[1].source, "\tc\n\tY\n");
    let Kind::Copy {
        sources,
        documents,
        target,
        ..
    } = &found[1]
    else {
        panic!("{found:?}")
    };
    assert_eq!(
        (
            sources[0].as_str(),
            target.as_str(),
            documents[0].text.as_str()
        ),
        ("<<EOF", "/d", "RUN\n")
    );
    assert_eq!(found.len(), 3);
}

#[test]
fn pairs_may_be_quoted_or_old() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let found = kinds("ENV A=b C=\"d e\" F=g\\ h\nENV OLD style  value\nLABEL a.b=c \"d e\"=f\n");
    assert_eq!(
        found[0],
        Kind::Env(vec![
            pair("A", "b"),
            pair("C", "\"d e\""),
            pair("F", "g\\ h")
        ])
    );
    assert_eq!(found[1], Kind::Env(vec![pair("OLD", "style  value")]));
    assert_eq!(
        found[2],
        Kind::Label(vec![pair("a.b", "c"), pair("\"d e\"", "f")])
    );
}

#[test]
fn words_are_expanded() {
    let value = |name: &str| match name {
        "A" => Some("a".to_owned()),
        "E" => Some(String::new()),
        _ => None,
    };
    let rows = [
        ("x$A-y", "xa-y"),
        ("${A}b$N", "ab"),
        ("'$A' \"$A\"", "$A a"),
        ("\\$A \"\\$A\\n\"", "$A $A\\n"),
        ("${N:-d$A}", "da"),
        ("${E:-d} ${E-d}", "d "),
        ("${A:+s} ${N:+s} ${E+s}", "s  s"),
        ("${N:-${A}}", "a"),
        ("$", "$"),
        ("a\\ b", "a b"),
    ];
    for (word, expected) in rows {
        assert_eq!(expand(word, '\\', &value).unwrap(), expected, "{word}");
    }
    for word in ["${A", "\"a", "${A%x}", "${}", "${N:?needed}"] {
        assert!(expand(word, '\\', &value).is_err(), "{word}");
    }
}

#[test]
fn faults_have_a_line() {
    let rows = [
        ("", "1:1: there is no FROM"),
        ("RUN a\n", "1:1: RUN stands above the first FROM"),
        (
            "FROM a\n\nRNU x\n",
            "3:1: unknown instruction: RNU; did you mean RUN?",
        ),
        (
            "FROM a b\n",
            "1:1: FROM a b: expected FROM IMAGE, or FROM IMAGE AS NAME",
        ),
        (
            "FROM\n",
            "1:1: FROM : expected FROM IMAGE, or FROM IMAGE AS NAME",
        ),
        ("FROM a\nRUN\n", "2:1: RUN requires at least one argument"),
        (
            "FROM a\nCOPY a\n",
            "2:1: COPY requires at least two arguments: sources, and a target",
        ),
        (
            "FROM a\nCOPY --form=b a b\n",
            "2:1: COPY: unknown flag: --form; did you mean --from?",
        ),
        ("FROM a\nENV A\n", "2:1: ENV expects NAME=VALUE pairs"),
        ("FROM a\nSHELL sh\n", "2:1: SHELL expects a JSON array"),
        (
            "FROM a\nRUN <<E\nx\n",
            "2:1: the here-document E does not end",
        ),
        ("# escape=x\nFROM a\n", "1:1: escape=x: expected \\ or `"),
    ];
    for (text, expected) in rows {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    }
}
