//! A rule of a filter.

/// A rule for devices; `None` means any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether the devices may be used.
    pub allow: bool,
    /// The kind of the devices: [`Rule::BLOCK`] or [`Rule::CHARACTER`].
    pub kind: Option<u32>,
    /// The major number of the devices.
    pub major: Option<u32>,
    /// The minor number of the devices.
    pub minor: Option<u32>,
    /// The kinds of access: a sum of [`Rule::MKNOD`], [`Rule::READ`] and [`Rule::WRITE`].
    pub access: u32,
}

/// The numbers of `linux/bpf.h`: `BPF_DEVCG_DEV_*` and `BPF_DEVCG_ACC_*`.
impl Rule {
    /// Block devices.
    pub const BLOCK: u32 = 1;
    /// Character devices.
    pub const CHARACTER: u32 = 2;
    /// Making a node.
    pub const MKNOD: u32 = 1;
    /// Reading.
    pub const READ: u32 = 2;
    /// Writing.
    pub const WRITE: u32 = 4;
    /// Any access.
    pub const ANY: u32 = Self::MKNOD | Self::READ | Self::WRITE;
}
