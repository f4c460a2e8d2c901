//! The compressors: one call decompresses a stored block.
//!
//! All write into a buffer of fixed size and fail if it is too small, so a decompression bomb costs
//! no more memory than a valid block.

use std::cell::RefCell;
use std::fmt;
use std::io::Read;

use libdeflater::Decompressor;
use lzma_rust2::XzReader;
use zstd_safe::DCtx;

use crate::error::Error;

/// Memory that an xz block may use in addition to its dictionary, in KiB: the decoder's own.
const XZ_OVERHEAD_KIB: u32 = 256;

/// Largest xz dictionary, in KiB: that of the largest block, as `mksquashfs -Xdict-size` allows.
const XZ_DICTIONARY_KIB: u32 = 1024;

/// A compressor by its id in the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Id 1: zlib streams.
    Gzip,
    /// Id 3: lzo1x.
    Lzo,
    /// Id 4: xz streams, possibly with a branch filter.
    Xz,
    /// Id 5: raw lz4 blocks.
    Lz4,
    /// Id 6: zstd frames.
    Zstd,
}

impl Compression {
    /// Returns the compressor of a superblock's `compression` field.
    ///
    /// Id 2, lzma without the xz container, was replaced by xz before Linux supported it.
    pub(crate) fn from_id(id: u16) -> Result<Self, Error> {
        match id {
            1 => Ok(Self::Gzip),
            2 => Err(Error::UnsupportedCompressor("lzma (legacy)")),
            3 => Ok(Self::Lzo),
            4 => Ok(Self::Xz),
            5 => Ok(Self::Lz4),
            6 => Ok(Self::Zstd),
            other => Err(Error::UnknownCompressor(other)),
        }
    }

    /// Returns the name that `mksquashfs -comp` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Lzo => "lzo",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Decompresses `input` into the front of `output` and returns the number of decompressed
    /// bytes.
    pub(crate) fn decompress(self, input: &[u8], output: &mut [u8]) -> Result<usize, String> {
        match self {
            Self::Gzip => gzip(input, output),
            Self::Lzo => lzokay::decompress::decompress(input, output).map_err(|e| e.to_string()),
            Self::Xz => xz(input, output),
            Self::Lz4 => lz4_flex::block::decompress_into(input, output).map_err(|e| e.to_string()),
            Self::Zstd => zstd(input, output),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// A decoder's state takes tens of KiB: making it for each block of 8 KiB would cost more than the
// decoding.
thread_local! {
    static INFLATE: RefCell<Decompressor> = RefCell::new(Decompressor::new());
    static ZSTD: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

fn gzip(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    INFLATE.with_borrow_mut(|state| {
        state
            .zlib_decompress(input, output)
            .map_err(|error| error.to_string())
    })
}

fn zstd(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    ZSTD.with_borrow_mut(|state| {
        if state.is_none() {
            *state = DCtx::try_create();
        }
        let context = state.as_mut().ok_or("no memory for a decoder")?;
        context
            .decompress(output, input)
            .map_err(|code| zstd_safe::get_error_name(code).into())
    })
}

fn xz(input: &[u8], output: &mut [u8]) -> Result<usize, String> {
    let limit = XZ_DICTIONARY_KIB.saturating_add(XZ_OVERHEAD_KIB);
    let mut reader = XzReader::new_mem_limit(input, false, limit);
    let mut done = 0;
    while let Some(rest) = output.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => return Ok(done),
            Ok(n) => done = done.saturating_add(n),
            Err(error) => return Err(error.to_string()),
        }
    }
    // The stream's checksums are compared only when its end is read.
    match reader.read(&mut [0]) {
        Ok(0) => Ok(done),
        Ok(_) => Err("the stream does not end within its block".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"the quick brown fox \xe8\x01\x02\x00\x00 jumps over the lazy dog ";

    /// The text `TEXT` six times, compressed by xz with the x86 filter and CRC32.
    const XZ: &[u8] = &[
        253, 55, 122, 88, 90, 0, 0, 1, 105, 34, 222, 54, 2, 1, 4, 0, 33, 1, 8, 0, 210, 185, 116,
        203, 224, 1, 43, 0, 70, 93, 0, 58, 26, 8, 206, 118, 199, 229, 233, 214, 7, 52, 195, 209,
        14, 191, 206, 85, 225, 170, 189, 225, 1, 95, 247, 166, 46, 154, 205, 207, 98, 86, 13, 153,
        2, 165, 190, 130, 194, 207, 179, 75, 202, 156, 36, 185, 181, 182, 150, 36, 66, 239, 209,
        193, 108, 203, 41, 145, 133, 55, 168, 19, 140, 222, 71, 66, 122, 67, 136, 120, 0, 0, 0, 0,
        36, 212, 95, 244, 0, 1, 94, 172, 2, 0, 0, 0, 70, 7, 15, 234, 62, 48, 13, 139, 2, 0, 0, 0,
        0, 1, 89, 90,
    ];

    #[test]
    fn xz_with_a_branch_filter_is_read() {
        let mut output = [0; 400];
        assert_eq!(xz(XZ, &mut output), Ok(300));
        assert_eq!(&output[..300], TEXT.repeat(6));
        assert!(xz(XZ, &mut output[..299]).is_err());
    }

    /// Checksums detect random errors, not attacks. The test corrects the headers' checksums, so
    /// that the decoder sees invalid fields.
    #[test]
    fn no_xz_stream_panics() {
        let crc = |bytes: &[u8]| {
            let mut crc = libdeflater::Crc::new();
            crc.update(bytes);
            crc.sum().to_le_bytes()
        };
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize
        };
        for _ in 0..30_000 {
            let mut bytes = XZ.to_vec();
            for _ in 0..=random() % 3 {
                // Mostly the headers and the header of the first chunk.
                let at = random() % if random() % 2 == 0 { 34 } else { bytes.len() };
                bytes[at] = random() as u8;
            }
            let sum = crc(&bytes[6..8]);
            bytes[8..12].copy_from_slice(&sum);
            let size = (usize::from(bytes[12]) + 1) * 4;
            if 12 + size <= bytes.len() {
                let sum = crc(&bytes[12..8 + size]);
                bytes[8 + size..12 + size].copy_from_slice(&sum);
            }
            let _ = xz(&bytes, &mut [0; 4096]);
        }
    }
}
