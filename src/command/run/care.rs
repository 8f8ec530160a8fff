//! What is done about a command that uses more than it may: a line, its end, a question before it has gone far.

use super::arguments::RunArguments;
use super::child::{Child, SIGCONT, SIGSTOP, SIGTERM, SIGTSTP, stop_ourselves};
use super::limit::Standing;
use super::meter::Meters;
use super::summary;
use super::{Account, complain};
use crate::model::quantity::{Emissions, Energy};
use crate::model::snapshot::Totals;
use crate::model::speech::Amounts;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// Where the question is asked.
const TERMINAL: &str = "/dev/tty";

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
#[error("--confirm-after asks on the terminal, and there is none: {0} (--max-co2e and --stop need none)")]
pub struct NoTerminal(std::io::Error);

/// What is to be watched, and how far it has come.
pub struct Care {
    // What was said last of each limit.
    told: Vec<Standing>,
    question: Question,
    is_stopped: bool,
}

enum Question {
    /// None is to be asked, or it was answered.
    None,
    /// When so much is done, in ppm.
    After(u32, File),
    /// The command is held until there is an answer.
    Asked(Receiver<bool>),
    /// It goes on for a signal that came, and can still be ended by the answer.
    LetGo(Receiver<bool>),
}

impl Care {
    /// Looks whether there is a terminal, if one is needed.
    ///
    /// # Errors
    /// There is none.
    pub fn new(arguments: &RunArguments) -> Result<Care, NoTerminal> {
        let question = match arguments.confirm_after {
            None => Question::None,
            Some(ppm) => {
                let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL);
                Question::After(ppm, terminal.map_err(NoTerminal)?)
            }
        };
        Ok(Care { told: arguments.limits().map(|_| Standing::Within).collect(), question, is_stopped: false })
    }

    /// Whether the command was told to end.
    #[must_use]
    pub const fn has_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Looks after a tick.
    pub fn look(&mut self, arguments: &RunArguments, meters: &Meters, child: &Child, account: &Account) {
        if self.told.is_empty() && matches!(self.question, Question::None) {
            return;
        }
        let totals = meters.totals();
        self.weigh(arguments, meters, &totals, child, account);
        self.ask(meters, &totals, child, account);
    }

    fn weigh(
        &mut self,
        arguments: &RunArguments,
        meters: &Meters,
        totals: &Totals,
        child: &Child,
        account: &Account,
    ) {
        let used = used(totals);
        let prediction = meters.prediction();
        for (limit, told) in arguments.limits().zip(&mut self.told) {
            let standing = limit.standing(used, prediction.as_ref());
            if standing <= *told || self.is_stopped {
                continue;
            }
            *told = standing;
            let is_end = arguments.stop && standing == Standing::Exceeded;
            // First what matters: nobody may be reading what we write.
            if is_end {
                self.is_stopped = true;
                end(child, account, matches!(self.question, Question::Asked(_)));
            }
            let figures = summary::standing(used, prediction.as_ref());
            let what = match standing {
                Standing::Within => continue,
                Standing::Nearly => "nearly uses up",
                Standing::Exceeding => "will rather exceed",
                Standing::Exceeded => "exceeds, or surely will,",
            };
            let then = if is_end { "; ending it (--stop)" } else { "" };
            warn(&format!("the command {what} its limit of {limit}: {figures}{then}"));
        }
    }

    /// Looks once more when the command has ended: a limit that it has crossed since the last look is told.
    pub fn look_back(&self, arguments: &RunArguments, meters: &Meters) {
        if self.told.is_empty() {
            return;
        }
        let used = used(&meters.totals());
        for (limit, told) in arguments.limits().zip(&self.told) {
            // What was going to be used is past.
            if *told < Standing::Exceeded && limit.standing(used, None) == Standing::Exceeded {
                let energy = summary::joules(u128::from(used.0.as_micro()));
                let emissions = summary::grams(u128::from(used.1.as_nano()));
                warn(&format!("the command has exceeded its limit of {limit}: {energy}, {emissions} CO2e"));
            }
        }
    }

    /// A signal came while the command was held: it is to hear it, and nobody is waited for. Only Ctrl-Z wants the
    /// terminal back: it leaves the command held, and the question open.
    pub fn heed(&mut self, signal: i32, child: &Child, account: &Account) {
        match std::mem::replace(&mut self.question, Question::None) {
            Question::Asked(answer) if signal == SIGTSTP => {
                self.question = Question::Asked(answer);
                stop_ourselves();
                // Whoever lets us go on has let all of us go on.
                to_all(child, account, SIGSTOP);
                warn("the command is held still. Go on? [y/n]");
            }
            Question::Asked(answer) => {
                self.question = Question::LetGo(answer);
                to_all(child, account, SIGCONT);
            }
            question @ (Question::None | Question::After(..) | Question::LetGo(_)) => {
                self.question = question;
            }
        }
    }

    fn ask(&mut self, meters: &Meters, totals: &Totals, child: &Child, account: &Account) {
        let is_held = matches!(self.question, Question::Asked(_));
        match &self.question {
            Question::None => {}
            Question::After(ppm, _) => {
                let progress = meters.progress().filter(|progress| progress.ratio_ppm() >= u64::from(*ppm));
                let (Some(_), Some(prediction)) = (progress, meters.prediction()) else { return };
                let Question::After(_, terminal) = std::mem::replace(&mut self.question, Question::None)
                else {
                    return;
                };
                to_all(child, account, SIGSTOP);
                let figures = summary::standing(used(totals), Some(&prediction));
                self.question = Question::Asked(question(terminal, figures));
            }
            Question::Asked(answer) | Question::LetGo(answer) => match answer.try_recv() {
                Err(TryRecvError::Empty) => {}
                // Without a thread nobody can answer.
                Ok(true) | Err(TryRecvError::Disconnected) => {
                    if is_held {
                        to_all(child, account, SIGCONT);
                    }
                    self.question = Question::None;
                }
                Ok(false) => {
                    self.question = Question::None;
                    self.is_stopped = true;
                    end(child, account, is_held);
                }
            },
        }
    }
}

fn used(totals: &Totals) -> (Energy, Emissions) {
    let amounts = match totals.jobs.is_empty() {
        true => Amounts::default(),
        false => totals.amounts_of_job(0),
    };
    (amounts.energy(), amounts.emissions())
}

/// A line, where somebody reads: the command is not to wait for one who does not.
fn warn(text: &str) {
    let stderr = std::io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        complain(text);
    }
}

/// Asks in a thread: meanwhile everything else goes on.
fn question(terminal: File, figures: String) -> Receiver<bool> {
    let (tell, answer) = channel();
    let _ = std::thread::Builder::new().name("question".to_owned()).spawn(move || {
        let mut lines = BufReader::new(&terminal).lines();
        let is_yes = loop {
            let text = format!("jouleprint: the command is held. {figures}. Go on? [y/n] ");
            if (&terminal).write_all(text.as_bytes()).is_err() {
                break true;
            }
            match lines.next() {
                Some(Ok(line)) if line.trim().eq_ignore_ascii_case("y") => break true,
                Some(Ok(line)) if line.trim().eq_ignore_ascii_case("n") => break false,
                Some(Ok(_)) => {}
                // The terminal is gone, and with it whoever could say no.
                Some(Err(_)) | None => break true,
            }
        };
        let _ = tell.send(is_yes);
    });
    answer
}

/// Politely; what is held cannot hear it.
fn end(child: &Child, account: &Account, is_held: bool) {
    to_all(child, account, SIGTERM);
    if is_held {
        to_all(child, account, SIGCONT);
    }
}

/// To the command, and to every process of it that we know of.
fn to_all(child: &Child, account: &Account, signal: i32) {
    let own = child.pid().as_raw_nonzero().get().unsigned_abs();
    child.send(signal);
    account
        .processes()
        .into_iter()
        .filter(|pid| *pid != own)
        .for_each(|pid| super::child::send_to(pid, signal));
}
