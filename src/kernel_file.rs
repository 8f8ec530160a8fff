//! The kernel's small text files in /proc and /sys: opened once, read again and again from the start
//! by `pread`, which costs a seventh of opening them each time.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// A file that stays open.
#[derive(Debug)]
pub struct KernelFile {
    file: File,
}

/// A buffer that grows to the largest file it has met and is used for all.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
}

/// No file that is read whole is larger: /proc/stat of 8,192 CPUs has 1.5 MB.
const MAX_FILE_BYTES: usize = 4 << 20;

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer { bytes: vec![0; 1024] }
    }
}

impl KernelFile {
    /// Opens for reading.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn open(path: &Path) -> io::Result<KernelFile> {
        File::open(path).map(|file| KernelFile { file })
    }

    /// Whether this is the very file that stands at `path` now, and not one that stood there before.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        match (self.file.metadata(), std::fs::metadata(path)) {
            (Ok(open), Ok(there)) => identity(open) == identity(there),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// The content, in one `pread` if the buffer has the room.
    ///
    /// # Errors
    /// The kernel's own; `InvalidData` for a file beyond 4 MiB.
    pub fn read<'a>(&self, buffer: &'a mut Buffer) -> io::Result<&'a [u8]> {
        loop {
            let read = self.file.read_at(&mut buffer.bytes, 0)?;
            if read < buffer.bytes.len() {
                return Ok(&buffer.bytes[..read]);
            }
            if buffer.bytes.len() >= MAX_FILE_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 4 MiB"));
            }
            buffer.bytes.resize(buffer.bytes.len() * 4, 0);
        }
    }

    /// The start of the content, as much as the buffer holds now: for files whose first line is all
    /// that is wanted.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn read_start<'a>(&self, buffer: &'a mut Buffer) -> io::Result<&'a [u8]> {
        let read = self.file.read_at(&mut buffer.bytes, 0)?;
        Ok(&buffer.bytes[..read])
    }
}

/// A file read once, without the white space at its end.
///
/// # Errors
/// The kernel's own; `InvalidData` for what is no text or beyond 4 MiB.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut buffer = Buffer::default();
    let file = KernelFile::open(path)?;
    let text = std::str::from_utf8(file.read(&mut buffer)?);
    let text = text.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(text.trim_end().to_owned())
}

/// The same of a file in which somebody may have written what is no text: a control group's name.
///
/// # Errors
/// The kernel's own; `InvalidData` beyond 4 MiB.
pub fn read_lossy(path: &Path) -> io::Result<String> {
    let mut buffer = Buffer::default();
    let file = KernelFile::open(path)?;
    Ok(String::from_utf8_lossy(file.read(&mut buffer)?).trim_end().to_owned())
}

/// Whether a file of a process in /proc is missing since that has ended: it is not there any more, or was
/// open already (ESRCH). Any other error says nothing of it.
#[must_use]
pub fn has_ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// A file that holds one number.
///
/// # Errors
/// The kernel's own; `InvalidData` for anything but digits.
pub fn read_number(path: &Path) -> io::Result<u64> {
    let mut buffer = Buffer::default();
    let file = KernelFile::open(path)?;
    parse_number(file.read(&mut buffer)?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a number"))
}

/// Decimal digits, with white space around them; nothing else.
#[must_use]
pub fn parse_number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A list of numbers and ranges such as `0-3,8,10-11`, at most `limit` numbers.
#[must_use]
pub fn parse_list(text: &str, limit: usize) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for item in text.trim().split(',').filter(|item| !item.is_empty()) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let count = usize::try_from(last.checked_sub(first)?).ok()?;
        if numbers.len().saturating_add(count) >= limit {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        for (text, expected) in [
            ("0\n", Some(0)),
            (" 262143328850\n", Some(262_143_328_850)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("\n", None),
            ("-1", None),
            ("1 2", None),
            ("0x10", None),
        ] {
            assert_eq!(parse_number(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn lists() {
        for (text, expected) in [
            ("0-3,8,10-11\n", Some(vec![0, 1, 2, 3, 8, 10, 11])),
            ("5", Some(vec![5])),
            ("", Some(vec![])),
            ("3-1", None),
            ("a", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(parse_list(text, 100), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let path = directory.path().join("stat");
        std::fs::write(&path, "x".repeat(70_000)).expect("written");
        let file = KernelFile::open(&path).expect("opened");
        assert_eq!(file.read(&mut Buffer::default()).expect("read").len(), 70_000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_number_or_none(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_number(&bytes);
            let _ = parse_list(&String::from_utf8_lossy(&bytes), 1_000);
        }
    }
}
