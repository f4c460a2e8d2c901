//! `front key`: the keys for signing and verification, in Apptainer's own keyring.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use sys::ExitCode;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use pack::whole_content;
use serde_json::json;
use signing::{Algorithm, Key, Keyring, Secret};

use crate::caller::Caller;
use crate::cli::{KeyCommand, KeyExport, KeyNewpair, KeyRemove};
use crate::flags::settings;
use crate::json;
use crate::messages::Messages;
use crate::prompt;

pub fn run(command: &KeyCommand, caller: &Caller, messages: &Messages) -> Result<ExitCode> {
    let keyring = keyring(caller);
    match command {
        KeyCommand::List { secret, json } => list(&keyring, *secret, *json)?,
        KeyCommand::Newpair(args) => newpair(&keyring, args, messages)?,
        KeyCommand::Import { file } => {
            let new = keyring.import(file)?;
            if new.is_empty() {
                messages.info("The key is already in the keyring");
            }
            for key in new {
                messages.info(format_args!(
                    "Key with fingerprint {} successfully added to the keyring",
                    key.fingerprint()
                ));
            }
        }
        KeyCommand::Export(args) => export(&keyring, args, messages)?,
        KeyCommand::Remove(args) => remove(&keyring, args, messages)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the keyring: Apptainer's, unless a variable names another directory.
pub fn keyring(caller: &Caller) -> Keyring {
    let chosen = caller.variables.value(&settings::KEYSDIR);
    Keyring::new(chosen.map_or_else(
        || caller.configuration(&caller.account()).join("keys"),
        |(_, directory)| PathBuf::from(directory),
    ))
}

/// Returns the key to sign with: the one that the user named, or the only one.
pub fn choose<'a>(
    keys: &'a [Secret],
    index: Option<usize>,
    fingerprint: Option<&str>,
) -> Result<&'a Secret> {
    if let Some(fingerprint) = fingerprint {
        let mut found = keys.iter().filter(|key| key.public().is(fingerprint));
        let found = found.next();
        return found.with_context(|| {
            format!("no private key {fingerprint}; see `front key list --secret`")
        });
    }
    match (keys, index) {
        ([], _) => bail!("no private key; create one with `front key newpair`"),
        (keys, Some(index)) => keys
            .get(index)
            .with_context(|| format!("no private key {index}; see `front key list --secret`")),
        ([one], None) => Ok(one),
        (_, None) => {
            bail!("several private keys; select one of `front key list --secret` with --keyidx")
        }
    }
}

fn list(keyring: &Keyring, secret: bool, as_json: bool) -> Result<()> {
    let (title, file, keys) = match secret {
        true => (
            "Private",
            keyring.secret_file(),
            keyring.secret()?.iter().map(Secret::public).collect(),
        ),
        false => ("Public", keyring.public_file(), keyring.public()?),
    };
    let keys: Vec<Key> = keys;
    let text = match as_json {
        true => listed_as_json(&keys)?,
        false => listed(title, &file, &keys),
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("print")
}

fn listed_as_json(keys: &[Key]) -> Result<String> {
    let keys = keys.iter().map(|key| {
        json!({
            "user": key.user(),
            "created": created(key).to_rfc3339(),
            "fingerprint": key.fingerprint(),
            "bits": key.bits(),
        })
    });
    json::spaced(&json!({ "keys": keys.collect::<Vec<_>>() }))
}

fn created(key: &Key) -> DateTime<Utc> {
    DateTime::from_timestamp(key.created(), 0).unwrap_or_default()
}

fn listed(title: &str, file: &Path, keys: &[Key]) -> String {
    let mut text = format!("{title} key listing ({}):\n\n", file.display());
    for (number, key) in keys.iter().enumerate() {
        let _ = writeln!(
            text,
            "{number})  User:              {}",
            text::printable(&key.user())
        );
        let _ = writeln!(
            text,
            "    Creation time:     {}",
            created(key).format("%Y-%m-%d %H:%M:%S +0000 UTC")
        );
        let _ = writeln!(text, "    Fingerprint:       {}", key.fingerprint());
        let _ = writeln!(text, "    Length (in bits):  {}\n", key.bits());
    }
    text
}

fn newpair(keyring: &Keyring, args: &KeyNewpair, messages: &Messages) -> Result<()> {
    let ask = |given: &Option<String>, question: &str| match given {
        Some(given) => Ok(given.clone()),
        None => prompt::ask(question, true),
    };
    let name = ask(&args.name, "Enter your name (e.g., John Doe) : ")?;
    let email = ask(
        &args.email,
        "Enter your email address (e.g., john.doe@example.com) : ",
    )?;
    let comment = args.comment.clone().unwrap_or_default();
    let password = match &args.password {
        Some(password) => password.clone(),
        None => {
            let password = prompt::ask("Enter a passphrase : ", false)?;
            if password != prompt::ask("Retype your passphrase : ", false)? {
                bail!("the two passphrases differ");
            }
            password
        }
    };
    let comment = match comment.is_empty() {
        true => String::new(),
        false => format!(" ({comment})"),
    };
    let algorithm = match args.bit_length {
        None => Algorithm::Ed25519,
        Some(bits) if (2048..=16384).contains(&bits) => Algorithm::Rsa(bits),
        Some(bits) => bail!("--bit-length {bits}: expected 2048 to 16384"),
    };
    messages.info("Generating Entity and OpenPGP Key Pair...");
    let key = Secret::generate(&format!("{name}{comment} <{email}>"), algorithm, &password)?;
    keyring.add(&key)?;
    messages.info(format_args!(
        "Key {} is in the keyring",
        key.public().fingerprint()
    ));
    Ok(())
}

fn export(keyring: &Keyring, args: &KeyExport, messages: &Messages) -> Result<()> {
    let content = if args.secret {
        let keys = keyring.secret()?;
        let key = choose(&keys, args.keyidx, args.fingerprint.as_deref())?;
        match args.armor {
            true => key.armored()?.into_bytes(),
            false => key.bytes()?,
        }
    } else {
        let keys = keyring.public()?;
        let key = match (&args.fingerprint, args.keyidx, keys.as_slice()) {
            (Some(fingerprint), _, keys) => keys.iter().find(|key| key.is(fingerprint)),
            (None, Some(index), keys) => keys.get(index),
            (None, None, [one]) => Some(one),
            (None, None, []) => bail!("no key in the keyring"),
            (None, None, _) => {
                bail!("several keys; select one with --keyidx or --fingerprint")
            }
        };
        let key = key.context("no such key; see `front key list`")?;
        match args.armor {
            true => key.armored()?.into_bytes(),
            false => key.bytes()?,
        }
    };
    let mode = if args.secret { 0o600 } else { 0o644 };
    whole_content(&args.file, false, mode, &content)?;
    messages.info(format_args!("Key exported to {}", args.file.display()));
    Ok(())
}

fn remove(keyring: &Keyring, args: &KeyRemove, messages: &Messages) -> Result<()> {
    let (public, secret) = match (args.both, args.secret) {
        (true, _) => (true, true),
        (false, secret) => (!secret, secret),
    };
    match keyring.remove(&args.fingerprint, public, secret)? {
        0 => bail!("no key {} in the keyring", args.fingerprint),
        count => messages.info(format_args!("{count} key(s) removed")),
    }
    Ok(())
}
