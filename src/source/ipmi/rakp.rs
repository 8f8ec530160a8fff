//! How a session with a BMC begins: four messages in which each side proves that it knows the password.
//! Pure; `lan` carries the bytes. Cipher suites 17 (HMAC-SHA256) and 3 (HMAC-SHA1), both with AES-CBC-128:
//! what makes no secret of its content or proves nothing is not offered. IPMI 2.0, sections 13.17 to 13.32.

use super::packet::is_same;
use ring::hmac;

/// Passwords of IPMI 2.0 have 20 bytes, user names 16.
pub const MAX_PASSWORD: usize = 20;
/// See [`MAX_PASSWORD`].
pub const MAX_USER: usize = 16;

/// Find the user by the name alone and not by name and privilege together.
const BY_NAME: u8 = 0x10;

/// The bytes that the session's keys are made from.
const FIRST_KEY: [u8; 20] = [1; 20];
const SECOND_KEY: [u8; 20] = [2; 20];

/// The algorithms of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
    /// HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
}

/// How much the session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    /// Enough to read power, by DCMI's own table.
    User = 2,
    /// What some BMCs want for it.
    Operator = 3,
    /// What others want.
    Administrator = 4,
}

/// Our side of a handshake.
pub struct Handshake<'a> {
    /// The algorithms that we offer.
    pub suite: Suite,
    /// Our number for the session, not 0.
    pub console_session: u32,
    /// Our random number.
    pub random: [u8; 16],
    /// The user's name, at most [`MAX_USER`] bytes.
    pub user: &'a [u8],
    /// And password, at most [`MAX_PASSWORD`].
    pub password: &'a [u8],
    /// What the session is for.
    pub privilege: Privilege,
}

/// What the BMC added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    bmc_session: u32,
    random: [u8; 16],
    guid: [u8; 16],
}

/// An open session's keys.
pub struct Keys {
    /// The algorithms.
    pub suite: Suite,
    /// Our number for the session.
    pub console_session: u32,
    /// The BMC's.
    pub bmc_session: u32,
    /// What packets are authenticated with.
    pub integrity: hmac::Key,
    /// What they are encrypted with.
    pub cipher: [u8; 16],
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The BMC knows or wants other algorithms.
    #[error("the BMC offers neither cipher suite 17 nor 3")]
    Suite,
    /// Name, password or privilege.
    #[error("the BMC does not accept the user, the password or the privilege (status 0x{0:02x})")]
    Login(u8),
    /// The BMC does not know the password that we know.
    #[error("the password is not the BMC's")]
    Password,
    /// IPMI 2.0 knows no longer ones.
    #[error("a user has 16 bytes at most, a password 20")]
    TooLong,
    /// No room for another session, or something else of its own.
    #[error("the BMC opens no session (status 0x{0:02x})")]
    Other(u8),
    /// Not the bytes that should come.
    #[error("an answer that is none")]
    Malformed,
}

impl Suite {
    /// The hash of all proofs.
    #[must_use]
    pub fn algorithm(self) -> hmac::Algorithm {
        match self {
            Suite::Three => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Suite::Seventeen => hmac::HMAC_SHA256,
        }
    }

    /// Authentication, integrity, confidentiality.
    const fn numbers(self) -> [u8; 3] {
        match self {
            Suite::Three => [1, 1, 1],
            Suite::Seventeen => [3, 4, 1],
        }
    }
}

impl Handshake<'_> {
    /// The offer of algorithms; 0 asks for the highest privilege that they allow.
    #[must_use]
    pub fn open(&self, tag: u8) -> Vec<u8> {
        let mut payload = vec![tag, 0, 0, 0];
        payload.extend(self.console_session.to_le_bytes());
        for (kind, algorithm) in (0..).zip(self.suite.numbers()) {
            payload.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        payload
    }

    /// The BMC's number for the session. `None` if this is no answer to that offer.
    #[must_use]
    pub fn opened(&self, tag: u8, payload: &[u8]) -> Option<Result<u32, Refused>> {
        let answer = self.status(tag, payload)?;
        let rest = match answer {
            Ok(rest) => rest,
            Err(refused) => return Some(Err(refused)),
        };
        let Some((session, algorithms)) = rest.split_first_chunk::<4>() else {
            return Some(Err(Refused::Malformed));
        };
        let chosen = [algorithms.get(4), algorithms.get(12), algorithms.get(20)];
        let offered = self.suite.numbers();
        Some(if chosen == offered.each_ref().map(Some) {
            Ok(u32::from_le_bytes(*session))
        } else {
            Err(Refused::Suite)
        })
    }

    /// RAKP 1: who we are, and our random number.
    #[must_use]
    pub fn hello(&self, tag: u8, bmc_session: u32) -> Vec<u8> {
        let mut payload = vec![tag, 0, 0, 0];
        payload.extend(bmc_session.to_le_bytes());
        payload.extend(self.random);
        payload.extend([self.role(), 0, 0, self.user_length()]);
        payload.extend_from_slice(self.user);
        payload
    }

    /// RAKP 2: the BMC's random number and its proof. `None` if this is no answer to our hello.
    #[must_use]
    pub fn greeted(&self, tag: u8, bmc_session: u32, payload: &[u8]) -> Option<Result<Greeting, Refused>> {
        let rest = match self.status(tag, payload)? {
            Ok(rest) => rest,
            Err(refused) => return Some(Err(refused)),
        };
        let parts = rest.split_first_chunk::<16>().and_then(|(random, rest)| {
            let (guid, proof) = rest.split_first_chunk::<16>()?;
            Some((random, guid, proof))
        });
        let Some((random, guid, proof)) = parts else { return Some(Err(Refused::Malformed)) };
        let expected = self.sign(
            self.password,
            &[
                &self.console_session.to_le_bytes(),
                &bmc_session.to_le_bytes(),
                &self.random,
                random,
                guid,
                &[self.role(), self.user_length()],
                self.user,
            ],
        );
        Some(if is_same(proof, expected.as_ref()) {
            Ok(Greeting { bmc_session, random: *random, guid: *guid })
        } else {
            Err(Refused::Password)
        })
    }

    /// RAKP 3: our proof.
    #[must_use]
    pub fn proof(&self, tag: u8, greeting: &Greeting) -> Vec<u8> {
        let mut payload = vec![tag, 0, 0, 0];
        payload.extend(greeting.bmc_session.to_le_bytes());
        let session = self.console_session.to_le_bytes();
        let end = [self.role(), self.user_length()];
        payload.extend_from_slice(
            self.sign(self.password, &[&greeting.random, &session, &end, self.user]).as_ref(),
        );
        payload
    }

    /// RAKP 4: the BMC proves that it has the same keys. `None` if this is no answer to our proof.
    #[must_use]
    pub fn proved(&self, tag: u8, greeting: &Greeting, payload: &[u8]) -> Option<Result<Keys, Refused>> {
        let proof = match self.status(tag, payload)? {
            Ok(proof) => proof,
            Err(refused) => return Some(Err(refused)),
        };
        let end = [self.role(), self.user_length()];
        let secret = self.sign(self.password, &[&self.random, &greeting.random, &end, self.user]);
        let session = greeting.bmc_session.to_le_bytes();
        let expected = self.sign(secret.as_ref(), &[&self.random, &session, &greeting.guid]);
        if !is_same(proof, &expected.as_ref()[..self.suite.code_length()]) {
            return Some(Err(Refused::Password));
        }
        let first = self.sign(secret.as_ref(), &[&FIRST_KEY]);
        let second = self.sign(secret.as_ref(), &[&SECOND_KEY]);
        let mut cipher = [0; 16];
        cipher.copy_from_slice(&second.as_ref()[..16]);
        Some(Ok(Keys {
            suite: self.suite,
            console_session: self.console_session,
            bmc_session: greeting.bmc_session,
            integrity: hmac::Key::new(self.suite.algorithm(), first.as_ref()),
            cipher,
        }))
    }

    /// What follows the head that all answers have: tag, status and our number for the session.
    fn status<'p>(&self, tag: u8, payload: &'p [u8]) -> Option<Result<&'p [u8], Refused>> {
        // A refusal may end here.
        let ([found, status], rest) = payload.split_first_chunk::<2>()?;
        if *found != tag {
            return None;
        }
        match *status {
            0 => {}
            // No such algorithm, in its kinds, or no such suite.
            0x04..=0x07 | 0x10 | 0x11 => return Some(Err(Refused::Suite)),
            // Role, privilege, name and its length, or the code that our proof has.
            status @ (0x09 | 0x0a | 0x0c | 0x0d | 0x0f) => return Some(Err(Refused::Login(status))),
            status => return Some(Err(Refused::Other(status))),
        }
        // Two bytes are reserved, or the privilege that the offer found, which is not ours to judge.
        let (session, rest) = rest.get(2..)?.split_first_chunk::<4>()?;
        (*session == self.console_session.to_le_bytes()).then_some(Ok(rest))
    }

    fn sign(&self, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.suite.algorithm(), key));
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }

    const fn role(&self) -> u8 {
        BY_NAME | self.privilege as u8
    }

    fn user_length(&self) -> u8 {
        u8::try_from(self.user.len()).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::packet::Payload;
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) const BMC: u32 = 0x0807_0605;

    fn handshake(suite: Suite) -> Handshake<'static> {
        Handshake {
            suite,
            console_session: 0x0403_0201,
            random: [3; 16],
            user: b"root",
            password: b"calvin",
            privilege: Privilege::User,
        }
    }

    /// A BMC that knows `password`, as the specification has it.
    pub(in super::super) struct Bmc {
        ours: Handshake<'static>,
    }

    impl Bmc {
        pub(in super::super) fn new(suite: Suite, password: &'static [u8]) -> Bmc {
            Bmc { ours: Handshake { password, ..handshake(suite) } }
        }

        /// Takes what it must know from the console's payloads.
        pub(in super::super) fn hear(&mut self, kind: Payload, payload: &[u8]) {
            let session = payload[4..8].try_into().expect("four bytes");
            match kind {
                Payload::OpenRequest => self.ours.console_session = u32::from_le_bytes(session),
                Payload::Rakp1 => self.ours.random = payload[8..24].try_into().expect("sixteen bytes"),
                _ => {}
            }
        }

        /// The session's keys as the BMC uses them: sending and receiving change places.
        pub(in super::super) fn keys(&self) -> Keys {
            let greeting = Greeting { bmc_session: BMC, random: [4; 16], guid: [5; 16] };
            let keys = self.ours.proved(0, &greeting, &self.proved(0)).expect("its own").expect("its own");
            Keys { console_session: BMC, bmc_session: self.ours.console_session, ..keys }
        }

        pub(in super::super) fn opened(&self, tag: u8) -> Vec<u8> {
            let mut payload = vec![tag, 0, 2, 0];
            payload.extend(self.ours.console_session.to_le_bytes());
            payload.extend(BMC.to_le_bytes());
            payload.extend_from_slice(&self.ours.open(tag)[8..]);
            payload
        }

        pub(in super::super) fn greeted(&self, tag: u8) -> Vec<u8> {
            let console = self.ours.console_session.to_le_bytes();
            let mut payload = vec![tag, 0, 0, 0];
            payload.extend(console);
            payload.extend([4; 16]);
            payload.extend([5; 16]);
            let proof = self.ours.sign(
                self.ours.password,
                &[&console, &BMC.to_le_bytes(), &self.ours.random, &[4; 16], &[5; 16], &[0x12, 4], b"root"],
            );
            payload.extend_from_slice(proof.as_ref());
            payload
        }

        pub(in super::super) fn proved(&self, tag: u8) -> Vec<u8> {
            let mut payload = vec![tag, 0, 0, 0];
            payload.extend(self.ours.console_session.to_le_bytes());
            let random = &self.ours.random;
            let secret = self.ours.sign(self.ours.password, &[random, &[4; 16], &[0x12, 4], b"root"]);
            let proof = self.ours.sign(secret.as_ref(), &[random, &BMC.to_le_bytes(), &[5; 16]]);
            payload.extend_from_slice(&proof.as_ref()[..self.ours.suite.code_length()]);
            payload
        }
    }

    #[test]
    fn the_offer_has_the_bytes_of_the_specification() {
        let offer = handshake(Suite::Seventeen).open(7);
        let algorithms = [0, 0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 8, 4, 0, 0, 0, 2, 0, 0, 8, 1, 0, 0, 0];
        assert_eq!(offer, [&[7, 0, 0, 0, 1, 2, 3, 4][..], &algorithms].concat());
        let hello = handshake(Suite::Three).hello(8, BMC);
        let expected = [&[8, 0, 0, 0, 5, 6, 7, 8][..], &[3; 16], &[0x12, 0, 0, 4], b"root"].concat();
        assert_eq!(hello, expected);
    }

    #[test]
    fn who_knows_the_password_has_the_same_keys() {
        for suite in [Suite::Three, Suite::Seventeen] {
            let (ours, bmc) = (handshake(suite), Bmc::new(suite, b"calvin"));
            assert_eq!(ours.opened(1, &bmc.opened(1)), Some(Ok(BMC)));
            let greeting = ours.greeted(2, BMC, &bmc.greeted(2)).expect("ours").expect("its proof holds");
            let keys = ours.proved(3, &greeting, &bmc.proved(3)).expect("ours").expect("its proof holds");
            assert_eq!((keys.bmc_session, keys.suite), (BMC, suite));
            assert_ne!(keys.cipher, [0; 16]);
        }
    }

    #[test]
    fn who_does_not_is_found_out() {
        let (ours, other) = (handshake(Suite::Three), Bmc::new(Suite::Three, b"hobbes"));
        assert_eq!(ours.greeted(2, BMC, &other.greeted(2)), Some(Err(Refused::Password)));
        let greeting = Greeting { bmc_session: BMC, random: [4; 16], guid: [5; 16] };
        assert_eq!(
            ours.proved(3, &greeting, &other.proved(3)).map(|keys| keys.err()),
            Some(Some(Refused::Password))
        );
        // An empty proof proves nothing.
        let cut = &other.greeted(2)[..40];
        assert_eq!(ours.greeted(2, BMC, cut), Some(Err(Refused::Password)));
    }

    #[test]
    fn answers_to_something_else_are_passed_over_and_refusals_are_told() {
        let (ours, bmc) = (handshake(Suite::Seventeen), Bmc::new(Suite::Seventeen, b"calvin"));
        assert_eq!(ours.opened(2, &bmc.opened(1)), None, "another tag");
        let elsewhere = Handshake { console_session: 9, ..handshake(Suite::Seventeen) };
        assert_eq!(elsewhere.opened(1, &bmc.opened(1)), None, "another session");
        let weaker = Bmc::new(Suite::Three, b"calvin");
        assert_eq!(ours.opened(1, &weaker.opened(1)), Some(Err(Refused::Suite)), "not what was offered");
        for (answer, expected) in [
            (&[1, 0x04][..], Refused::Suite),
            (&[1, 0x11, 0, 0], Refused::Suite),
            (&[1, 0x0d, 0, 0, 1, 2, 3, 4], Refused::Login(0x0d)),
            (&[1, 0x01, 0, 0, 1, 2, 3, 4], Refused::Other(0x01)),
            (&[1, 0, 0, 0, 1, 2, 3, 4], Refused::Malformed),
        ] {
            assert_eq!(ours.opened(1, answer), Some(Err(expected)), "{answer:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let ours = handshake(Suite::Three);
            let bytes = [&[1, 0, 0, 0, 1, 2, 3, 4], &bytes[..]].concat();
            let _ = ours.opened(1, &bytes);
            let _ = ours.greeted(1, BMC, &bytes);
            let greeting = Greeting { bmc_session: BMC, random: [0; 16], guid: [0; 16] };
            let _ = ours.proved(1, &greeting, &bytes);
        }
    }
}
