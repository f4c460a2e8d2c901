//! How the C library's allocator keeps memory.

/// Has freed memory kept for the next allocation instead of given back to the kernel
/// ([mallopt(3)]): for a process that needs large buffers over and over, and would otherwise have
/// their pages cleared and mapped each time.
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
