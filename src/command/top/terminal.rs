//! The terminal that a view is on: it is taken, and always given back, whatever ends or stops this process.
//! Keys, answers and signals are waited for by a thread each, and come in turn.

use super::draw::draw;
use super::view::{Event, Key, Next, View};
use crate::clock;
use crate::command::local::Local;
use crate::command::now::Now;
use crate::model::quantity::Nanos;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::layout::Rect;
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use std::io::{self, BufWriter, IsTerminal, Read, Stdout};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// A pasted line of keys, and whatever else comes while one frame is drawn.
const MAX_WAITING: usize = 256;

/// A whole screen with all its colours.
const FRAME_BYTES: usize = 1 << 16;

/// What we are told by signal.
const SIGNALS: [i32; 7] = [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH];

/// What is waited for.
enum News {
    View(Event),
    Signal(i32),
    /// The terminal is gone.
    Gone,
}

/// Whether there is somebody at both ends.
#[must_use]
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Shows a view until it is left.
///
/// # Errors
/// The terminal cannot be written to.
pub fn watch(exporter: Local, now: Now, has_colours: bool) -> io::Result<()> {
    let (sender, news) = sync_channel(MAX_WAITING);
    let mut screen = Screen::take()?;
    hear_signals(sender.clone())?;
    let tick = now.tick();
    let mut view = View::new(has_colours);
    view.on(Event::Answer(Box::new(now)));
    let (width, height) = terminal::size()?;
    view.on(Event::Size(width, height));
    screen.draw(&view)?;
    hear_keys(sender.clone());
    hear_answers(exporter, tick, sender);
    let end = follow(&mut view, &mut screen, &news);
    drop(screen);
    match end? {
        // The end that the signal is for, so that whoever started us sees it.
        Some(signal) => signal_hook::low_level::emulate_default_handler(signal),
        None => Ok(()),
    }
}

/// Takes news in until it is over. Returns the signal that has ended it.
fn follow(view: &mut View, screen: &mut Screen, news: &Receiver<News>) -> io::Result<Option<i32>> {
    // Without those who wait there is nothing more to come.
    while let Ok(first) = news.recv() {
        // What has come meanwhile is drawn together.
        for one in std::iter::once(first).chain(news.try_iter().take(MAX_WAITING)) {
            match one {
                News::View(event) => match view.on(event) {
                    Next::Stay => {}
                    Next::Pause => screen.pause()?,
                    Next::Leave => return Ok(None),
                },
                News::Signal(SIGTSTP) => screen.pause()?,
                // Somebody has stopped us without asking, and the shell has set the terminal as it likes it.
                News::Signal(SIGCONT) => screen.take_again()?,
                News::Signal(SIGWINCH) => {
                    let (width, height) = terminal::size()?;
                    view.on(Event::Size(width, height));
                }
                News::Signal(signal) => return Ok(Some(signal)),
                News::Gone => return Ok(None),
            }
        }
        screen.draw(view)?;
    }
    Ok(None)
}

/// The terminal while it is ours.
struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    hold: Hold,
}

impl Screen {
    fn take() -> io::Result<Screen> {
        let hold = Hold::default();
        // A panic must be read where it can be.
        let (before, on_panic) = (std::panic::take_hook(), hold.clone());
        std::panic::set_hook(Box::new(move |panic| {
            on_panic.give_back();
            before(panic);
        }));
        hold.enter()?;
        let writer = BufWriter::with_capacity(FRAME_BYTES, io::stdout());
        let terminal = Terminal::new(CrosstermBackend::new(writer)).inspect_err(|_| hold.give_back())?;
        Ok(Screen { terminal, hold })
    }

    fn draw(&mut self, view: &View) -> io::Result<()> {
        self.terminal.draw(|frame| draw(view, frame)).map(|_| ())
    }

    /// Stops until somebody wants us to go on.
    fn pause(&mut self) -> io::Result<()> {
        self.hold.give_back();
        let _ = kill_process(getpid(), Signal::STOP);
        self.take_again()
    }

    /// Whoever had it meanwhile may have set it otherwise; and nothing of what was drawn is still there.
    fn take_again(&mut self) -> io::Result<()> {
        let _ = terminal::disable_raw_mode();
        self.hold.enter()?;
        // Not `clear`, which asks where the cursor is, and waits for the answer among the keys.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from(size))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.hold.give_back();
    }
}

/// Whether the terminal is ours now: given back twice, its cursor would go back over what was written since.
#[derive(Debug, Clone, Default)]
struct Hold(Arc<AtomicBool>);

impl Hold {
    fn enter(&self) -> io::Result<()> {
        self.0.store(true, Ordering::SeqCst);
        let entered = terminal::enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide));
        entered.inspect_err(|_| self.give_back())
    }

    /// As it was before. Where the terminal is gone there is nothing to give back.
    fn give_back(&self) {
        if self.0.swap(false, Ordering::SeqCst) {
            let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
            let _ = terminal::disable_raw_mode();
        }
    }
}

fn hear_answers(exporter: Local, tick: Duration, sender: SyncSender<News>) {
    std::thread::spawn(move || {
        let mut tick = tick;
        loop {
            clock::sleep(Nanos::new(u64::try_from(tick.as_nanos()).expect("a few seconds")));
            let event = match Now::ask(&exporter) {
                Ok(now) => {
                    tick = now.tick();
                    Event::Answer(Box::new(now))
                }
                Err(error) => Event::Silence(error.to_string()),
            };
            if sender.send(News::View(event)).is_err() {
                return;
            }
        }
    });
}

/// The library waits by itself: one that looks first whether there is something, and has it read only then,
/// loses the key that comes with a change of the size. Where the terminal is gone it would wait for ever; then
/// drawing fails, and that is the end.
fn hear_keys(sender: SyncSender<News>) {
    std::thread::spawn(move || {
        loop {
            let news = match event::read() {
                Ok(event::Event::Key(key)) if key.kind != KeyEventKind::Release => match meaning(key) {
                    Some(key) => News::View(Event::Key(key)),
                    None => continue,
                },
                // The signal tells of another size too, and is not lost among keys.
                Ok(_) => continue,
                Err(_) => News::Gone,
            };
            let is_last = matches!(news, News::Gone);
            if sender.send(news).is_err() || is_last {
                return;
            }
        }
    });
}

fn meaning(key: KeyEvent) -> Option<Key> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Key::Interrupt),
            KeyCode::Char('z') => Some(Key::Suspend),
            KeyCode::Char('h') => Some(Key::Backspace),
            _ => None,
        };
    }
    match key.code {
        KeyCode::Up => Some(Key::Up),
        KeyCode::Down => Some(Key::Down),
        KeyCode::PageUp => Some(Key::PageUp),
        KeyCode::PageDown => Some(Key::PageDown),
        KeyCode::Home => Some(Key::Home),
        KeyCode::End => Some(Key::End),
        KeyCode::Enter => Some(Key::Enter),
        KeyCode::Esc => Some(Key::Escape),
        KeyCode::Backspace => Some(Key::Backspace),
        KeyCode::Char(char) if !key.modifiers.contains(KeyModifiers::ALT) => Some(Key::Char(char)),
        _ => None,
    }
}

/// Signals are noted by flags, and a bell wakes the one who reads them.
fn hear_signals(sender: SyncSender<News>) -> io::Result<()> {
    let (mut wake, bell) = UnixStream::pair()?;
    let mut arrived = Vec::new();
    for signal in SIGNALS {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
        signal_hook::low_level::pipe::register(signal, bell.try_clone()?)?;
        arrived.push((signal, flag));
    }
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while matches!(wake.read(&mut bytes), Ok(1..)) {
            for (signal, _) in arrived.iter().filter(|(_, flag)| flag.swap(false, Ordering::SeqCst)) {
                if sender.send(News::Signal(*signal)).is_err() {
                    return;
                }
            }
        }
    });
    Ok(())
}
