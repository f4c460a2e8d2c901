//! The command lines of the commands for keys, signatures and credentials.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `front sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// Use the key with this number in `front key list --secret`
    #[arg(short, long, value_name = "N")]
    pub keyidx: Option<usize>,
    /// Use the key with this fingerprint, or the end of one
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "keyidx")]
    pub fingerprint: Option<String>,
    /// Sign one group
    #[arg(short, long, value_name = "N")]
    pub group_id: Option<u32>,
    /// Sign one object
    #[arg(short = 'i', long, value_name = "N")]
    pub sif_id: Option<u32>,
    /// The SIF
    pub image: PathBuf,
}

/// `front verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// Verify one group
    #[arg(short, long, value_name = "N")]
    pub group_id: Option<u32>,
    /// Verify one object
    #[arg(short = 'i', long, value_name = "N")]
    pub sif_id: Option<u32>,
    /// Print JSON
    #[arg(short, long)]
    pub json: bool,
    /// Do nothing: only the keys of the keyring are used in any case
    #[arg(short, long, hide = true)]
    pub local: bool,
    /// Do nothing: everything is verified in any case
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// The SIF
    pub image: PathBuf,
}

/// `front key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys
    List {
        /// List the private keys, which sign
        #[arg(short, long)]
        secret: bool,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
    /// Make a private key, which signs, and its public key, which verifies
    Newpair(KeyNewpair),
    /// Import the keys in a file
    Import {
        /// The file
        file: PathBuf,
    },
    /// Export a key to a file
    Export(KeyExport),
    /// Remove a key
    Remove(KeyRemove),
}

/// `front key newpair`.
#[derive(Debug, Args)]
pub struct KeyNewpair {
    /// Set your name (default: ask)
    #[arg(short = 'N', long)]
    pub name: Option<String>,
    /// Set your e-mail address (default: ask)
    #[arg(short = 'E', long)]
    pub email: Option<String>,
    /// Add a comment
    #[arg(short = 'C', long)]
    pub comment: Option<String>,
    /// Lock the key with this password; an empty one leaves it unlocked (default: ask)
    #[arg(short = 'P', long)]
    pub password: Option<String>,
    /// Make an RSA key of this many bits (default: an Ed25519 key)
    #[arg(short, long, value_name = "N")]
    pub bit_length: Option<u32>,
    /// Do nothing: keys are never sent anywhere
    #[arg(short = 'U', long, hide = true, num_args = 0..=1, require_equals = true)]
    pub push: Option<Option<String>>,
}

/// `front key export`.
#[derive(Debug, Args)]
pub struct KeyExport {
    /// Export the private key, not the public one
    #[arg(short, long)]
    pub secret: bool,
    /// Write the key as text (ASCII armor)
    #[arg(short, long)]
    pub armor: bool,
    /// Export the key with this number in the list
    #[arg(short, long, value_name = "N")]
    pub keyidx: Option<usize>,
    /// Export the key with this fingerprint, or the end of one
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "keyidx")]
    pub fingerprint: Option<String>,
    /// The file to make
    pub file: PathBuf,
}

/// `front key remove`.
#[derive(Debug, Args)]
pub struct KeyRemove {
    /// Remove both the private and the public key
    #[arg(short, long)]
    pub both: bool,
    /// Remove the public key, as without flags
    #[arg(short, long, hide = true)]
    pub public: bool,
    /// Remove the private key
    #[arg(short, long, conflicts_with = "both")]
    pub secret: bool,
    /// The key's fingerprint, or the end of it
    pub fingerprint: String,
}

/// `front registry`.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Log in: store a user and a password for a registry, if the registry accepts them
    Login(RegistryLogin),
    /// Log out: remove the user and the password for a registry
    Logout {
        /// Use this file of credentials
        #[arg(long, value_name = "FILE")]
        authfile: Option<PathBuf>,
        /// docker://HOST or oras://HOST
        registry: String,
    },
    /// List the registries with stored credentials
    List {
        /// Use this file of credentials
        #[arg(long, value_name = "FILE")]
        authfile: Option<PathBuf>,
        /// Print JSON
        #[arg(short, long)]
        json: bool,
    },
}

/// `front registry login`.
#[derive(Debug, Args)]
pub struct RegistryLogin {
    /// Log in as this user (default: ask)
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// Use this password, which other users can see in the list of processes (default: ask)
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Accept a registry without TLS, or with an untrusted certificate
    #[arg(long)]
    pub no_https: bool,
    /// Use this file of credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// docker://HOST or oras://HOST
    pub registry: String,
}
