//! Broken and hostile specifications: each results in one line with the fault, or in a container;
//! never in a panic, a hang, or leftovers.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Bundle, Outcome, run, succeed};

/// Longest time for a refusal on a busy machine. Alone, it takes some milliseconds.
const LIMIT: Duration = Duration::from_secs(5);

/// Returns the values that replace others.
fn replacements() -> Vec<Value> {
    vec![
        Value::Null,
        json!(-1),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("../../../../tmp"),
        json!("a\u{0}b"),
        json!("line\nbreak"),
        json!("x".repeat(100_000)),
        json!([]),
        json!({}),
        json!([[[[[[[["deep"]]]]]]]]),
        json!(true),
    ]
}

/// Finds the pointers to all values of a document, except for the members of long lists.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                found.push(at.clone());
                pointers(value, &at, found);
            }
        }
        Value::Array(list) => {
            for (number, value) in list.iter().take(2).enumerate() {
                let at = format!("{at}/{number}");
                found.push(at.clone());
                pointers(value, &at, found);
            }
        }
        _ => {}
    }
}

/// Makes a document that has a little of everything.
fn rich(spec: &mut Value) {
    spec["hostname"] = json!("here");
    spec["annotations"] = json!({"a": "b"});
    spec["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}]);
    spec["process"]["oomScoreAdj"] = json!(100);
    spec["hooks"] = json!({"poststop": [{"path": "/bin/true", "args": ["true"], "timeout": 5}]});
    spec["linux"]["resources"] = json!({
        "devices": [{"allow": false, "access": "rwm"}],
        "memory": {"limit": 100_000_000},
        "pids": {"limit": 100},
        "cpu": {"shares": 1024},
    });
    spec["linux"]["sysctl"] = json!({"kernel.shmmni": "4096"});
    spec["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}]);
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    spec["linux"]["rootfsPropagation"] = json!("rslave");
}

fn assert_sound(what: &str, outcome: &Outcome, took: Duration) {
    assert!(took < LIMIT, "{what}: took {took:?}");
    assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:?}");
    if outcome.code == 0 {
        return;
    }
    assert_eq!(outcome.signal, None, "{what}: {outcome:?}");
    let errors: Vec<&str> = outcome
        .stderr
        .lines()
        .filter(|line| !line.contains("level=warning"))
        .collect();
    assert_eq!(errors.len(), 1, "{what}: {outcome:?}");
    assert!(
        errors[0].contains("level=error msg="),
        "{what}: {outcome:?}"
    );
    assert!(
        errors[0].len() < 2000,
        "{what}: an error of {} bytes",
        errors[0].len()
    );
}

#[test]
fn broken_specifications_are_refused_in_one_line() {
    let bundle = Bundle::new(&["true"], rich);
    let config = bundle.path().join("config.json");
    let sound: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let mut all = Vec::new();
    pointers(&sound, "", &mut all);
    let replacements = replacements();
    let mut tried = 0;
    let mut refused = 0;
    for (number, pointer) in all.iter().enumerate() {
        // Each place gets three of the replacements, and each replacement is used at many places.
        for shift in [0, 5, 9] {
            let mut document = sound.clone();
            let value = &replacements[(number + shift) % replacements.len()];
            *document.pointer_mut(pointer).unwrap() = value.clone();
            fs::write(&config, document.to_string()).unwrap();
            let start = Instant::now();
            let outcome = run(bundle.slipway(&["run", "c1"]).stdin(Stdio::null()));
            let shown: String = value.to_string().chars().take(40).collect();
            assert_sound(&format!("{pointer} = {shown}"), &outcome, start.elapsed());
            assert_eq!(bundle.left(), Vec::<String>::new(), "{pointer} = {shown}");
            tried += 1;
            refused += i32::from(outcome.code != 0);
        }
    }
    assert!(
        tried > 200 && refused > 100,
        "{tried} tried, {refused} refused"
    );
    for text in ["", "{", "[1,2", "null", "\u{feff}{}", &"[".repeat(100_000)] {
        fs::write(&config, text).unwrap();
        let start = Instant::now();
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert_sound("no document", &outcome, start.elapsed());
    }
}

#[test]
fn broken_processes_are_refused_in_one_line() {
    let bundle = Bundle::new(&["sleep", "100"], |_| ());
    let quiet = |args: &[&str]| {
        let mut command = bundle.slipway(args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
    };
    assert!(quiet(&["run", "-d", "c1"]).success());
    let sound = json!({
        "args": ["true"],
        "cwd": "/",
        "env": ["A=b"],
        "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [1]},
        "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
        "rlimits": [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}],
        "noNewPrivileges": true,
        "apparmorProfile": "",
        "oomScoreAdj": 100,
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0"},
    });
    let mut all = Vec::new();
    pointers(&sound, "", &mut all);
    let file = bundle.path().join("process.json");
    let path = file.display().to_string();
    let exec = || {
        let start = Instant::now();
        let outcome = run(&mut bundle.slipway(&["exec", "--process", &path, "c1"]));
        (outcome, start.elapsed())
    };
    fs::write(&file, sound.to_string()).unwrap();
    let (outcome, _) = exec();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for pointer in &all {
        for value in replacements() {
            let mut document = sound.clone();
            *document.pointer_mut(pointer).unwrap() = value.clone();
            fs::write(&file, document.to_string()).unwrap();
            let (outcome, took) = exec();
            let shown: String = value.to_string().chars().take(40).collect();
            let what = format!("{pointer} = {shown}");
            assert_sound(&what, &outcome, took);
            assert!([0, 255].contains(&outcome.code), "{what}: {outcome:?}");
        }
    }
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    assert_eq!(bundle.left(), Vec::<String>::new());
}
