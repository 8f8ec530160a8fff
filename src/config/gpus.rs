//! The section `gpus`: whether drivers of accelerators are asked, and where their libraries are.

use crate::source::nvml::Wish;
use serde::Deserialize;
use std::path::PathBuf;

/// `gpus: {nvml: auto, library: …}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GpusSection {
    nvml: Choice,
    library: Option<PathBuf>,
}

/// Whether NVIDIA's library is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Choice {
    /// Where there is one.
    #[default]
    Auto,
    /// Never.
    Off,
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Choice, D::Error> {
        // To YAML 1.1 `off` is a boolean, to 1.2 a word.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Switch(bool),
            Text(String),
        }
        match Word::deserialize(deserializer)? {
            Word::Switch(true) => Ok(Choice::Auto),
            Word::Switch(false) => Ok(Choice::Off),
            Word::Text(text) => match text.as_str() {
                "auto" => Ok(Choice::Auto),
                "off" => Ok(Choice::Off),
                other => {
                    Err(serde::de::Error::custom(format!("gpus.nvml: {other:?} is neither auto nor off")))
                }
            },
        }
    }
}

impl GpusSection {
    /// What is wanted of NVIDIA's library; a file named by a flag goes before that of the section.
    pub(super) fn nvml(self, flag: Option<PathBuf>) -> Wish {
        let given = flag.or(self.library).filter(|path| !path.as_os_str().is_empty());
        Wish { is_on: self.nvml == Choice::Auto, library: given, ..Wish::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str, flag: Option<&str>) -> Result<(bool, Option<PathBuf>), String> {
        let section: GpusSection = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let wish = section.nvml(flag.map(PathBuf::from));
        Ok((wish.is_on, wish.library))
    }

    #[test]
    fn the_library_is_asked_unless_told_otherwise() {
        let (here, there) = (PathBuf::from("/opt/a.so"), PathBuf::from("/opt/b.so"));
        for (text, flag, expected) in [
            ("{}", None, (true, None)),
            ("{nvml: auto}", None, (true, None)),
            ("{nvml: off}", None, (false, None)),
            ("{nvml: false}", None, (false, None)),
            ("{library: /opt/a.so}", None, (true, Some(here.clone()))),
            ("{library: /opt/a.so}", Some("/opt/b.so"), (true, Some(there.clone()))),
            ("{library: /opt/a.so}", Some(""), (true, None)),
        ] {
            assert_eq!(wish(text, flag), Ok(expected), "{text} {flag:?}");
        }
        for (text, part) in [("{nvml: maybe}", "neither auto nor off"), ("{nvlm: auto}", "nvlm")] {
            let error = wish(text, None).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
