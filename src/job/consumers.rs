//! Who is looked at: control groups, or processes where groups are of no use.

use super::Resolvers;
use super::process::Processes;
use super::register::Stand;
use super::tree::Tree;
use crate::kernel_file::Buffer;
use crate::model::identity::Name;
use crate::model::reading::{Fault, Groups};
use std::os::fd::BorrowedFd;

/// One or the other, never both: no work is charged twice.
#[derive(Debug)]
pub enum Consumers {
    /// By control group.
    Groups(Box<Tree>),
    /// By process.
    Processes(Box<Processes>),
}

/// What is seen, and what not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether births and deaths are seen as they happen.
    pub is_watching: bool,
    /// Groups or processes that are read.
    pub observed: usize,
    /// Those that found no room.
    pub hidden: usize,
    /// Failed readings so far.
    pub errors: Vec<(Fault, u64)>,
}

/// How they are to be recognised from now on.
#[derive(Debug)]
pub enum Recognition {
    /// Control groups by these managers, with their reservations or without.
    Groups(Resolvers, bool),
    /// So many processes.
    Processes(u32),
    /// As before: what is looked at is chosen at the start.
    Unchanged,
}

impl Consumers {
    /// For `poll`: readable when one was born or died.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Consumers::Groups(tree) => tree.fd(),
            Consumers::Processes(_) => None,
        }
    }

    /// Takes note of births and deaths as they happen; the next [`Consumers::collect`] tells of them.
    pub fn attend(&mut self, buffer: &mut Buffer) {
        match self {
            Consumers::Groups(tree) => tree.attend(buffer),
            Consumers::Processes(_) => {}
        }
    }

    /// Everything since the last call, and what each has used by now.
    pub fn collect(&mut self, buffer: &mut Buffer) -> Groups {
        match self {
            Consumers::Groups(tree) => tree.collect(buffer),
            Consumers::Processes(processes) => processes.collect(buffer),
        }
    }

    /// How they fare.
    #[must_use]
    pub fn state(&self) -> Sight {
        match self {
            Consumers::Groups(tree) => tree.state(),
            Consumers::Processes(processes) => processes.state(),
        }
    }

    /// Who is charged with the process of this number, where processes are looked at.
    #[must_use]
    pub fn stand_of(&self, pid: u32) -> Option<Stand> {
        match self {
            Consumers::Groups(_) => None,
            Consumers::Processes(processes) => Some(processes.stand_of(pid)),
        }
    }

    /// By which rules they are looked for: under the same, the same are found.
    #[must_use]
    pub fn view(&self) -> Name {
        match self {
            Consumers::Groups(tree) => tree.view(),
            Consumers::Processes(processes) => processes.view(),
        }
    }

    /// Whether one that is not known does not exist.
    #[must_use]
    pub fn sees_all(&self) -> bool {
        match self {
            Consumers::Groups(tree) => tree.sees_all(),
            // Most have no account of their own.
            Consumers::Processes(_) => false,
        }
    }

    /// Recognises them by other rules.
    pub fn reconfigure(&mut self, recognition: Recognition, buffer: &mut Buffer) {
        match (self, recognition) {
            (Consumers::Groups(tree), Recognition::Groups(resolvers, wants_reservations)) => {
                tree.reconfigure(resolvers, wants_reservations, buffer);
            }
            (Consumers::Processes(processes), Recognition::Processes(top)) => processes.choose(top),
            (Consumers::Groups(_), Recognition::Processes(_) | Recognition::Unchanged)
            | (Consumers::Processes(_), Recognition::Groups(..) | Recognition::Unchanged) => {}
        }
    }
}
