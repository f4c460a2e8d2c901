//! The program's own rights, keys, terminal and descriptors.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use linux_keyutils::{KeyRing, KeyRingIdentifier};

use crate::Audit;

impl Audit {
    pub(crate) fn descriptors(&mut self) {
        let entries = fs::read_dir("/proc/self/fd")
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            self.tried();
            let name = entry.file_name();
            let number = name.to_string_lossy();
            if ["0", "1", "2"].contains(&number.as_ref()) {
                continue;
            }
            let target = fs::read_link(entry.path()).unwrap_or_default();
            // The descriptor that lists them.
            if !target.starts_with(format!("/proc/{}/fd", std::process::id())) {
                self.got("descriptor", &number, &target.display().to_string());
            }
        }
    }

    pub(crate) fn own_rights(&mut self) {
        self.tried();
        if let Ok(sets) = rustix::thread::capabilities(None) {
            for (name, set) in [
                ("effective", sets.effective),
                ("permitted", sets.permitted),
                ("inheritable", sets.inheritable),
            ] {
                if !set.is_empty() {
                    self.got("capabilities", name, &format!("{:x}", set.bits()));
                }
            }
        }
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_start_matches(':').trim().to_owned())
        };
        for name in ["CapBnd", "CapAmb"] {
            let set = field(name).unwrap_or_default();
            if set.bytes().any(|digit| digit != b'0') {
                self.got("capabilities", name, &set);
            }
        }
        if rustix::thread::no_new_privs() == Ok(false) {
            self.got("new-privileges", "-", "no_new_privs is not set");
        }
        if field("Seccomp").is_some_and(|mode| mode == "0") {
            self.got("all-system-calls", "-", "there is no seccomp filter");
        }
    }

    /// Makes the system call itself: the C library hides the kernel's word for an unreachable
    /// directory.
    pub(crate) fn working_directory(&mut self) {
        self.tried();
        match rustix::process::getcwd(Vec::new()) {
            Ok(path) if path.as_bytes().starts_with(b"/") => {}
            Ok(path) => self.got("outer-directory", "-", &path.to_string_lossy()),
            Err(errno) => self.got("outer-directory", "-", &errno.to_string()),
        }
        for above in ["/..", "/../../../../../..", "/proc/self/root/.."] {
            self.tried();
            if let (Ok(root), Ok(above)) = (fs::metadata("/"), fs::metadata(above))
                && (root.dev(), root.ino()) != (above.dev(), above.ino())
            {
                self.got("outer-directory", "-", "above the root");
            }
        }
    }

    /// Tries the keys that the caller has for its session and its user, down to their contents, and
    /// the keys that the kernel lists. The kernel's own begin with a dot.
    pub(crate) fn keys(&mut self) {
        for (name, id) in [
            ("session-keyring", KeyRingIdentifier::Session),
            ("user-keyring", KeyRingIdentifier::User),
            ("user-session-keyring", KeyRingIdentifier::UserSession),
        ] {
            self.tried();
            let Ok(ring) = KeyRing::from_special_id(id, false) else {
                continue;
            };
            let what = ring.metadata();
            let what = what.map_or_else(|_| "-".to_owned(), |it| it.get_description().to_owned());
            self.got(name, &what, "");
            self.keyring(&what, &ring, 3);
        }
        let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
        for line in keys.lines() {
            self.tried();
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [_, _, _, _, rights, uid, _, kind, description @ ..] = words.as_slice() {
                let description = description.join(" ");
                if !description.starts_with('.') {
                    let of = format!("{kind} of {uid}");
                    self.got("listed-key", &of, &format!("{description} {rights}"));
                }
            }
        }
    }

    fn keyring(&mut self, of: &str, ring: &KeyRing, depth: u32) {
        let links = ring.get_links(64);
        for link in links.iter().flat_map(|links| links.iter()) {
            self.tried();
            if let Some(inner) = link.as_ring().filter(|_| depth > 0) {
                self.keyring(of, &inner, depth - 1);
            }
            let Some(key) = link.as_key() else { continue };
            let name = key.metadata();
            let name = name.map_or_else(|_| "-".to_owned(), |it| it.get_description().to_owned());
            // The contents are not printed.
            let detail = match key.read_to_vec() {
                Ok(content) => format!("{} bytes of it", content.len()),
                Err(_) => "its name".to_owned(),
            };
            self.got("key", of, &format!("{name}, {detail}"));
        }
    }

    /// Tries a terminal into which the program could type text for its caller's shell. It is not
    /// safe to try, so this reports whether the kernel would allow it: before 6.2, or with the
    /// switch on.
    pub(crate) fn terminal(&mut self) {
        self.tried();
        if !rustix::termios::isatty(std::io::stdin()) {
            return;
        }
        let name = fs::read_link("/proc/self/fd/0").unwrap_or_default();
        self.got("terminal", "0", &name.display().to_string());
        let switch = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti");
        if switch.map_or(true, |text| text.trim() != "0") {
            self.got("typing", "0", "TIOCSTI is allowed");
        }
        if File::open("/dev/tty").is_ok() {
            self.got("controlling-terminal", "/dev/tty", "");
        }
    }
}
