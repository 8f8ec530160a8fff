//! A session with a BMC over the network, RMCP+ on UDP. One at a time and kept open, since a BMC has room
//! for few; closed when it is let go of. Packets that answer something else are passed over.

use super::packet::{self, Payload};
use super::rakp::{Handshake, Keys, MAX_PASSWORD, MAX_USER, Privilege, Refused, Suite};
use super::{Channel, Trouble};
use crate::clock;
use crate::kernel_file::read_text;
use crate::model::quantity::Nanos;
use ring::rand::{SecureRandom, SystemRandom};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

/// A BMC answers within milliseconds; what is lost is sent again after this long.
const RESEND: Nanos = Nanos::from_seconds(1);

/// One question has this long in all, opening a session among it.
const DEADLINE: Nanos = Nanos::from_seconds(5);

/// Of which one exchange may take this many sendings.
const SENDINGS: u32 = 3;

/// A BMC that only makes noise is not listened to for ever.
const MAX_STRANGE_PACKETS: u32 = 64;

/// No packet of IPMI is longer.
const MAX_PACKET: usize = 1_024;

/// Network function of the commands about sessions, and two of them.
const APPLICATION: u8 = 0x06;
const SET_PRIVILEGE: u8 = 0x3b;
const CLOSE_SESSION: u8 = 0x3c;

/// Where a BMC is, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// Host and port.
    pub address: String,
    /// The user's name.
    pub user: String,
    /// The file with the password, read anew for each session.
    pub password_file: PathBuf,
    /// What the session may do.
    pub privilege: Privilege,
}

/// The way to a BMC over the network.
pub struct Line {
    lan: Lan,
    session: Option<Session>,
    // What the BMC took the last time.
    suite: Option<Suite>,
    random: SystemRandom,
}

struct Session {
    socket: UdpSocket,
    keys: Keys,
    packets: u32,
    messages: u8,
}

impl Line {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(lan: Lan) -> Line {
        Line { lan, session: None, suite: None, random: SystemRandom::new() }
    }

    fn open(&mut self, until: Nanos) -> Result<Session, Trouble> {
        let suites: &[Suite] = match self.suite {
            Some(Suite::Seventeen) => &[Suite::Seventeen],
            Some(Suite::Three) => &[Suite::Three],
            None => &[Suite::Seventeen, Suite::Three],
        };
        let mut outcome = Err(Trouble::Silent);
        for suite in suites {
            outcome = self.open_with(*suite, until);
            match &outcome {
                Ok(_) => self.suite = Some(*suite),
                // An old BMC may not even answer to an algorithm that it has never heard of.
                Err(Trouble::Session(Refused::Suite) | Trouble::Silent) => continue,
                Err(_) => {}
            }
            break;
        }
        if outcome.is_err() {
            self.suite = None;
        }
        outcome
    }

    fn open_with(&self, suite: Suite, until: Nanos) -> Result<Session, Trouble> {
        let password = read_text(&self.lan.password_file).map_err(Trouble::Password)?;
        let (user, password) = (self.lan.user.as_bytes(), password.as_bytes());
        if user.len() > MAX_USER || password.len() > MAX_PASSWORD {
            return Err(Trouble::Session(Refused::TooLong));
        }
        let socket = connect(&self.lan.address)?;
        let mut number = [0; 4];
        let mut random = [0; 16];
        self.random.fill(&mut number).map_err(|_| Trouble::Io(std::io::Error::other("no random numbers")))?;
        self.random.fill(&mut random).map_err(|_| Trouble::Io(std::io::Error::other("no random numbers")))?;
        let handshake = Handshake {
            suite,
            console_session: u32::from_le_bytes(number) | 1,
            random,
            user,
            password,
            privilege: self.lan.privilege,
        };
        let bmc = handshaken(&socket, until, Payload::OpenRequest, &handshake.open(1), |payload| {
            handshake.opened(1, payload)
        })?;
        let greeting = handshaken(&socket, until, Payload::Rakp1, &handshake.hello(2, bmc), |payload| {
            handshake.greeted(2, bmc, payload)
        })?;
        let keys = handshaken(&socket, until, Payload::Rakp3, &handshake.proof(3, &greeting), |payload| {
            handshake.proved(3, &greeting, payload)
        })?;
        let mut session = Session { socket, keys, packets: 0, messages: 0 };
        // A session begins with the user's privilege, whatever it may rise to.
        if self.lan.privilege != Privilege::User {
            let wish = [self.lan.privilege as u8];
            let answer = session.ask(&self.random, until, APPLICATION, SET_PRIVILEGE, &wish)?;
            if let Some(code @ 1..) = answer.first() {
                return Err(Trouble::Session(Refused::Login(*code)));
            }
        }
        Ok(session)
    }
}

impl Channel for Line {
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, Trouble> {
        let until = clock::monotonic() + DEADLINE;
        let is_old = self.session.is_some();
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open(until)?,
        };
        let outcome = session.ask(&self.random, until, function, command, data);
        let (outcome, session) = match outcome {
            // The BMC may have started anew and know nothing of the session.
            Err(Trouble::Silent) if is_old => {
                session.close(&self.random);
                let mut session = self.open(until)?;
                (session.ask(&self.random, until, function, command, data), session)
            }
            outcome => (outcome, session),
        };
        match &outcome {
            Ok(_) => self.session = Some(session),
            Err(_) => session.close(&self.random),
        }
        outcome
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&self.random);
        }
    }
}

impl Session {
    fn packet(&mut self, random: &SystemRandom, function: u8, command: u8, data: &[u8]) -> Option<Vec<u8>> {
        self.packets = self.packets.checked_add(1)?;
        self.messages = (self.messages + 1) % 64;
        let mut vector = [0; 16];
        random.fill(&mut vector).ok()?;
        let message = packet::message(self.messages, function, command, data);
        Some(packet::seal(&self.keys, self.packets, &message, vector))
    }

    /// Completion code and data.
    fn ask(
        &mut self,
        random: &SystemRandom,
        until: Nanos,
        function: u8,
        command: u8,
        data: &[u8],
    ) -> Result<Vec<u8>, Trouble> {
        let before = self.messages;
        for _ in 0..SENDINGS {
            let packet = self.packet(random, function, command, data).ok_or(Trouble::Silent)?;
            let (keys, newest) = (&self.keys, self.messages);
            // A late answer to an earlier sending is as good.
            let is_ours = |packet: &[u8]| {
                let message = packet::unseal(keys, packet)?;
                let mut sent = (1..=newest.wrapping_sub(before) % 64).map(|step| (before + step) % 64);
                sent.find_map(|sequence| {
                    packet::answer(sequence, function, command, &message).map(<[u8]>::to_vec)
                })
            };
            match exchange(&self.socket, until, &packet, is_ours) {
                Err(Trouble::Silent) if clock::monotonic() < until => {}
                outcome => return outcome,
            }
        }
        Err(Trouble::Silent)
    }

    /// Says good-bye and does not wait for an answer.
    fn close(mut self, random: &SystemRandom) {
        let session = self.keys.bmc_session.to_le_bytes();
        if let Some(packet) = self.packet(random, APPLICATION, CLOSE_SESSION, &session) {
            let _ = self.socket.send(&packet);
        }
    }
}

fn connect(address: &str) -> Result<UdpSocket, Trouble> {
    let address: SocketAddr =
        address.to_socket_addrs().map_err(Trouble::Io)?.next().ok_or(Trouble::Unknown)?;
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).map_err(Trouble::Io)?;
    socket.connect(address).map_err(Trouble::Io)?;
    Ok(socket)
}

/// One step of the handshake.
fn handshaken<T>(
    socket: &UdpSocket,
    until: Nanos,
    kind: Payload,
    payload: &[u8],
    read: impl Fn(&[u8]) -> Option<Result<T, Refused>>,
) -> Result<T, Trouble> {
    let answer = match kind {
        Payload::OpenRequest => Payload::OpenResponse,
        Payload::Rakp1 => Payload::Rakp2,
        Payload::Rakp3 => Payload::Rakp4,
        other => other,
    };
    let packet = packet::plain(kind, payload);
    for _ in 0..SENDINGS - 1 {
        match exchange(socket, until, &packet, |packet| read(packet::plain_payload(answer, packet)?)) {
            Ok(outcome) => return outcome.map_err(Trouble::Session),
            Err(Trouble::Silent) if clock::monotonic() < until => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Err(Trouble::Silent)
}

/// Sends once, and waits for a packet that `take` takes.
fn exchange<T>(
    socket: &UdpSocket,
    until: Nanos,
    packet: &[u8],
    take: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Trouble> {
    let until = until.min(clock::monotonic() + RESEND);
    socket.send(packet).map_err(Trouble::Io)?;
    let mut buffer = [0; MAX_PACKET];
    for _ in 0..MAX_STRANGE_PACKETS {
        let left = until.saturating_sub(clock::monotonic());
        if left == Nanos::ZERO {
            break;
        }
        socket.set_read_timeout(Some(Duration::from_nanos(left.get()))).map_err(Trouble::Io)?;
        match socket.recv(&mut buffer) {
            Ok(length) => match take(&buffer[..length]) {
                Some(taken) => return Ok(taken),
                None => continue,
            },
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => break,
                std::io::ErrorKind::Interrupted => continue,
                _ => return Err(Trouble::Io(error)),
            },
        }
    }
    Err(Trouble::Silent)
}

#[cfg(test)]
mod tests;
