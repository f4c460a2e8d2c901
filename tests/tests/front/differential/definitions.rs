//! Definition files, built by the real Apptainer and by `front`: the trees, their modes, the metadata
//! and the scripts are compared.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{RECORD, install, record, seen};

const DEFINITIONS: &str = include_str!("definitions.txt");

/// The commands around a build. Comments of scripts are each program's own, and so are the last
/// environment scripts.
const BEFORE: &str = "mkdir -p src/sub; echo a > src/a; echo b > src/b.c; chmod 755 src/b.c; echo c > src/sub/c; \
    ln -s a src/link; echo blank > 'src/with blank'; chmod 664 src/a";
const AFTER: &str = r#"code=$?; [ $code = 0 ] || exit $code
(cd d && find . \( -path ./bin -o -path ./dev -o -name '9[5-9]*.sh' -o -path './.singularity.d/actions' \
    -o -path ./.singularity.d/test \) -prune -o -printf '%M %p %l\n' | LC_ALL=C sort)
for file in runscript startscript runscript.help env/90-environment.sh env/91-environment.sh; do
    [ -f d/.singularity.d/$file ] || continue
    echo "-- $file"; grep -v '^#[^!]' d/.singularity.d/$file | sed 's/ *$//' | grep .
done
echo "-- definition"; cat d/.singularity.d/Singularity
echo "-- opt"; for file in $(find d/opt -type f -perm -400 2>/dev/null | LC_ALL=C sort); do echo "$file:"; cat "$file" 2>/dev/null; done
echo "-- labels"; {} inspect --labels d | grep -v 'build-date\|version\|opencontainers'
echo "-- run"; {} run d one 'two three' 2>/dev/null; echo $?
echo "-- apps"; for app in $({} inspect --list-apps d 2>/dev/null); do {} run --app $app d x; {} test --app $app d; done 2>/dev/null
true"#;

struct Case {
    name: &'static str,
    reason: Option<String>,
    script: String,
}

fn cases() -> Vec<Case> {
    let parts = DEFINITIONS.split("\n=== ").skip(1);
    let cases = parts.map(|part| {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        // The end of the last line is a part of the next case's mark.
        let whole = match text {
            "" => String::new(),
            text => format!("{}\n", text.trim_end_matches('\n')),
        };
        let mut text = whole.as_str();
        let mut take = |word: &str| {
            let (line, rest) = text.strip_prefix(word)?.split_once('\n')?;
            text = rest;
            Some(line)
        };
        let reason = take("better: ").map(str::to_owned);
        let args = take("args: ").unwrap_or_default();
        let setup = take("setup: ").unwrap_or("true");
        Case {
            name,
            reason,
            script: format!(
                "{BEFORE}\ncat > x.def <<'END OF FILE'\n{text}END OF FILE\n{setup}\n\
                 {{}} build {args} --sandbox d x.def > out 2> err < /dev/null\n{AFTER}"
            ),
        }
    });
    cases.collect()
}

#[test]
fn the_images_are_those_of_apptainer() {
    let front = install();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = path.join("tests/front/differential/definitions-recorded.txt");
    if std::env::var_os(RECORD).is_some() {
        let mut text = String::new();
        for case in cases() {
            let theirs = seen("/usr/bin/apptainer", &case.script);
            let _ = write!(text, "$ {}\n{theirs}", case.name);
            if let Some(reason) = case.reason {
                let ours = seen(front, &case.script);
                let _ = write!(text, "better: {reason}\n{ours}");
            }
        }
        fs::write(&path, text).unwrap();
        return;
    }
    let recorded = record::parse(&fs::read_to_string(&path).unwrap());
    let mut wrong = String::new();
    for case in cases() {
        let expected = recorded.get(case.name).expect("a recorded case");
        let ours = seen(front, &case.script);
        if (ours.status, &ours.stdout) != (expected.status, &expected.stdout) {
            let _ = writeln!(
                wrong,
                "=== {}\nexpected:\n{expected}seen:\n{ours}",
                case.name
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn there_are_enough_definitions() {
    assert!(cases().len() >= 40);
}
