//! What proves who we are: it is sent, and shown nowhere.

use std::fmt;

/// A key is some hundred bytes; a token with claims some thousand.
pub const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Text that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides it.
    #[must_use]
    pub const fn new(text: String) -> Secret {
        Secret(text)
    }

    /// What a file holds, without the white space around it.
    ///
    /// # Errors
    /// It is empty, no text, or more than a line.
    pub fn of_file(content: &[u8]) -> Result<Secret, &'static str> {
        match std::str::from_utf8(content).map_err(|_| "no text")?.trim() {
            "" => Err("empty"),
            text if text.chars().any(char::is_control) => Err("more than one line"),
            text => Ok(Secret(text.to_owned())),
        }
    }

    /// The text, for the one who sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_one_line_of_its_file() {
        for (content, expected) in [
            (&b" k3y\n"[..], Ok("k3y")),
            (b"Bearer a b", Ok("Bearer a b")),
            (b" \n\t\n", Err("empty")),
            (b"", Err("empty")),
            (b"one\ntwo", Err("more than one line")),
            (b"\xff\xfe", Err("no text")),
        ] {
            assert_eq!(Secret::of_file(content).as_ref().map(Secret::reveal), expected.as_ref().copied());
        }
    }
}
