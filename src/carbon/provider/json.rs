//! JSON whose numbers stay text until they are figures, and the paths that lead to a place in it.

use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// A path of the user's has no more steps: an answer is a few levels deep.
const MAX_STEPS: usize = 32;

/// A value that is read when it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a>(&'a RawValue);

impl<'a> Node<'a> {
    /// A whole document.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Option<Node<'a>> {
        serde_json::from_slice::<&RawValue>(body).ok().map(Node)
    }

    /// A member of an object that is not null.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Node<'a>> {
        let mut members: BTreeMap<String, &RawValue> = self.members()?;
        members.remove(name).map(Node).filter(|node| !node.is_null())
    }

    fn members(self) -> Option<BTreeMap<String, &'a RawValue>> {
        self.0.get().starts_with('{').then(|| serde_json::from_str(self.0.get()).ok())?
    }

    /// The items of a list.
    #[must_use]
    pub fn items(self) -> Option<Vec<Node<'a>>> {
        let items: Vec<&RawValue> =
            self.0.get().starts_with('[').then(|| serde_json::from_str(self.0.get()).ok())??;
        Some(items.into_iter().map(Node).collect())
    }

    /// A text.
    #[must_use]
    pub fn text(self) -> Option<String> {
        serde_json::from_str(self.0.get()).ok()
    }

    /// A number as it is written, or a text that may hold one.
    #[must_use]
    pub fn number(self) -> Option<Cow<'a, str>> {
        match self.0.get().as_bytes().first()? {
            b'"' => self.text().map(Cow::Owned),
            b'-' | b'0'..=b'9' => Some(Cow::Borrowed(self.0.get())),
            _ => None,
        }
    }

    /// `true`.
    #[must_use]
    pub fn is_true(self) -> bool {
        self.0.get() == "true"
    }

    /// `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0.get() == "null"
    }

    /// Whether it tells of an error, as providers do in answers of any status.
    #[must_use]
    pub fn is_error(self) -> bool {
        let says = |name: &str| {
            self.get(name).is_some_and(|said| !matches!(said.0.get(), "false" | "[]" | "{}" | "\"\"" | "0"))
        };
        let is_failed = self.get("status").and_then(Node::text).is_some_and(|status| status == "error");
        says("error") || says("errors") || says("error_code") || is_failed
    }

    /// What the path leads to, if that is there and not null.
    #[must_use]
    pub fn at(self, path: &Path) -> Option<Node<'a>> {
        let mut here = self;
        for step in &path.steps {
            here = match here.items() {
                Some(items) => *items.get(step.index(items.len())?)?,
                None => here.get(&step.0)?,
            };
        }
        (!here.is_null()).then_some(here)
    }
}

/// Where in a document: `/data/0/value` (RFC 6901), or `data[0].value`; `[-1]` is the last of a list.
#[derive(Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

/// A member's name, or a place in a list: which of the two the document decides.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step(String);

impl Step {
    fn index(&self, length: usize) -> Option<usize> {
        match self.0.strip_prefix('-') {
            Some(back) => length.checked_sub(back.parse().ok()?),
            None => self.0.parse().ok(),
        }
    }
}

impl Path {
    /// Reads a path; an empty one is the whole document.
    ///
    /// # Errors
    /// It is none.
    pub fn new(text: &str) -> Result<Path, String> {
        let wrong = || format!("{text:?} is no path in JSON (write /data/0/value or data[0].value)");
        let steps: Vec<Step> = if text.is_empty() {
            Vec::new()
        } else if let Some(pointer) = text.strip_prefix('/') {
            pointer.split('/').map(|token| Step(token.replace("~1", "/").replace("~0", "~"))).collect()
        } else {
            let mut steps = Vec::new();
            for part in text.split('.') {
                let (name, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
                if name.is_empty() && (rest.is_empty() || !steps.is_empty()) {
                    return Err(wrong());
                }
                if !name.is_empty() {
                    steps.push(Step(name.to_owned()));
                }
                while !rest.is_empty() {
                    let (index, after) =
                        rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or_else(wrong)?;
                    index.parse::<i32>().map_err(|_| wrong())?;
                    steps.push(Step(index.to_owned()));
                    rest = after;
                }
            }
            steps
        };
        if steps.len() > MAX_STEPS {
            return Err(wrong());
        }
        Ok(Path { text: text.to_owned(), steps })
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        let text = br#"{"data":[{"value":1.50,"a/b":"x"},{"value":null},{"value":"7"}],"-1":true,"0":[2]}"#;
        let document = Node::parse(text).expect("JSON");
        let found = |path: &str| {
            let path = Path::new(path).expect(path);
            document.at(&path).map(|node| node.0.get().to_owned())
        };
        for (path, expected) in [
            ("/data/0/value", Some("1.50")),
            ("data[0].value", Some("1.50")),
            ("data[-1].value", Some("\"7\"")),
            ("/data/0/a~1b", Some("\"x\"")),
            ("data[1].value", None),
            ("data[3].value", None),
            ("data[-4].value", None),
            ("/-1", Some("true")),
            ("/0/0", Some("2")),
            ("nothing", None),
        ] {
            assert_eq!(found(path).as_deref(), expected, "{path}");
        }
        assert!(found("").is_some_and(|whole| whole.len() == text.len()));
        for wrong in ["a..b", "a[x]", "a[0", "a.", ".a", "a[0]b"] {
            assert!(Path::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_error_is_one_in_any_of_its_shapes() {
        for (text, expected) in [
            (r#"{"error":"Invalid auth-token"}"#, true),
            (r#"{"status":"error","message":"x"}"#, true),
            (r#"{"errors":[{"m":1}]}"#, true),
            (r#"{"error_code":"ODSQLError"}"#, true),
            (r#"{"error":null,"errors":[],"data":1}"#, false),
            (r#"{"status":"ok"}"#, false),
            ("[]", false),
        ] {
            assert_eq!(Node::parse(text.as_bytes()).expect("JSON").is_error(), expected, "{text}");
        }
    }
}
