//! A container's filter of system calls, and the listener for its reports.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::thread::{self, JoinHandle};

use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, ScmpSyscall};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use tests::{Bundle, fixture, run, succeed};

/// Forbids making a user namespace, as engines do: the masked flags of the call are not zero.
#[test]
fn a_mask_is_compared_as_engines_mean_it() {
    let bundle = Bundle::new(&["sh", "-c", "echo made; unshare -U true"], |spec| {
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["clone", "unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28, "args": [
                    {"index": 0, "value": 0x1000_0000, "valueTwo": 0x1000_0000, "op": "SCMP_CMP_MASKED_EQ"}]},
            ],
        });
    });
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(outcome.stdout, "made\n", "{outcome:?}");
    assert!(outcome.stderr.contains("No space left"), "{outcome:?}");
}

/// The C library falls back to older calls where the kernel does not know newer ones.
#[test]
fn calls_newer_than_a_profile_are_unknown() {
    const ASK: &str = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n\
        for call in (165, 462, 1000): libc.syscall(call, 0, 0, 0, 0, 0); print(ctypes.get_errno())";
    // All calls up to Linux 5.17, without mount(2).
    let names = (0..=450).filter(|number| *number != 165);
    let names: Vec<String> = names
        .filter_map(|number| ScmpSyscall::from(number).get_name().ok())
        .collect();
    let bundle = Bundle::new(&["python3", "-c", ASK], |spec| {
        spec["root"]["path"] = json!(fixture("py"));
        spec["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        });
    });
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(outcome.stdout, "1\n38\n38\n", "{outcome:?}");
}

/// Waits for `count` processes, and answers one call of each with "no space left on device".
/// Returns the states that were sent.
fn listen(path: &Path, count: usize) -> JoinHandle<Vec<Value>> {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let told = (0..count).map(|_| {
            let (socket, _) = listener.accept().unwrap();
            let mut text = vec![0; 16384];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut slices = [IoSliceMut::new(&mut text)];
            let length = recvmsg(
                &socket,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
            .unwrap()
            .bytes;
            let reports: OwnedFd = ancillary
                .drain()
                .find_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                    _ => None,
                })
                .unwrap();
            let call = ScmpNotifReq::receive(reports.as_raw_fd()).unwrap();
            ScmpNotifResp::new_error(call.id, -28, ScmpNotifRespFlags::empty())
                .respond(reports.as_raw_fd())
                .unwrap();
            serde_json::from_slice(&text[..length]).unwrap()
        });
        told.collect()
    })
}

fn report_mkdir(spec: &mut Value, listener: &Path) {
    spec["annotations"] = json!({"org.example.of": "the container"});
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": listener,
        "listenerMetadata": "for the listener",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    });
}

#[test]
fn who_listens_answers_for_the_kernel() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("listener");
    let listener = listen(&path, 2);
    let script = "mkdir /dev/shm/x; sleep 100";
    let bundle = Bundle::new(&["sh", "-c", script], |spec| report_mkdir(spec, &path));
    let mut start = bundle.slipway(&["run", "-d", "c1"]);
    let started = start.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(started.unwrap().success());
    let entered = run(&mut bundle.slipway(&["exec", "c1", "mkdir", "/dev/shm/y"]));
    assert!(entered.stderr.contains("No space left"), "{entered:?}");
    let state = succeed(&mut bundle.slipway(&["state", "c1"]));
    let state: Value = serde_json::from_str(&state).unwrap();
    succeed(&mut bundle.slipway(&["delete", "-f", "c1"]));
    let told = listener.join().unwrap();
    let [first, second] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(first["fds"], json!(["seccompFd"]));
    assert_eq!(first["metadata"], "for the listener");
    assert_eq!(first["state"]["status"], "creating");
    assert_eq!(first["state"]["bundle"], json!(bundle.path()));
    assert_eq!(
        first["state"]["annotations"]["org.example.of"],
        "the container"
    );
    assert_eq!(second["state"]["status"], "running");
    for one in [first, second] {
        assert_eq!(one["state"]["id"], json!(bundle.id()));
        assert_eq!(
            one["state"]["pid"], state["pid"],
            "the first process, as seen from outside"
        );
    }
    assert_eq!(first["pid"], state["pid"]);
    assert_ne!(second["pid"], state["pid"]);
}

#[test]
fn nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nobody");
    let bundle = Bundle::new(&["true"], |spec| report_mkdir(spec, &path));
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let told = format!("failed to connect with seccomp agent {}", path.display());
    assert!(outcome.stderr.contains(&told), "{outcome:?}");
    assert_eq!(bundle.left(), Vec::<String>::new());
}

/// The process itself needs these calls until the listener has the descriptor.
#[test]
fn a_listener_that_could_never_be_told_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("listener");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    for call in ["write", "sendmsg"] {
        let bundle = Bundle::new(&["true"], |spec| {
            report_mkdir(spec, &path);
            spec["linux"]["seccomp"]["syscalls"][0]["names"] = json!([call]);
        });
        let outcome = run(&mut bundle.slipway(&["run", "c1"]));
        let told = format!("SCMP_ACT_NOTIFY cannot be used for the {call} syscall");
        assert!(outcome.stderr.contains(&told), "{outcome:?}");
    }
    // A program that is not there is an error at once.
    let bundle = Bundle::new(&["/nosuch"], |spec| report_mkdir(spec, &path));
    let begin = std::time::Instant::now();
    let outcome = run(&mut bundle.slipway(&["run", "c1"]));
    assert!(outcome.stderr.contains("no such file"), "{outcome:?}");
    assert!(begin.elapsed().as_secs() < 4, "{:?}", begin.elapsed());
}
