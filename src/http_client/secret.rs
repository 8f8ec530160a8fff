//! What proves who we are: it is sent, and shown nowhere.

use std::fmt;
use std::path::Path;

/// A key is some hundred bytes; a token with claims some thousand.
const MAX_SECRET_BYTES: u64 = 64 << 10;

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
    /// It cannot be read, is empty, or holds more than a line; the message names the file alone.
    pub fn read(path: &Path) -> Result<Secret, String> {
        let unusable =
            |why: &str| format!("reading {}: {why} (it must hold the secret alone)", path.display());
        let size = std::fs::metadata(path).map_err(|error| unusable(&error.to_string()))?.len();
        if size > MAX_SECRET_BYTES {
            return Err(unusable("larger than 64 KiB"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unusable(&error.to_string()))?;
        match text.trim() {
            "" => Err(unusable("empty")),
            text if text.chars().any(char::is_control) => Err(unusable("more than one line")),
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
