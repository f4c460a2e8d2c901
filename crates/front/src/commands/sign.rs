//! `front sign` and `front verify`: signatures, which show that a SIF has not changed.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::json;
use sif::{Descriptor, Sif};
use signing::{Scope, Verified, sign, verify};

use super::key::{choose, keyring};
use super::sif::{data_type, group, link};
use crate::caller::Caller;
use crate::cli::{Sign, Verify};
use crate::clock::now;
use crate::messages::Messages;
use crate::prompt;

pub fn run_sign(args: &Sign, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    messages.info("Signing image with PGP key material");
    let named = || args.image.display().to_string();
    let keys = keyring(caller).secret()?;
    let key = choose(&keys, args.keyidx, args.fingerprint.as_deref())?;
    let password = match key.is_locked() {
        true => prompt::ask("Enter key passphrase: ", false)?,
        false => String::new(),
    };
    let file = File::options()
        .read(true)
        .write(true)
        .open(&args.image)
        .with_context(named)?;
    let mut sif = Sif::read(&file).with_context(named)?;
    let scope = scope(args.group_id, args.sif_id)?;
    sign(&file, &mut sif, scope, key, &password, now()?).with_context(named)?;
    messages.info(format_args!(
        "Signature created and applied to image '{}'",
        args.image.display()
    ));
    Ok(ExitCode::SUCCESS)
}

pub fn run_verify(args: &Verify, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    messages.info("Verifying image with PGP key material");
    let file = File::open(&args.image).with_context(|| args.image.display().to_string())?;
    let sif = Sif::read(&file).with_context(|| args.image.display().to_string())?;
    let keys = keyring(caller).public()?;
    let scope = scope(args.group_id, args.sif_id)?;
    let verified = verify(&file, &sif, scope, &keys)
        .with_context(|| format!("Failed to verify container: {}", args.image.display()))?;
    let text = match args.json {
        true => json_of(&sif, &verified)?,
        false => plain(&sif, &verified),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("print")?;
    messages.info(format_args!(
        "Verified signature(s) from image '{}'",
        Path::new(&args.image).display()
    ));
    Ok(ExitCode::SUCCESS)
}

fn scope(group: Option<u32>, object: Option<u32>) -> Result<Scope> {
    match (group, object) {
        (Some(_), Some(_)) => bail!("--group-id and --sif-id cannot be used together"),
        (Some(group), None) => Ok(Scope::Group(group)),
        (None, Some(object)) => Ok(Scope::Object(object)),
        (None, None) => Ok(Scope::All),
    }
}

fn objects<'a>(sif: &'a Sif, verified: &'a Verified) -> impl Iterator<Item = &'a Descriptor> {
    let all = sif.descriptors.iter();
    all.filter(|one| verified.objects.contains(&one.id))
}

fn plain(sif: &Sif, all: &[Verified]) -> String {
    let mut text = String::new();
    for verified in all {
        let key = &verified.key;
        let _ = writeln!(
            text,
            "[LOCAL]            Signing entity: {}",
            text::printable(&key.user())
        );
        let _ = writeln!(
            text,
            "[LOCAL]            Fingerprint: {}",
            key.fingerprint()
        );
        let _ = writeln!(text, "Objects verified:");
        let _ = writeln!(text, "ID  |GROUP   |LINK    |TYPE");
        let _ = writeln!(text, "{}", "-".repeat(48));
        for object in objects(sif, verified) {
            let (group, link) = (group(object), link(object));
            let kind = data_type(object.data);
            let _ = writeln!(text, "{:<4}|{group:<8}|{link:<8}|{kind}", object.id);
        }
    }
    text
}

fn json_of(sif: &Sif, all: &[Verified]) -> Result<String> {
    let signers: Vec<_> = all
        .iter()
        .flat_map(|verified| {
            objects(sif, verified).map(|object| {
                json!({"Signer": {
                    "Partition": data_type(object.data),
                    "Name": verified.key.user(),
                    "Fingerprint": verified.key.fingerprint().to_lowercase(),
                    "KeyLocal": true,
                    "KeyCheck": true,
                    "DataCheck": true,
                }})
            })
        })
        .collect();
    let document = json!({"Signatures": all.len(), "SignerKeys": signers});
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}
