//! Each property of the runtime specification: the request, and what the container then sees, or
//! the error that refuses it. This test prints `docs/reference/specification.md`, and writes it with
//! `UPDATE=1`.

mod differences;
mod families;
mod general;
mod generated;
mod linux;
mod mounts;
mod places;
mod resources;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tests::{Bundle, run};

/// The expected result.
#[derive(Clone, Copy)]
enum Expect {
    /// The container's output contains this text.
    Sees(&'static str),
    /// The container is refused with this message.
    Refused(&'static str),
    /// The request is carried out and, as it was made to fail, stops the container with this
    /// message.
    Stops(&'static str),
}
use Expect::{Refused, Sees, Stops};

/// A property, its request, the container's script, and the expected result.
type Row = (&'static str, fn(&mut Value), &'static str, Expect);

fn push(list: &mut Value, value: Value) {
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().unwrap().push(value);
}

fn without(spec: &mut Value, kind: &str) {
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|one| one["type"] != kind);
}

/// Adds the mount that the rows change, at `/mnt`.
fn mount(spec: &mut Value, value: Value) {
    let mut mount = json!({"destination": "/mnt", "type": "bind", "source": "/usr/share"});
    for (name, value) in value.as_object().unwrap() {
        mount[name] = value.clone();
    }
    push(&mut spec["mounts"], mount);
}

fn hook(spec: &mut Value, point: &str, args: &[&str], timeout: u32) {
    let hook = json!({"path": "/bin/sh", "args": args, "timeout": timeout});
    spec["hooks"][point] = json!([hook]);
}

fn capabilities(spec: &mut Value, sets: &[&str], names: &[&str]) {
    spec["process"]["capabilities"] = json!({});
    for set in sets {
        spec["process"]["capabilities"][set] = json!(names);
    }
}

/// A row, or one of a family of rows that differ by a value.
struct Property {
    name: String,
    request: Box<dyn Fn(&mut Value)>,
    script: String,
    expect: Expect,
}

impl From<&Row> for Property {
    fn from((name, request, script, expect): &Row) -> Self {
        Self {
            name: (*name).to_owned(),
            request: Box::new(*request),
            script: (*script).to_owned(),
            expect: *expect,
        }
    }
}

fn properties() -> Vec<Property> {
    let rows = [
        general::ROWS,
        mounts::ROWS,
        places::ROWS,
        linux::ROWS,
        resources::ROWS,
    ];
    let single = rows.into_iter().flatten().map(Property::from);
    single.chain(families::all()).collect()
}

/// Writes the host's namespaces into a root, one in a line.
fn write_namespaces(root: &Path) {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let namespaces: String = kinds
        .map(|kind| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap())
        .map(|link| format!("{}\n", link.display()))
        .concat();
    fs::write(root.join("host-namespaces"), namespaces).unwrap();
}

/// Runs a row's container, and returns whether the result is the expected one.
fn check(row: &Property) -> Result<String, String> {
    let Property {
        name: property,
        request,
        script,
        expect,
    } = row;
    let bundle = Bundle::new(&["sh", "-c", &format!("{{ {script}\n}} 2>&1")], |spec| {
        spec["root"]["readonly"] = false.into();
        request(spec);
    });
    write_namespaces(&bundle.root());
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(bundle.left(), Vec::<String>::new(), "{property}");
    match expect {
        Sees(words) if outcome.stdout.replace('\r', "").contains(words) => Ok(format!(
            "| `{property}` | supported | `{}` |",
            script.replace('|', "\\|")
        )),
        Refused(words) | Stops(words) if outcome.code == 1 && outcome.stderr.contains(words) => {
            let message = outcome.stderr.split("msg=").nth(1).unwrap_or_default();
            assert_eq!(
                outcome
                    .stderr
                    .lines()
                    .filter(|line| line.contains("level=error"))
                    .count(),
                1
            );
            assert!(!message.is_empty());
            let kind = if matches!(expect, Refused(_)) {
                "refused"
            } else {
                "supported"
            };
            Ok(format!("| `{property}` | {kind} | error: {words} |"))
        }
        _ => Err(format!("{property}: {outcome:?}")),
    }
}

#[test]
fn every_property_is_kept_or_refused() {
    let results: Vec<_> = properties().iter().map(check).collect();
    assert!(results.len() >= 250, "{}", results.len());
    let wrong: Vec<&String> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut page = String::from(
        "# The runtime specification, property by property\n\n\
         Generated by `tests/tests/slipway/specification`, which makes a container for each line. A property is\n\
         *supported* when the container saw what it should by the command at the right, *refused* when there\n\
         was no container and the error said the words at the right. Some hooks are shown by their failure.\n\n\
         | property | | shown by |\n|---|---|---|\n",
    );
    for line in results.into_iter().flatten() {
        writeln!(page, "{}", line.replace('\n', "; ")).unwrap();
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("docs/reference/specification.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &page).unwrap();
    }
    if families::has_version_2_alone() {
        // The page tells of a hybrid host, where some rows are others.
        return;
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap_or_default(),
        page,
        "run with UPDATE=1"
    );
}
