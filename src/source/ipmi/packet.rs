//! The packets of IPMI over LAN: RMCP's frame, RMCP+'s session around it and the message inside. Pure.
//! IPMI 2.0, sections 13.6, 13.8, 13.28 and 13.29.

use super::rakp::{Keys, Suite};
use aes::Aes128;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use ring::hmac;

/// RMCP version 1.0, no acknowledgement wanted, class IPMI.
const RMCP: [u8; 4] = [6, 0, 0xff, 7];

/// The session's format: RMCP+.
const FORMAT: u8 = 6;

/// Bits of the payload's type.
const IS_ENCRYPTED: u8 = 0x80;
const IS_AUTHENTICATED: u8 = 0x40;
const KIND: u8 = 0x3f;

/// What follows the payload, always.
const NEXT_HEADER: u8 = 7;

/// Cipher block, and length of an initialisation vector.
const BLOCK: usize = 16;

/// RMCP's frame, format, kind, session and its sequence, length.
const HEADER: usize = 16;

/// The BMC's address, and that of software elsewhere.
const BMC: u8 = 0x20;
const CONSOLE: u8 = 0x81;

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Payload {
    /// A command or its answer.
    Message = 0x00,
    /// The handshake, in its order.
    OpenRequest = 0x10,
    /// See [`Payload::OpenRequest`].
    OpenResponse = 0x11,
    /// See [`Payload::OpenRequest`].
    Rakp1 = 0x12,
    /// See [`Payload::OpenRequest`].
    Rakp2 = 0x13,
    /// See [`Payload::OpenRequest`].
    Rakp3 = 0x14,
    /// See [`Payload::OpenRequest`].
    Rakp4 = 0x15,
}

/// A packet outside of any session.
#[must_use]
pub fn plain(kind: Payload, payload: &[u8]) -> Vec<u8> {
    let mut packet = header(kind as u8, 0, 0, payload.len());
    packet.extend_from_slice(payload);
    packet
}

/// The payload of a packet outside of any session, if it is of this kind.
#[must_use]
pub fn plain_payload(kind: Payload, packet: &[u8]) -> Option<&[u8]> {
    let (found, payload) = open(packet)?;
    (found == kind as u8).then_some(payload)
}

/// A message inside a session, encrypted and authenticated.
#[must_use]
pub fn seal(keys: &Keys, sequence: u32, message: &[u8], vector: [u8; BLOCK]) -> Vec<u8> {
    let padding = (BLOCK - (message.len() + 1) % BLOCK) % BLOCK;
    let mut content = message.to_vec();
    content.extend((1..=BLOCK).map(|pad| u8::try_from(pad).unwrap_or(0)).take(padding));
    content.push(u8::try_from(padding).unwrap_or(0));
    let length = content.len();
    let cipher = cbc::Encryptor::<Aes128>::new(&keys.cipher.into(), &vector.into());
    let encrypted =
        cipher.encrypt_padded_mut::<NoPadding>(&mut content, length).expect("padded to whole blocks above");
    let kind = Payload::Message as u8 | IS_ENCRYPTED | IS_AUTHENTICATED;
    let mut packet = header(kind, keys.bmc_session, sequence, BLOCK + length);
    packet.extend_from_slice(&vector);
    packet.extend_from_slice(encrypted);
    // From the format to the next header, a multiple of four bytes.
    let padding = (4 - (packet.len() - RMCP.len() + 2) % 4) % 4;
    packet.extend(std::iter::repeat_n(0xff, padding));
    packet.extend([u8::try_from(padding).unwrap_or(0), NEXT_HEADER]);
    let code = hmac::sign(&keys.integrity, &packet[RMCP.len()..]);
    packet.extend_from_slice(&code.as_ref()[..keys.suite.code_length()]);
    packet
}

/// The message of a packet that the BMC sealed for us; `None` for any other.
#[must_use]
pub fn unseal(keys: &Keys, packet: &[u8]) -> Option<Vec<u8>> {
    let (covered, code) = packet.split_at_checked(packet.len().checked_sub(keys.suite.code_length())?)?;
    let expected = hmac::sign(&keys.integrity, covered.get(RMCP.len()..)?);
    if !is_same(code, &expected.as_ref()[..keys.suite.code_length()]) {
        return None;
    }
    let (kind, payload) = open(covered)?;
    let session = packet.get(6..10)?;
    if kind != Payload::Message as u8 | IS_ENCRYPTED | IS_AUTHENTICATED
        || session != keys.console_session.to_le_bytes()
    {
        return None;
    }
    let (vector, content) = payload.split_first_chunk::<BLOCK>()?;
    let mut content = content.to_vec();
    let cipher = cbc::Decryptor::<Aes128>::new(&keys.cipher.into(), vector.into());
    let content = cipher.decrypt_padded_mut::<NoPadding>(&mut content).ok()?;
    let (padding, content) = content.split_last()?;
    let length = content.len().checked_sub(usize::from(*padding))?;
    Some(content[..length].to_vec())
}

/// A command as it stands in a session.
#[must_use]
pub fn message(sequence: u8, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
    let mut message = vec![BMC, function << 2];
    message.push(checksum(&message));
    let second = message.len();
    message.extend([CONSOLE, sequence << 2, command]);
    message.extend_from_slice(data);
    message.push(checksum(&message[second..]));
    message
}

/// Completion code and data of the answer to just that command; `None` for any other message.
#[must_use]
pub fn answer(sequence: u8, function: u8, command: u8, message: &[u8]) -> Option<&[u8]> {
    let (first, second) = message.split_at_checked(3)?;
    let expected = [BMC, sequence << 2, command];
    let is_it = checksum(first) == 0
        && checksum(second) == 0
        && first[..2] == [CONSOLE, (function | 1) << 2]
        // The unit is in the lowest two bits of the sequence.
        && second.first() == Some(&expected[0])
        && second.get(1).map(|sequence| sequence & !3) == Some(expected[1])
        && second.get(2) == Some(&expected[2]);
    let data = second.get(3..second.len().checked_sub(1)?)?;
    (is_it && !data.is_empty()).then_some(data)
}

fn header(kind: u8, session: u32, sequence: u32, length: usize) -> Vec<u8> {
    let mut packet = RMCP.to_vec();
    packet.extend([FORMAT, kind]);
    packet.extend(session.to_le_bytes());
    packet.extend(sequence.to_le_bytes());
    packet.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    packet
}

/// Kind, with its bits, and payload; what follows the payload is left out.
fn open(packet: &[u8]) -> Option<(u8, &[u8])> {
    let (head, rest) = packet.split_at_checked(HEADER)?;
    if head[..4] != RMCP || head[4] != FORMAT {
        return None;
    }
    let length = usize::from(u16::from_le_bytes([head[14], head[15]]));
    let kind = head[5];
    // Types beyond those of the standard carry more header.
    (kind & KIND != 2).then_some(())?;
    Some((kind, rest.get(..length)?))
}

/// What makes the sum of all bytes 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// Compares in the same time wherever the first difference stands.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |seen, (one, other)| seen | (one ^ other)) == 0
}

impl Suite {
    /// Bytes of a packet's authentication code.
    #[must_use]
    pub const fn code_length(self) -> usize {
        match self {
            Suite::Three => 12,
            Suite::Seventeen => 16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(suite: Suite) -> Keys {
        Keys {
            suite,
            console_session: 0x0403_0201,
            bmc_session: 0x0403_0201,
            integrity: hmac::Key::new(suite.algorithm(), &[9; 20]),
            cipher: [7; 16],
        }
    }

    #[test]
    fn a_command_has_the_bytes_of_the_specification() {
        // Get Device ID with sequence 1, as every capture shows it.
        assert_eq!(message(1, 0x06, 0x01, &[]), [0x20, 0x18, 0xc8, 0x81, 0x04, 0x01, 0x7a]);
        assert_eq!(checksum(&[0x20, 0x18]), 0xc8);
    }

    #[test]
    fn only_the_answer_to_the_very_command_is_taken() {
        let mut good = vec![0x81, 0x1c];
        good.push(checksum(&good));
        good.extend([0x20, 0x04, 0x01, 0x00, 0x20, 0x81]);
        good.push(checksum(&good[3..]));
        assert_eq!(answer(1, 0x06, 0x01, &good), Some(&[0x00, 0x20, 0x81][..]));
        assert_eq!(answer(2, 0x06, 0x01, &good), None, "an answer to an earlier one");
        assert_eq!(answer(1, 0x06, 0x02, &good), None);
        assert_eq!(answer(1, 0x2c, 0x01, &good), None);
        for at in 0..good.len() {
            let mut wrong = good.clone();
            wrong[at] ^= 0x10;
            assert_eq!(answer(1, 0x06, 0x01, &wrong), None, "byte {at}");
            assert_eq!(answer(1, 0x06, 0x01, &good[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn what_is_sealed_is_unsealed_and_nothing_else() {
        for suite in [Suite::Three, Suite::Seventeen] {
            let keys = keys(suite);
            for length in 0..40 {
                let message = vec![0xa5; length];
                let packet = seal(&keys, 3, &message, [1; BLOCK]);
                assert_eq!((packet.len() - RMCP.len() - suite.code_length()) % 4, 0);
                assert_eq!(unseal(&keys, &packet).as_deref(), Some(&message[..]), "{length} bytes");
                for at in 4..packet.len() {
                    let mut wrong = packet.clone();
                    wrong[at] ^= 1;
                    assert_eq!(unseal(&keys, &wrong), None, "{length} bytes, byte {at}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unseal(&keys(Suite::Three), &bytes);
            let _ = plain_payload(Payload::OpenResponse, &bytes);
            let _ = answer(1, 6, 1, &bytes);
        }

        /// As one who knows the keys may send it: any content, rightly signed.
        #[test]
        fn any_signed_content_is_borne(payload in prop::collection::vec(any::<u8>(), 0..70), length in 0..80_usize) {
            let keys = keys(Suite::Seventeen);
            let mut packet = header(0xc0, keys.console_session, 1, length);
            packet.extend_from_slice(&payload);
            let code = hmac::sign(&keys.integrity, &packet[4..]);
            packet.extend_from_slice(&code.as_ref()[..16]);
            let _ = unseal(&keys, &packet);
        }
    }
}
