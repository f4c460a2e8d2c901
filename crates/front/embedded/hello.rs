//! The program of the built-in image. It prints where it runs. It uses no library, so that it runs
//! in a root file system that holds nothing else.
//!
//! `build.rs` builds it. It is not part of the crate.

#![no_std]
#![no_main]

use core::arch::asm;

#[cfg(target_arch = "x86_64")]
mod nr {
    pub const WRITE: usize = 1;
    pub const EXIT: usize = 231;
    pub const UNAME: usize = 63;
    pub const GETCWD: usize = 79;
    pub const GETUID: usize = 102;
    pub const GETGID: usize = 104;
}

#[cfg(target_arch = "aarch64")]
mod nr {
    pub const WRITE: usize = 64;
    pub const EXIT: usize = 94;
    pub const UNAME: usize = 160;
    pub const GETCWD: usize = 17;
    pub const GETUID: usize = 174;
    pub const GETGID: usize = 176;
}

#[cfg(target_arch = "x86_64")]
fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: the system calls of `nr` write only to the buffers that their callers provide.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
             out("rcx") _, out("r11") _);
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn call(number: usize, a: usize, b: usize, c: usize) -> isize {
    let result: isize;
    // SAFETY: the system calls of `nr` write only to the buffers that their callers provide.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c);
    }
    result
}

fn print(text: &[u8]) {
    call(nr::WRITE, 1, text.as_ptr() as usize, text.len());
}

fn number(mut value: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return print(&digits[at..]);
        }
    }
}

fn text(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    print(&bytes[..end]);
}

// The kernel starts a program with the stack aligned as before a call, not as inside one.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(".globl _start", "_start:", "call {}", sym start);
#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(".globl _start", "_start:", "bl {}", sym start);

extern "C" fn start() -> ! {
    print(b"Hello from a container made by front.\n");
    print(b"  user       ");
    number(call(nr::GETUID, 0, 0, 0) as usize);
    print(b", group ");
    number(call(nr::GETGID, 0, 0, 0) as usize);
    print(b": the same as outside\n");
    let mut buffer = [0; 4096];
    if call(nr::GETCWD, buffer.as_mut_ptr() as usize, buffer.len(), 0) > 0 {
        print(b"  directory  ");
        text(&buffer);
        print(b"\n");
    }
    // Six fields of 65 bytes: system, node, release, version, machine, domain (uname(2)).
    let mut names = [0u8; 65 * 6];
    if call(nr::UNAME, names.as_mut_ptr() as usize, 0, 0) == 0 {
        print(b"  host       ");
        text(&names[65..130]);
        print(b"\n  kernel     ");
        text(&names[..65]);
        print(b" ");
        text(&names[130..195]);
        print(b" ");
        text(&names[260..325]);
        print(b"\n");
    }
    print(b"The image is built into the program. To run one of yours:\n");
    print(b"  front exec IMAGE COMMAND [ARGUMENT]...\n");
    call(nr::EXIT, 0, 0, 0);
    loop {}
}

/// The compiler clears large buffers with this function, and there is no C library that has it.
#[unsafe(no_mangle)]
extern "C" fn memset(start: *mut u8, byte: i32, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller provides `length` bytes from `start`. The write is volatile, because
        // the compiler could otherwise replace the loop by a call of this function.
        unsafe { start.add(at).write_volatile(byte as u8) };
    }
    start
}

/// The core library's tables refer to this symbol. Nothing here unwinds.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    call(nr::EXIT, 1, 0, 0);
    loop {}
}
