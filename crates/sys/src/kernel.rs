//! The kernel that all mounts need.

use std::ptr;

use rustix::io::Errno;

/// The newest call that is needed, and the Linux that brought it.
const CALL: &str = "mount_setattr(2)";
const LINUX: (u32, u32) = (5, 12);

/// Says why this machine can have no containers, if its kernel is too old for their mounts, or a filter
/// forbids them. Costs one system call.
///
/// # Errors
///
/// Returns the reason, and advice.
pub fn check_kernel() -> Result<(), String> {
    // SAFETY: without attributes, nothing is read and nothing is changed: the kernel refuses the size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            -1,
            ptr::null::<libc::c_char>(),
            0,
            ptr::null::<libc::c_void>(),
            0,
        )
    };
    let errno = std::io::Error::last_os_error().raw_os_error();
    if result == 0 || errno != Some(Errno::NOSYS.raw_os_error()) {
        return Ok(());
    }
    Err(missing(
        &rustix::system::uname().release().to_string_lossy(),
    ))
}

fn missing(release: &str) -> String {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    let (major, minor) = LINUX;
    match next()
        .zip(next())
        .is_some_and(|found: (u32, u32)| found >= LINUX)
    {
        false => format!("Linux {release} lacks {CALL}; {major}.{minor} or later is needed"),
        true => format!(
            "a filter of system calls around this program forbids {CALL}; in a container of \
             docker's or podman's, start that with --security-opt seccomp=unconfined"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_named() {
        assert_eq!(check_kernel(), Ok(()));
        assert_eq!(
            missing("4.18.0-553.el8.x86_64"),
            "Linux 4.18.0-553.el8.x86_64 lacks mount_setattr(2); 5.12 or later is needed"
        );
        assert!(missing("5.14.0").contains("a filter"));
    }
}
