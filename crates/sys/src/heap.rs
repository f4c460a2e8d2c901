//! Settings of the C library's allocator.

/// Keeps freed memory for the next allocation instead of returning it to the kernel ([mallopt(3)]).
/// This is for a process that needs large buffers again and again, and would otherwise have their
/// pages cleared and mapped each time.
///
/// [mallopt(3)]: https://man7.org/linux/man-pages/man3/mallopt.3.html
pub fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets parameters; the process has a single thread by contract of start-up.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 20);
    }
}
