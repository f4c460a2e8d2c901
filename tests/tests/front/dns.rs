//! Host names that a DNS server resolves.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;

use tests::{Registry, TestDirectory, is_bb, program, run, saved, tester};

/// Starts a DNS server that returns one address for all names. It ends with the test.
fn serve(address: &str) {
    let socket = UdpSocket::bind((address, 53)).unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let answer = answer(&question[..length]);
            socket.send_to(&answer, from).unwrap();
        }
    });
}

/// Returns the answer to a question (RFC 1035, section 4.1): 127.0.0.1 if the question asks for an
/// IPv4 address.
fn answer(question: &[u8]) -> Vec<u8> {
    let name = question[12..].iter().position(|byte| *byte == 0).unwrap();
    let asked = &question[12..12 + name + 5];
    let is_of_four_bytes = asked[name + 1..=name + 2] == [0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, is_of_four_bytes.into(), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_of_four_bytes {
        // The name above, an Internet address, valid for a minute, of four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

#[test]
fn a_registry_is_found_by_its_name() {
    let (saved, registry, place) = (saved(), Registry::start(), TestDirectory::new());
    registry.push(&saved.path().join("layout"), "a/bb:1");
    serve("127.53.0.1");
    let names = place.file("resolv.conf");
    fs::write(&names, "nameserver 127.53.0.1\n").unwrap();
    let image = format!("docker://registry.example.org:{}/a/bb:1", registry.port());
    let front = place.front(&[]);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind $0 /etc/resolv.conf && exec setpriv --reuid $1 --regid $1 --clear-groups \"$2\" -q exec --no-https $3 cat /etc/os-release")
        .arg(names)
        .arg(tester().to_string())
        .arg(program("front"))
        .arg(image)
        .env_clear()
        .envs(front.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(place.path());
    is_bb(&run(&mut command));
}
