//! The environment that the kernel gave this process.

use std::ffi::c_char;

// SAFETY: the C library defines this variable with this type.
unsafe extern "C" {
    /// environ(7).
    static mut environ: *mut *mut c_char;
}

/// Overwrites this process's environment, which `/proc/PID/environ` shows to whoever may look into the
/// process. From then on, this process has no variables. It must have one thread.
pub fn wipe_environment() {
    // SAFETY: there is no other thread that reads or changes the environment, `environ` is a list of
    // writable strings that ends with a null pointer (environ(7)), and each string keeps its length.
    unsafe {
        let list = environ;
        if list.is_null() {
            return;
        }
        let mut next = list;
        while !(*next).is_null() {
            let length = libc::strlen(*next);
            std::ptr::write_bytes(*next, 0, length);
            next = next.add(1);
        }
        *list = std::ptr::null_mut();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn nothing_is_left_in_proc() {
        const MARK: &str = "SYS_TEST_ENVIRONMENT";
        if std::env::var_os(MARK).is_none() {
            let test = "environment::tests::nothing_is_left_in_proc";
            let mut again = Command::new(std::env::current_exe().unwrap());
            let status = again.args([test, "--exact"]).env(MARK, "secret").status();
            assert!(status.unwrap().success());
            return;
        }
        let shown = || std::fs::read("/proc/self/environ").unwrap();
        assert!(String::from_utf8_lossy(&shown()).contains("secret"));
        wipe_environment();
        assert!(shown().iter().all(|byte| *byte == 0));
        assert!(std::env::vars_os().next().is_none());
    }
}
