//! Keeping the C library from loading foreign code.

use std::ffi::CStr;

/// The databases of [nsswitch.conf(5)].
///
/// [nsswitch.conf(5)]: https://man7.org/linux/man-pages/man5/nsswitch.conf.5.html
const DATABASES: [&CStr; 13] = [
    c"aliases",
    c"ethers",
    c"group",
    c"gshadow",
    c"hosts",
    c"initgroups",
    c"netgroup",
    c"networks",
    c"passwd",
    c"protocols",
    c"rpc",
    c"services",
    c"shadow",
];

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// `nss.h` of the GNU C library: sets the services of a database, in place of those in
    /// `/etc/nsswitch.conf`.
    fn __nss_configure_lookup(
        database: *const libc::c_char,
        services: *const libc::c_char,
    ) -> libc::c_int;
}

/// Makes the C library look up users and similar names only in files, and hosts also by DNS.
///
/// Otherwise it reads `/etc/nsswitch.conf` and loads the modules named there, even in a static
/// program. Once a process of ours sees a container's root, these would be the image's
/// (CVE-2019-14271). The services `files` and `dns` have been part of the C library since version
/// 2.34.
///
/// Every process that enters a container and stays there calls this before, or its parent has done
/// so. The call reads the host's `/etc/nsswitch.conf`, which takes 35 microseconds. A rank that
/// joins a session and becomes its payload omits it.
pub fn load_no_name_service() {
    #[cfg(target_env = "gnu")]
    for database in DATABASES {
        let services = if database == c"hosts" {
            c"files dns"
        } else {
            c"files"
        };
        // SAFETY: both strings end with a NUL byte and live as long as the program; there is one thread.
        unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
}
