//! `front sif`: shows and changes a SIF, with the commands and words of `apptainer sif`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use chrono::DateTime;
use pack::whole_file;
use serde_json::json;
use sif::{
    Architecture, DataType, Descriptor, FileSystem, Link, NewObject, Partition, PartitionKind, Sif,
    Signature,
};

use crate::cli::{SifAdd, SifCommand};
use crate::clock::now;
use crate::json;

pub fn run(command: &SifCommand) -> Result<ExitCode> {
    match command {
        SifCommand::Header { path } => print(&header(&open(path)?.1)),
        SifCommand::List { json, path } => {
            let (_, sif) = open(path)?;
            match json {
                true => print(&as_json(&sif)?),
                false => print(&list(&sif)),
            }
        }
        SifCommand::Info { id, path } => {
            let (_, sif) = open(path)?;
            print(&info(find(&sif, *id)?))
        }
        SifCommand::Dump { id, path } => {
            let (file, sif) = open(path)?;
            dump(&file, find(&sif, *id)?)
        }
        SifCommand::New { path } => new(path),
        SifCommand::Add(args) => add(args),
        SifCommand::Del { id, path } => change(path, |sif, file, now| sif.delete(file, *id, now)),
        SifCommand::Setprim { id, path } => {
            change(path, |sif, file, now| sif.set_primary(file, *id, now))
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<(File, Sif)> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let sif = Sif::read(&file).with_context(|| path.display().to_string())?;
    Ok((file, sif))
}

fn find(sif: &Sif, id: u32) -> Result<&Descriptor> {
    let mut all = sif.descriptors.iter();
    all.find(|one| one.id == id)
        .with_context(|| format!("no object {id}; see `front sif list`"))
}

fn print(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).context("print")
}

fn new(path: &Path) -> Result<()> {
    let mut uuid = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut uuid))
        .context("read /dev/urandom")?;
    // A random UUID: RFC 9562, version 4.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let now = now()?;
    whole_file(path, false, |at| {
        let failed = |source| pack::Error::File {
            path: path.to_owned(),
            source,
        };
        let file = File::options().read(true).write(true).open(at);
        let made = Sif::create(&file.map_err(failed)?, "", uuid, now);
        let made = made.map_err(|source| pack::Error::Sif {
            path: path.to_owned(),
            source,
        });
        made.map(drop)
    })?;
    Ok(())
}

fn change(
    path: &Path,
    change: impl FnOnce(&mut Sif, &File, i64) -> Result<(), sif::Error>,
) -> Result<()> {
    let named = || path.display().to_string();
    let file = File::options().read(true).write(true).open(path);
    let file = file.with_context(named)?;
    let mut sif = Sif::read(&file).with_context(named)?;
    change(&mut sif, &file, now()?).with_context(named)
}

fn add(args: &SifAdd) -> Result<()> {
    let data = data(args)?;
    let mut content =
        File::open(&args.object).with_context(|| args.object.display().to_string())?;
    let number = |number: u32| (number != 0).then_some(number);
    let object = NewObject {
        data,
        group: number(args.groupid),
        link: number(args.link).map(Link::Object),
        name: args.filename.clone().unwrap_or_default(),
    };
    change(&args.path, |sif, file, now| {
        sif.add(file, object, &mut content, now).map(|_| ())
    })
}

/// Returns the object's type from the flags.
fn data(args: &SifAdd) -> Result<DataType> {
    Ok(match args.datatype {
        1 => DataType::Definition,
        2 => DataType::Environment,
        3 => DataType::Labels,
        4 => DataType::Partition(partition(args)?),
        5 => DataType::Signature(signature(args)?),
        6 => DataType::GenericJson,
        7 => DataType::Generic,
        8 => DataType::CryptoMessage,
        9 => DataType::Sbom,
        10 => DataType::OciRootIndex,
        11 => DataType::OciBlob,
        other => bail!("--datatype {other}: expected 1 to 11"),
    })
}

fn partition(args: &SifAdd) -> Result<Partition> {
    let file_system = args.partfs.context("a partition needs --partfs")?;
    let kind = args.parttype.context("a partition needs --parttype")?;
    let architecture = args.partarch.context("a partition needs --partarch")?;
    Ok(Partition {
        file_system: FileSystem::from_code(file_system)
            .with_context(|| format!("--partfs {file_system}: expected 1 to 6"))?,
        kind: PartitionKind::from_code(kind)
            .with_context(|| format!("--parttype {kind}: expected 1 to 4"))?,
        architecture: Some(
            Architecture::from_number(architecture)
                .with_context(|| format!("--partarch {architecture}: expected 1 to 13"))?,
        ),
    })
}

fn signature(args: &SifAdd) -> Result<Signature> {
    let hash = args.signhash.context("a signature needs --signhash")?;
    if !(1..=5).contains(&hash) {
        bail!("--signhash {hash}: expected 1 to 5");
    }
    let entity = args.signentity.as_deref();
    let entity = entity.context("a signature needs --signentity")?;
    let digits = entity.as_bytes();
    let mut fingerprint = [0; 20];
    let wrong = || format!("--signentity {entity}: expected 40 hexadecimal digits");
    if digits.len() != 40 {
        bail!(wrong());
    }
    for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks(2)) {
        let pair = std::str::from_utf8(pair).with_context(wrong)?;
        *byte = u8::from_str_radix(pair, 16).with_context(wrong)?;
    }
    Ok(Signature { hash, fingerprint })
}

fn dump(file: &File, descriptor: &Descriptor) -> Result<()> {
    let mut output = io::stdout().lock();
    let mut chunk = vec![0; 1 << 20];
    let mut done = 0;
    while done < descriptor.size {
        let left = usize::try_from(descriptor.size - done).unwrap_or(usize::MAX);
        let length = left.min(chunk.len());
        let part = chunk.get_mut(..length).unwrap_or_default();
        file.read_exact_at(part, descriptor.offset + done)
            .context("read the object")?;
        output.write_all(part).context("write the object")?;
        done += length as u64;
    }
    Ok(())
}

/// Formats lines of a name and a value, with the values aligned.
fn table(indent: &str, gap: usize, rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len() + 1 + gap).max();
    let width = width.unwrap_or(0);
    rows.iter()
        .map(|(name, value)| {
            let value = text::printable(value);
            format!("{indent}{:width$}{value}\n", format!("{name}:"))
        })
        .collect()
}

fn header(sif: &Sif) -> String {
    let header = &sif.header;
    let launch = header.launch.trim_end().to_owned();
    let architecture = header.architecture.map(|one| one.to_string());
    let rows = [
        (
            "Launch Script",
            Some(launch).filter(|launch| !launch.is_empty()),
        ),
        ("Version", Some("01".to_owned())),
        ("Primary Architecture", architecture),
        ("ID", Some(uuid(&header.uuid))),
        ("Created At", Some(time(header.created))),
        ("Modified At", Some(time(header.modified))),
        ("Descriptors Free", Some(header.free_count.to_string())),
        (
            "Descriptors Total",
            Some(header.descriptor_count.to_string()),
        ),
        ("Descriptors Offset", Some(header.table_offset.to_string())),
        (
            "Descriptors Size",
            Some(size(header.descriptor_count * 585)),
        ),
        ("Data Offset", Some(header.data_offset.to_string())),
        ("Data Size", Some(size(header.data_size))),
    ];
    let rows: Vec<(&str, String)> = rows
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    table("", 1, &rows)
}

fn as_json(sif: &Sif) -> Result<String> {
    let objects = sif.descriptors.iter().map(|one| {
        let (object, group) = match one.link {
            None => (None, None),
            Some(Link::Object(id)) => (Some(id), None),
            Some(Link::Group(group)) => (None, Some(group)),
        };
        json!({
            "id": one.id,
            "group": one.group,
            "linkedObject": object,
            "linkedGroup": group,
            "offset": one.offset,
            "size": one.size,
            "type": kind(one),
            "name": one.name,
        })
    });
    json::spaced(&json!({ "objects": objects.collect::<Vec<_>>() }))
}

/// Returns an object's type, with what a list tells of it.
fn kind(one: &Descriptor) -> String {
    match one.data {
        DataType::Partition(partition) => format!(
            "FS ({}/{}/{})",
            file_system(partition.file_system),
            partition_kind(partition.kind),
            architecture(partition.architecture)
        ),
        DataType::Signature(signature) => format!("Signature ({})", hash(signature.hash)),
        data => data_type(data),
    }
}

fn list(sif: &Sif) -> String {
    let rule = "-".repeat(78);
    let mut text = format!(
        "{rule}\n{:<5}|{:<8}|{:<8}|{:<26}|TYPE\n{rule}\n",
        "ID", "GROUP", "LINK", "SIF POSITION (start-end)"
    );
    for one in &sif.descriptors {
        let position = format!("{}-{}", one.offset, one.offset + one.size);
        let kind = kind(one);
        text += &format!(
            "{:<5}|{:<8}|{:<8}|{position:<26}|{kind}\n",
            one.id,
            group(one),
            link(one)
        );
    }
    text
}

fn info(one: &Descriptor) -> String {
    let mut rows = vec![
        ("Data Type", data_type(one.data)),
        ("ID", one.id.to_string()),
        ("Group ID", group(one)),
        ("Linked ID", link(one)),
        ("Offset", one.offset.to_string()),
        ("Size", one.size.to_string()),
        ("Created At", time(one.created)),
        ("Modified At", time(one.modified)),
    ];
    if !one.name.is_empty() {
        rows.push(("Name", one.name.clone()));
    }
    match one.data {
        DataType::Partition(partition) => rows.extend([
            (
                "Filesystem Type",
                file_system(partition.file_system).to_owned(),
            ),
            ("Partition Type", partition_kind(partition.kind).to_owned()),
            ("Architecture", architecture(partition.architecture)),
        ]),
        DataType::Signature(signature) => {
            let fingerprint = signature.fingerprint.iter();
            rows.extend([
                ("Hash Type", hash(signature.hash)),
                (
                    "Entity",
                    fingerprint.map(|byte| format!("{byte:02X}")).collect(),
                ),
            ]);
        }
        _ => {}
    }
    table("  ", 2, &rows)
}

pub(super) fn group(one: &Descriptor) -> String {
    one.group
        .map_or_else(|| "NONE".to_owned(), |group| group.to_string())
}

pub(super) fn link(one: &Descriptor) -> String {
    match one.link {
        None => "NONE".to_owned(),
        Some(Link::Object(id)) => id.to_string(),
        Some(Link::Group(group)) => format!("{group} (G)"),
    }
}

pub(super) fn data_type(data: DataType) -> String {
    let name = match data {
        DataType::Definition => "Def.FILE",
        DataType::Environment => "Env.Vars",
        DataType::Labels => "JSON.Labels",
        DataType::Partition(_) => "FS",
        DataType::Signature(_) => "Signature",
        DataType::GenericJson => "JSON.Generic",
        DataType::Generic => "Generic/Raw",
        DataType::CryptoMessage => "Cryptographic Message",
        DataType::Sbom => "SBOM",
        DataType::OciRootIndex => "OCI.RootIndex",
        DataType::OciBlob => "OCI.Blob",
        DataType::Unknown(code) => return format!("Unknown ({code:#x})"),
    };
    name.to_owned()
}

fn file_system(file_system: FileSystem) -> &'static str {
    match file_system {
        FileSystem::Squashfs => "Squashfs",
        FileSystem::Ext3 => "Ext3",
        FileSystem::Archive => "Archive",
        FileSystem::Raw => "Raw",
        FileSystem::EncryptedSquashfs => "Encrypted squashfs",
        FileSystem::GocryptfsSquashfs => "Gocryptfs squashfs",
    }
}

fn partition_kind(kind: PartitionKind) -> &'static str {
    match kind {
        PartitionKind::System => "System",
        PartitionKind::PrimarySystem => "*System",
        PartitionKind::Data => "Data",
        PartitionKind::Overlay => "Overlay",
    }
}

fn architecture(architecture: Option<Architecture>) -> String {
    architecture.map_or_else(|| "unknown".to_owned(), |one| one.to_string())
}

fn hash(code: u32) -> String {
    let name = match code {
        1 => "SHA-256",
        2 => "SHA-384",
        3 => "SHA-512",
        4 => "BLAKE2s-256",
        5 => "BLAKE2b-256",
        _ => return format!("unknown ({code})"),
    };
    name.to_owned()
}

fn time(seconds: i64) -> String {
    let time = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.format("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// Rounds down to a unit of 1024, as Apptainer does.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut left = bytes;
    let mut unit = "B";
    for next in units {
        unit = next;
        if left < 1024 {
            break;
        }
        left >>= u32::from(next != "TiB") * 10;
    }
    format!("{left} {unit}")
}

fn uuid(bytes: &[u8; 16]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16];
    let parts: Vec<String> = parts
        .into_iter()
        .map(|range| digits.get(range).unwrap_or_default().concat())
        .collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_down() {
        let rows = [
            (0, "0 B"),
            (1023, "1023 B"),
            (28080, "27 KiB"),
            (1_049_168, "1 MiB"),
        ];
        for (bytes, text) in rows {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn names_are_shown_and_not_obeyed() {
        let text = table("  ", 2, &[("Name", "a\x1b[2J\nb".to_owned())]);
        assert_eq!(text, "  Name:  a\\x1b[2J\\nb\n");
    }
}
