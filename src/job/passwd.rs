//! Users' names, as far as this machine's /etc/passwd tells.

use std::collections::BTreeMap;
use std::path::Path;

/// No such file is larger.
const MAX_BYTES: u64 = 4 << 20;

/// Names by id.
#[derive(Debug, Default)]
pub struct Users {
    names: BTreeMap<u32, String>,
}

impl Users {
    /// From a file in the form of /etc/passwd; one that cannot be read knows nobody.
    #[must_use]
    pub fn read(path: &Path) -> Users {
        let is_small = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= MAX_BYTES);
        let text = if is_small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
        Users::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Users {
        let mut names = BTreeMap::new();
        for line in text.lines() {
            let mut parts = line.split(':');
            let (name, id) = (parts.next().unwrap_or_default(), parts.nth(1));
            let is_plain = !name.is_empty() && !name.chars().any(char::is_control);
            if let Some(id) = id.and_then(|id| id.parse().ok()).filter(|_| is_plain) {
                // The first of several names is the one that the system itself shows.
                names.entry(id).or_insert_with(|| name.to_owned());
            }
        }
        Users { names }
    }

    /// The name for an id, if it has one here.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// The name for an id in digits, or the digits.
    #[must_use]
    pub fn name(&self, id: &str) -> String {
        let known = id.parse().ok().and_then(|id: u32| self.names.get(&id));
        known.map_or(id, String::as_str).to_owned()
    }

    /// The id that was meant by a name or by digits.
    #[must_use]
    pub fn id(&self, text: &str) -> Option<u32> {
        let of_name = || self.names.iter().find(|(_, name)| *name == text).map(|(id, _)| *id);
        text.parse().ok().or_else(of_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_both_ways_and_odd_lines_are_passed_over() {
        let users = Users::parse(
            "root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nanna:x:1000:1000:,,,:/home/anna:/bin/zsh\n\
             :x:7:\nbroken\n\x1b[1m:x:8:\n+::::::\nmax:x:4294967296:1:",
        );
        for (id, name) in [("0", "root"), ("1000", "anna"), ("7", "7"), ("8", "8"), ("", ""), ("x", "x")] {
            assert_eq!(users.name(id), name);
        }
        for (text, id) in
            [("anna", Some(1000)), ("1000", Some(1000)), ("5", Some(5)), ("toor", None), ("", None)]
        {
            assert_eq!(users.id(text), id, "{text}");
        }
        assert_eq!(Users::read(Path::new("/nowhere")).name("0"), "0");
    }
}
