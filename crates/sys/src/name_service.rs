//! Keeping the C library from loading code of others.

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
    /// `nss.h` of the GNU C library: the services of a database, in place of those that `/etc/nsswitch.conf` names.
    fn __nss_configure_lookup(
        database: *const libc::c_char,
        services: *const libc::c_char,
    ) -> libc::c_int;
}

/// Has the C library look names of users and the like up in files alone, and those of hosts by DNS, too.
///
/// It looks into `/etc/nsswitch.conf` otherwise, and loads the modules that this names, in a static program too: once
/// a process of ours sees a container's root, these would be the image's (CVE-2019-14271). The services `files` and `dns`
/// are part of the C library since its version 2.34.
///
/// Every process calls this, or its parent has, before it enters a container and stays there. It reads the host's
/// `/etc/nsswitch.conf`, which takes 35 microseconds: a rank that joins a session and becomes its payload does without.
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
