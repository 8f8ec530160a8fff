//! Users' names by their numbers: /etc/passwd first, then whatever the machine's own name service asks (LDAP,
//! SSSD), which may take its time or never answer.

use super::{Aside, Look, NameSource, SourceName, Wanted, Word};
use crate::job::passwd::Users as Passwd;
use crate::model::description::{Attribute, Description};
use crate::model::identity::JobId;
use crate::model::reading::Fault;
use nix::unistd::{Uid, User};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// A directory service answers from its cache in ms, and else within this or never.
const PATIENCE: Duration = Duration::from_secs(3);

/// Users that are remembered; a host has far fewer.
const MAX_USERS: usize = 65_536;

/// Of the service so many are asked for at a look.
const MAX_ASKED: usize = 64;

/// Who knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// A file in the form of /etc/passwd.
    pub passwd: PathBuf,
    /// Whether this machine's own name service is asked too: it knows nothing of another's users.
    pub asks_service: bool,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { passwd: "/etc/passwd".into(), asks_service: true }
    }
}

/// Names that were found, and numbers that have none.
#[derive(Debug)]
pub struct Users {
    wish: Wish,
    known: HashMap<u32, String>,
    service: Aside<Vec<(u32, Result<String, Fault>)>>,
}

impl Users {
    /// Nobody is asked yet.
    #[must_use]
    pub fn new(wish: Wish) -> Users {
        Users { wish, known: HashMap::new(), service: Aside::default() }
    }
}

impl NameSource for Users {
    const NAME: SourceName = SourceName::Users;
    const REST: Duration = Duration::from_secs(1);
    const REFRESH: Option<Duration> = None;

    async fn look(&mut self, open: &[JobId], all: &Wanted) -> Look {
        let users = || open.iter().filter_map(|id| Some((id, all.get(id)?.user?)));
        let mut unknown: Vec<u32> =
            users().map(|(_, user)| user).filter(|user| !self.known.contains_key(user)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if self.known.len() + unknown.len() > MAX_USERS {
            self.known.clear();
        }
        let mut outcome = Ok(());
        let mut detail = self.wish.passwd.display().to_string();
        if !unknown.is_empty() {
            let passwd = Passwd::read(&self.wish.passwd);
            for user in &unknown {
                if let Some(name) = passwd.get(*user) {
                    self.known.insert(*user, name.to_owned());
                }
            }
            unknown.retain(|user| !self.known.contains_key(user));
            if self.wish.asks_service && !unknown.is_empty() {
                detail.push_str(", the name service");
                unknown.truncate(MAX_ASKED);
                let question = move || unknown.into_iter().map(|user| (user, of_service(user))).collect();
                match self.service.within(PATIENCE, question).await {
                    Ok(answers) => {
                        for (user, answer) in answers {
                            match answer {
                                Ok(name) => drop(self.known.insert(user, name)),
                                Err(fault) => outcome = Err(fault),
                            }
                        }
                    }
                    Err(fault) => outcome = Err(fault),
                }
            } else {
                self.known.extend(unknown.into_iter().map(|user| (user, String::new())));
            }
        }
        let words = users().filter_map(|(id, user)| {
            let mut description = Description::default();
            description.set(Attribute::UserName, self.known.get(&user)?);
            Some((id.clone(), Word { description, is_last: true, ..Word::default() }))
        });
        Look { words: words.collect(), outcome, detail, pods: None }
    }
}

/// What the C library's name service says; empty for a number without a name.
fn of_service(user: u32) -> Result<String, Fault> {
    match User::from_uid(Uid::from_raw(user)) {
        Ok(found) => {
            let name = found.map(|user| user.name).unwrap_or_default();
            Ok(if name.chars().any(char::is_control) { String::new() } else { name })
        }
        Err(_) => Err(Fault::Io),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::names::tests::{look, wanted};

    #[test]
    fn names_come_from_the_file_first_and_a_number_without_one_is_not_asked_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "anna:x:1000:1000::/:/bin/sh\n").expect("written");
        let mut users = Users::new(Wish { passwd: file.path().to_owned(), asks_service: false });
        let mut all = wanted(&[("unit", "a.service"), ("unit", "b.service"), ("unit", "c.service")]);
        for (id, asked) in &mut all {
            asked.user = match &**id.id() {
                "a.service" => Some(1_000),
                "b.service" => Some(1_001),
                _ => None,
            };
        }
        let found = look(&mut users, &all);
        let mut words: Vec<(&str, &str)> = found
            .words
            .iter()
            .map(|(id, word)| (&**id.id(), word.description.get(Attribute::UserName)))
            .collect();
        words.sort_unstable();
        assert_eq!(words, [("a.service", "anna"), ("b.service", "")]);
        assert!(found.words.iter().all(|(_, word)| word.is_last));
        // The machine's own service knows root whatever the file says.
        let mut users = Users::new(Wish { passwd: "/nowhere".into(), asks_service: true });
        all.values_mut().for_each(|asked| asked.user = Some(0));
        let found = look(&mut users, &all);
        assert_eq!(found.words.len(), 3);
        assert_eq!(found.words[0].1.description.get(Attribute::UserName), "root");
    }
}
