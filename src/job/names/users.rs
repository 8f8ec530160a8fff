//! Users' names by their numbers: /etc/passwd first, then whatever the machine's own name service asks (LDAP,
//! SSSD), which may take its time or never answer.

use super::owners::{Owner, Owners};
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

/// Units whose processes are looked at in one look: a storm of them takes some.
const MAX_UNITS: usize = 1_024;

/// A unit without a process is looked at so often, for some minutes: mounts and sockets never have one.
const MAX_LOOKS: u32 = 8;

/// Who knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// A file in the form of /etc/passwd.
    pub passwd: PathBuf,
    /// Whether this machine's own name service is asked too: it knows nothing of another's users.
    pub asks_service: bool,
    /// Who runs the units whose paths name nobody.
    pub owners: Option<Owners>,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { passwd: "/etc/passwd".into(), asks_service: true, owners: None }
    }
}

/// Names that were found, and numbers that have none.
#[derive(Debug)]
pub struct Users {
    wish: Wish,
    known: HashMap<u32, String>,
    service: Aside<Vec<(u32, Result<String, Fault>)>>,
    units: HashMap<JobId, Unit>,
}

/// What is known of a unit's user.
#[derive(Debug, Clone, Copy)]
enum Unit {
    /// It has been looked at so often.
    Open(u32),
    /// Whose it is, if anybody's.
    Of(Option<u32>),
}

impl Users {
    /// Nobody is asked yet.
    #[must_use]
    pub fn new(wish: Wish) -> Users {
        Users { wish, known: HashMap::new(), service: Aside::default(), units: HashMap::new() }
    }

    /// Looks at the processes of units whose paths name nobody.
    fn look_at_units(&mut self, open: &[JobId], all: &Wanted) {
        self.units.retain(|id, _| all.contains_key(id));
        let mut left = MAX_UNITS;
        for id in open {
            let Some(asked) = all.get(id).filter(|asked| asked.user.is_none()) else { continue };
            let looks = match self.units.get(id) {
                Some(Unit::Of(_)) => continue,
                Some(Unit::Open(looks)) => *looks,
                None => 0,
            };
            if left == 0 {
                return;
            }
            left -= 1;
            let owner = self.wish.owners.as_ref().map_or(Owner::Hidden, |owners| owners.of(asked));
            let unit = match owner {
                Owner::User(user) => Unit::Of(Some(user)),
                Owner::NotYet if looks < MAX_LOOKS => Unit::Open(looks + 1),
                // What systemd starts as root may become somebody's in the next moment.
                Owner::Machine if looks == 0 => Unit::Open(1),
                Owner::NotYet | Owner::Hidden | Owner::Machine => Unit::Of(None),
            };
            self.units.insert(id.clone(), unit);
        }
    }
}

impl NameSource for Users {
    const NAME: SourceName = SourceName::Users;
    const REST: Duration = Duration::from_secs(1);
    const REFRESH: Option<Duration> = None;

    async fn look(&mut self, open: &[JobId], all: &Wanted) -> Look {
        self.look_at_units(open, all);
        let units = &self.units;
        let user = |id: &JobId| match (all.get(id)?.user, units.get(id)) {
            (None, Some(Unit::Of(user))) => *user,
            (user, _) => user,
        };
        let users = || open.iter().filter_map(|id| Some((id, user(id)?)));
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
        let named = users().filter_map(|(id, user)| {
            let mut description = Description::default();
            description.set(Attribute::UserId, &user.to_string());
            description.set(Attribute::UserName, self.known.get(&user)?);
            Some((id.clone(), Word { description, is_last: true, ..Word::default() }))
        });
        let nobodys = open.iter().filter(|id| matches!(units.get(*id), Some(Unit::Of(None))));
        let nobodys = nobodys.map(|id| (id.clone(), Word { is_last: true, ..Word::default() }));
        let words = named.chain(nobodys);
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
    use crate::model::reading::Hierarchy;

    #[test]
    fn names_come_from_the_file_first_and_a_number_without_one_is_not_asked_again() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "anna:x:1000:1000::/:/bin/sh\n").expect("written");
        let mut users =
            Users::new(Wish { passwd: file.path().to_owned(), asks_service: false, owners: None });
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
        assert_eq!(words, [("a.service", "anna"), ("b.service", ""), ("c.service", "")]);
        assert!(found.words.iter().all(|(_, word)| word.is_last));
        // The machine's own service knows root whatever the file says.
        let mut users = Users::new(Wish { passwd: "/nowhere".into(), asks_service: true, owners: None });
        all.values_mut().for_each(|asked| asked.user = Some(0));
        let found = look(&mut users, &all);
        assert_eq!(found.words.len(), 3);
        assert_eq!(found.words[0].1.description.get(Attribute::UserName), "root");
    }

    #[test]
    fn a_unit_whose_path_names_nobody_is_of_the_user_of_its_first_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: &str| folder.path().join(path);
        let user = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(folder.path()).expect("there"));
        // Root makes its own processes somebody's; anybody else is somebody.
        let user = if user == 0 { 1_234 } else { user };
        std::fs::create_dir_all(at("proc/7")).expect("made");
        std::os::unix::fs::chown(at("proc/7"), Some(user), None).expect("root may, and it is one's own");
        std::fs::write(at("passwd"), format!("anna:x:{user}:{user}::/:/bin/sh\n")).expect("written");
        let procs = |unit: &str, text: &str| {
            std::fs::create_dir_all(at("cgroup").join(unit)).expect("made");
            std::fs::write(at("cgroup").join(unit).join("cgroup.procs"), text).expect("written");
        };
        let owners = Owners { procfs: at("proc"), roots: vec![(Hierarchy::Primary, at("cgroup"))] };
        let mut users = Users::new(Wish { passwd: at("passwd"), asks_service: false, owners: Some(owners) });
        let mut all = wanted(&[("unit", "a.service"), ("unit", "b.mount"), ("unit", "c.service")]);
        for (id, asked) in &mut all {
            asked.cgroup = format!("/{}", id.id()).as_str().into();
        }
        procs("a.service", "7\n");
        procs("b.mount", "");
        procs("c.service", "0\n");
        let words = |users: &mut Users| {
            let mut words: Vec<(String, String, String)> = look(users, &all)
                .words
                .iter()
                .inspect(|(_, word)| assert!(word.is_last))
                .map(|(id, word)| {
                    let get = |attribute| word.description.get(attribute).to_owned();
                    (id.id().to_string(), get(Attribute::UserId), get(Attribute::UserName))
                })
                .collect();
            words.sort_unstable();
            words
        };
        let row = |unit: &str, id: &str, name: &str| (unit.to_owned(), id.to_owned(), name.to_owned());
        let known = [row("a.service", &user.to_string(), "anna"), row("c.service", "", "")];
        assert_eq!(words(&mut users), known, "a unit without a process may still get one");
        // What root runs is nobody's at the second look: systemd's child is root before it is somebody.
        std::os::unix::fs::chown(at("proc/7"), Some(0), None).unwrap_or_default();
        let is_root =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(at("proc/7")).expect("there")) == 0;
        let mut again = Users::new(users.wish.clone());
        assert_eq!(words(&mut again).len(), if is_root { 1 } else { 2 });
        assert_eq!(
            words(&mut again).iter().filter(|(_, user, _)| user.is_empty()).count(),
            1 + usize::from(is_root)
        );
        for _ in 1..MAX_LOOKS {
            assert_eq!(words(&mut users).len(), 2);
        }
        assert_eq!(words(&mut users).len(), 3, "and is nobody's in the end");
    }
}
