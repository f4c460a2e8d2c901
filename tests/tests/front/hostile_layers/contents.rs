//! Odd names, modes, sizes and contents of files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use tests::{Member, front, layer, layout, run, succeed};

use super::Outside;

#[test]
fn names_may_be_any_bytes() {
    let place = Outside::new();
    let long = b"x".repeat(255);
    let deep = b"d/".repeat(600);
    let names: Vec<Vec<u8>> = vec![
        b"new\nline".to_vec(),
        b"\xff\xfe invalid".to_vec(),
        b"\x1b[31mred".to_vec(),
        b"-rf".to_vec(),
        b"a b".to_vec(),
        b"'\"$(id)`id`\\".to_vec(),
        long,
    ];
    let members: Vec<Member> = names.iter().map(|name| Member::file(name, name)).collect();
    place.image(std::slice::from_ref(&members));
    let outcome = place.build(&["--sandbox"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    for name in &names {
        use std::os::unix::ffi::OsStrExt;
        let path = place.file("out").join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(fs::read(&path).unwrap(), *name, "{}", path.display());
    }
    place.is_safe("odd names");
    for name in [
        [deep.as_slice(), b"file"].concat(),
        b"y".repeat(300),
        b"a\0b".to_vec(),
    ] {
        place.image(&[vec![Member::file(&name, b"x")]]);
        place.is_safe("a name that no file system takes");
    }
}

#[test]
fn a_name_of_megabytes_is_refused_before_it_is_read() {
    let place = Outside::new();
    let long = Member {
        kind: b'L',
        ..Member::file(b"././@LongLink", &[b'a'; 10_000_000])
    };
    place.image(&[vec![long, Member::file(b"a", b"x")]]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert!(
        outcome.stderr.contains("more than four mebibytes"),
        "{outcome:?}"
    );
    place.image(&[vec![Member::file(&b"a/".repeat(100_000), b"x")]]);
    place.is_safe("a hundred thousand directories deep");
}

#[test]
fn set_id_bits_and_closed_directories_do_no_harm() {
    let place = Outside::new();
    let closed = Member {
        kind: b'5',
        mode: 0,
        ..Member::file(b"closed", b"")
    };
    let setuid = Member {
        mode: 0o6755,
        ..Member::file(b"closed/su", b"x")
    };
    place.image(&[vec![closed, setuid]]);
    place.is_safe("a closed directory");
    let outcome = place.build(&["--sandbox", "--fix-perms"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let mode = fs::metadata(place.file("out/closed/su")).unwrap().mode();
    assert_eq!(mode & 0o6000, 0, "{mode:o}");
}

#[test]
fn a_bomb_of_a_billion_zeros_takes_little() {
    let place = Outside::new();
    let file = place.file("layer0");
    // A tar of one file of a billion zeros, compressed by gzip to a megabyte.
    let script = format!(
        "truncate -s 1000000000 zeros && tar -c zeros | gzip -1 >{} && rm zeros",
        file.display()
    );
    succeed(
        Command::new("sh")
            .args(["-c", &script])
            .current_dir(place.home.path()),
    );
    layout(&place.file("image"), &[&file]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let size = fs::metadata(place.file("out")).unwrap().len();
    assert!(size < 1_000_000, "{size}");
    // A sparse file of an exbibyte in two blocks.
    let mut sparse = Member {
        kind: b'S',
        ..Member::file(b"sparse", b"")
    };
    sparse.name.resize(100, 0);
    let mut tar = Vec::new();
    sparse.write(&mut tar);
    tar[257..265].copy_from_slice(b"ustar  \0");
    for (at, number) in [(386, 1_u64 << 60), (398, 0), (483, 1 << 60)] {
        let mut field = [0_u8; 12];
        field[0] = 0x80;
        field[4..].copy_from_slice(&number.to_be_bytes());
        tar[at..at + 12].copy_from_slice(&field);
    }
    tar[148..156].copy_from_slice(b"        ");
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend([0; 1024]);
    fs::write(&file, tar).unwrap();
    fs::remove_dir_all(place.file("image")).unwrap();
    layout(&place.file("image"), &[&file]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 255, "{outcome:?}");
    assert!(
        outcome.stderr.contains("more than a tebibyte"),
        "{outcome:?}"
    );
}

#[test]
fn a_million_tiny_files_are_packed() {
    let place = Outside::new();
    let file = place.file("layer0");
    let mut tar = std::io::BufWriter::new(fs::File::create(&file).unwrap());
    for number in 0..1_000_000 {
        let name = format!("{}/{}/{number}", number / 10_000, number / 100 % 100);
        Member::file(name.as_bytes(), b"x").write(&mut tar);
    }
    tar.write_all(&[0; 1024]).unwrap();
    drop(tar);
    layout(&place.file("image"), &[&file]);
    let outcome = place.build(&[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let sif = place.file("out");
    let mut find = front(["exec"]);
    find.arg(&sif).args(["/nosuch"]);
    let outcome = run(&mut find);
    assert_eq!(
        outcome.code, 255,
        "it opens, and has no program: {outcome:?}"
    );
}

#[test]
fn what_is_no_layer_is_refused() {
    let place = Outside::new();
    let contents: [(&str, Vec<u8>); 4] = [
        (
            "noise",
            (0..5000_u32)
                .map(|number| ((number * 7919) >> 3) as u8)
                .collect(),
        ),
        (
            "a gzip that ends",
            vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3],
        ),
        (
            "a zstd that ends",
            vec![0x28, 0xb5, 0x2f, 0xfd, 0x24, 0xff, 1, 2],
        ),
        (
            "a tar that ends",
            layer(&[Member::file(b"a", &[7; 5000])])[..2000].to_vec(),
        ),
    ];
    for (what, content) in contents {
        let file = place.file("layer0");
        fs::write(&file, content).unwrap();
        let _ = fs::remove_dir_all(place.file("image"));
        layout(&place.file("image"), &[&file]);
        let outcome = place.build(&[]);
        assert_eq!(outcome.code, 255, "{what}: {outcome:?}");
        place.is_safe(what);
    }
}
