//! The command line of `front sif`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `front sif`.
#[derive(Debug, Subcommand)]
pub enum SifCommand {
    /// Print the global header
    Header {
        /// The SIF
        path: PathBuf,
    },
    /// List the objects
    List {
        /// Print JSON
        #[arg(short, long)]
        json: bool,
        /// The SIF
        path: PathBuf,
    },
    /// Print an object's descriptor
    Info {
        /// The object's ID
        id: u32,
        /// The SIF
        path: PathBuf,
    },
    /// Write an object to standard output
    Dump {
        /// The object's ID
        id: u32,
        /// The SIF
        path: PathBuf,
    },
    /// Make an empty SIF
    New {
        /// The SIF
        path: PathBuf,
    },
    /// Add an object
    Add(Box<SifAdd>),
    /// Delete an object
    Del {
        /// The object's ID
        id: u32,
        /// The SIF
        path: PathBuf,
    },
    /// Make a partition the primary one
    Setprim {
        /// The object's ID
        id: u32,
        /// The SIF
        path: PathBuf,
    },
}

/// `front sif add`.
#[derive(Debug, Args)]
pub struct SifAdd {
    /// Set the object's type: 1 definition file, 2 variables, 3 labels, 4 partition, 5 signature, 6
    /// JSON, 7 anything, 8 message, 9 SBOM, 10 OCI index, 11 OCI blob
    #[arg(long, value_name = "N")]
    pub datatype: u32,
    /// Set the object's name (default: none)
    #[arg(long, value_name = "NAME")]
    pub filename: Option<String>,
    /// Put the object into this group; 0 is none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub groupid: u32,
    /// Link the object to this one; 0 is none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub link: u32,
    /// Set a partition's architecture: 1 386, 2 amd64, 3 arm, 4 arm64, 6 ppc64le, 11 s390x, 12
    /// riscv64, ...
    #[arg(long, value_name = "N")]
    pub partarch: Option<u32>,
    /// Set a partition's file system: 1 squashfs, 2 ext3, 3 archive, 4 raw, 5 encrypted
    /// squashfs, 6 gocryptfs squashfs
    #[arg(long, value_name = "N")]
    pub partfs: Option<u32>,
    /// Set a partition's purpose: 1 system, 2 primary system, 3 data, 4 overlay
    #[arg(long, value_name = "N")]
    pub parttype: Option<u32>,
    /// Set a signature's hash: 1 SHA-256, 2 SHA-384, 3 SHA-512, 4 BLAKE2s, 5 BLAKE2b
    #[arg(long, value_name = "N")]
    pub signhash: Option<u32>,
    /// Set the fingerprint of a signature's key, 40 hexadecimal digits
    #[arg(long, value_name = "FINGERPRINT")]
    pub signentity: Option<String>,
    /// The SIF
    pub path: PathBuf,
    /// The file with the object's content
    pub object: PathBuf,
}
