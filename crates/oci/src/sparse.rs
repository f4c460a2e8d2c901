//! Files with holes, as GNU tar writes them into PAX archives ([GNU tar manual, "Sparse Formats"]).
//!
//! The tar crate reads GNU tar's older format (`GNUSparse`).
//!
//! [GNU tar manual, "Sparse Formats"]: https://www.gnu.org/software/tar/manual/html_node/Sparse-Formats.html

use std::collections::VecDeque;
use std::io::{self, Read};

/// Largest number of parts of a file.
const MOST: usize = 1 << 20;

/// A file with holes, as an entry's extended headers describe it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// The file's name; `None` when the entry's own name is the right one.
    pub(crate) name: Option<Vec<u8>>,
    /// The file's size in bytes, holes included.
    pub(crate) size: u64,
    /// The offsets and lengths of the parts. `None` when the map of the parts precedes the data
    /// (format 1.0).
    parts: Option<Vec<(u64, u64)>>,
}

impl Sparse {
    /// Reads the sparse headers of an entry. Returns `None` for an entry without them.
    ///
    /// # Errors
    ///
    /// Fails on headers that no tar writes.
    pub(crate) fn of<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Option<Self>> {
        match entry.pax_extensions()? {
            Some(extensions) => {
                let pairs = extensions.filter_map(Result::ok);
                Self::parse(pairs.map(|pair| (pair.key_bytes(), pair.value_bytes())))
            }
            None => Ok(None),
        }
    }

    fn parse<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> io::Result<Option<Self>> {
        let (mut name, mut size, mut offset) = (None, None, None);
        let mut parts: Vec<(u64, u64)> = Vec::new();
        let (mut is_sparse, mut in_data) = (false, false);
        for (key, value) in pairs {
            let Some(key) = key.strip_prefix(b"GNU.sparse.") else {
                continue;
            };
            is_sparse = true;
            match key {
                b"name" => name = Some(value.to_owned()),
                b"size" | b"realsize" => size = Some(number(value)?),
                b"major" => in_data = number(value)? > 0,
                b"offset" => offset = Some(number(value)?),
                b"numbytes" => {
                    parts.push((offset.take().ok_or_else(wrong)?, number(value)?));
                }
                b"map" => {
                    let numbers: Vec<u64> = { value.split(|byte| *byte == b',') }
                        .map(number)
                        .collect::<io::Result<_>>()?;
                    let (pairs, rest) = numbers.as_chunks::<2>();
                    if !rest.is_empty() {
                        return Err(wrong());
                    }
                    parts.extend(pairs.iter().map(|[offset, length]| (*offset, *length)));
                }
                _ => {}
            }
            if parts.len() > MOST {
                return Err(wrong());
            }
        }
        if !is_sparse {
            return Ok(None);
        }
        Ok(Some(Self {
            name,
            size: size.ok_or_else(wrong)?,
            parts: (!in_data).then_some(parts),
        }))
    }

    /// Checks that the file can be read from the `length` bytes that the archive has of it.
    ///
    /// # Errors
    ///
    /// As [`reader`](Self::reader), and when the archive has fewer bytes than the parts.
    pub(crate) fn check(self, stored: impl Read, length: u64) -> io::Result<()> {
        let reader = self.reader(stored)?;
        // The sum cannot overflow: the parts follow one another within the file's size.
        let parts: u64 = reader.parts.iter().map(|(_, length)| length).sum();
        match reader.map.saturating_add(parts) <= length {
            true => Ok(()),
            false => Err(wrong()),
        }
    }

    /// Returns a reader of the whole file, holes included, from the bytes that the archive has of
    /// it.
    ///
    /// # Errors
    ///
    /// Fails when the parts overlap, are not in order, or exceed the file's size.
    pub(crate) fn reader<R: Read>(self, mut stored: R) -> io::Result<Reader<R>> {
        let (parts, map) = match self.parts {
            Some(parts) => (parts, 0),
            None => parts_in(&mut stored)?,
        };
        let mut end = 0;
        for (offset, length) in &parts {
            let next = offset
                .checked_add(*length)
                .filter(|next| *next <= self.size);
            end = next.filter(|_| *offset >= end).ok_or_else(wrong)?;
        }
        Ok(Reader {
            stored,
            map,
            parts: parts.into(),
            position: 0,
            size: self.size,
        })
    }
}

/// Reads the map of the parts, which precedes the data: lines of decimal numbers, padded to a
/// block. Also returns the map's length in bytes.
fn parts_in(stored: &mut impl Read) -> io::Result<(Vec<(u64, u64)>, u64)> {
    const BLOCK: usize = 512;
    let mut block = [0; BLOCK];
    let (mut numbers, mut line) = (Vec::new(), Vec::new());
    let mut length = 0;
    loop {
        stored.read_exact(&mut block)?;
        length += block.len() as u64;
        for byte in block {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            numbers.push(number(&line)?);
            line.clear();
            let count = numbers
                .first()
                .and_then(|count| usize::try_from(*count).ok());
            let count = count.filter(|count| *count <= MOST).ok_or_else(wrong)?;
            if numbers.len() > count * 2 {
                let (pairs, _) = numbers.get(1..).unwrap_or_default().as_chunks::<2>();
                let parts = pairs.iter().map(|[offset, length]| (*offset, *length));
                return Ok((parts.collect(), length));
            }
        }
        if line.len() > BLOCK {
            return Err(wrong());
        }
    }
}

fn number(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(wrong)
}

fn wrong() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "its headers of a sparse file make no sense",
    )
}

/// A reader of a sparse file, which returns zeros for the holes.
pub(crate) struct Reader<R> {
    stored: R,
    /// Length of the map that precedes the data, in bytes.
    map: u64,
    parts: VecDeque<(u64, u64)>,
    position: u64,
    size: u64,
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self
            .parts
            .front()
            .is_some_and(|(offset, length)| offset + length <= self.position)
        {
            self.parts.pop_front();
        }
        let next = self.parts.front().map_or(self.size, |(offset, _)| *offset);
        let (end, is_hole) = match self.parts.front() {
            Some((offset, length)) if *offset <= self.position => (offset + length, false),
            _ => (next, true),
        };
        let room = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        let room = room.min(buffer.len());
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let length = match is_hole {
            true => {
                buffer.fill(0);
                room
            }
            false => self.stored.read(buffer)?,
        };
        if length == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> io::Result<Option<Sparse>> {
        Sparse::parse(
            pairs
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_bytes())),
        )
    }

    fn content(sparse: Sparse, stored: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        sparse.reader(stored)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn each_format_is_read() {
        let expected = b"\0\0ab\0\0\0c\0\0";
        let of_0_0 = [
            ("GNU.sparse.size", "10"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "2"),
            ("GNU.sparse.numbytes", "2"),
            ("GNU.sparse.offset", "7"),
            ("GNU.sparse.numbytes", "1"),
        ];
        let of_0_1 = [
            ("GNU.sparse.size", "10"),
            ("GNU.sparse.map", "2,2,7,1"),
            ("GNU.sparse.name", "real"),
        ];
        let of_1_0 = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "10"),
        ];
        assert_eq!(
            content(parse(&of_0_0).unwrap().unwrap(), b"abc").unwrap(),
            expected
        );
        let sparse = parse(&of_0_1).unwrap().unwrap();
        assert_eq!(sparse.name.as_deref(), Some(&b"real"[..]));
        assert_eq!(content(sparse, b"abc").unwrap(), expected);
        let mut stored = b"2\n2\n2\n7\n1\n".to_vec();
        stored.resize(512, 0);
        stored.extend(b"abc");
        assert_eq!(
            content(parse(&of_1_0).unwrap().unwrap(), &stored).unwrap(),
            expected
        );
        assert_eq!(parse(&[("path", "x")]).unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for pairs in [
            &[("GNU.sparse.map", "1,2")][..],
            &[("GNU.sparse.size", "x")],
            &[("GNU.sparse.size", "9"), ("GNU.sparse.map", "1,2,3")],
            &[("GNU.sparse.size", "9"), ("GNU.sparse.numbytes", "3")],
        ] {
            assert!(parse(pairs).is_err(), "{pairs:?}");
        }
        for map in ["5,5", "3,2,4,1", "18446744073709551615,1"] {
            let sparse = parse(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", map)]);
            assert!(
                content(sparse.unwrap().unwrap(), b"0123456789").is_err(),
                "{map}"
            );
        }
        let short = parse(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,9")]);
        assert!(content(short.unwrap().unwrap(), b"12").is_err());
        let told = |map: &str| parse(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", map)]);
        let check = |map: &str, stored: &[u8]| {
            let sparse = told(map).unwrap().unwrap();
            sparse.check(stored, stored.len() as u64)
        };
        assert!(check("0,2,4,3", b"12345").is_ok());
        assert!(check("0,2,4,3", b"1234").is_err());
        let endless = parse(&[("GNU.sparse.size", "9"), ("GNU.sparse.major", "1")]);
        assert!(content(endless.unwrap().unwrap(), &[b'1'; 4096]).is_err());
    }
}
