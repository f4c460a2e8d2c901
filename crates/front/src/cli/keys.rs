//! Keys, signatures and credentials: what is typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `front sign`.
#[derive(Debug, Args)]
pub struct Sign {
    /// The key: its number in `front key list --secret`
    #[arg(short, long, value_name = "N")]
    pub keyidx: Option<usize>,
    /// The key: its fingerprint, or the end of it
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
    /// Use the keys of the keyring only, as is done in any case
    #[arg(short, long, hide = true)]
    pub local: bool,
    /// Verify everything, as is done in any case
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
        /// Those to sign with
        #[arg(short, long)]
        secret: bool,
    },
    /// Make a key to sign with, and the one that verifies it
    Newpair(KeyNewpair),
    /// Add the keys of a file
    Import {
        /// The file
        file: PathBuf,
    },
    /// Write a key to a file
    Export(KeyExport),
    /// Remove a key
    Remove(KeyRemove),
}

/// `front key newpair`.
#[derive(Debug, Args)]
pub struct KeyNewpair {
    /// Your name (default: asked for)
    #[arg(short = 'N', long)]
    pub name: Option<String>,
    /// Your address (default: asked for)
    #[arg(short = 'E', long)]
    pub email: Option<String>,
    /// A comment
    #[arg(short = 'C', long)]
    pub comment: Option<String>,
    /// What locks the key; an empty one does not (default: asked for)
    #[arg(short = 'P', long)]
    pub password: Option<String>,
    /// An RSA key of so many bits (default: an Ed25519 key)
    #[arg(short, long, value_name = "N")]
    pub bit_length: Option<u32>,
    /// Keys are never sent anywhere
    #[arg(short = 'U', long, hide = true, num_args = 0..=1, require_equals = true)]
    pub push: Option<Option<String>>,
}

/// `front key export`.
#[derive(Debug, Args)]
pub struct KeyExport {
    /// The key to sign with, not the one that verifies
    #[arg(short, long)]
    pub secret: bool,
    /// In letters
    #[arg(short, long)]
    pub armor: bool,
    /// The key: its number in the list
    #[arg(short, long, value_name = "N")]
    pub keyidx: Option<usize>,
    /// The key: its fingerprint, or the end of it
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "keyidx")]
    pub fingerprint: Option<String>,
    /// The file to make
    pub file: PathBuf,
}

/// `front key remove`.
#[derive(Debug, Args)]
pub struct KeyRemove {
    /// The key to sign with as well
    #[arg(short, long)]
    pub both: bool,
    /// The key to verify with, as without flags
    #[arg(short, long, hide = true)]
    pub public: bool,
    /// The key to sign with
    #[arg(short, long, conflicts_with = "both")]
    pub secret: bool,
    /// The key's fingerprint, or the end of it
    pub fingerprint: String,
}

/// `front registry`.
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Keep a user and a password for a registry, if the registry takes them
    Login(RegistryLogin),
    /// Forget them
    Logout {
        /// The file of credentials
        #[arg(long, value_name = "FILE")]
        authfile: Option<PathBuf>,
        /// docker://HOST or oras://HOST
        registry: String,
    },
    /// List the registries that are known
    List {
        /// The file of credentials
        #[arg(long, value_name = "FILE")]
        authfile: Option<PathBuf>,
    },
}

/// `front registry login`.
#[derive(Debug, Args)]
pub struct RegistryLogin {
    /// The user (default: asked for)
    #[arg(short, long, value_name = "NAME")]
    pub username: Option<String>,
    /// The password, for all who can list processes to see (default: asked for)
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Take a registry without TLS, or with a certificate that nobody vouches for
    #[arg(long)]
    pub no_https: bool,
    /// The file of credentials
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// docker://HOST or oras://HOST
    pub registry: String,
}
