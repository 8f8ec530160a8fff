//! A session against a BMC of ours on the loopback: one that loses packets, talks nonsense, forgets
//! sessions and knows old algorithms only.

use super::super::rakp::tests::{BMC, Bmc};
use super::super::{Meter, dcmi};
use super::*;
use crate::model::reading::Fault;
use std::sync::mpsc::{Receiver, channel};

const PASSWORD: &[u8] = b"calvin";

/// What the BMC does otherwise than it should.
#[derive(Clone, Copy, Default)]
struct Manners {
    knows_only_three: bool,
    // Packets of the console that are lost, by their number from 1.
    loses: &'static [u32],
    // Answers that something else precedes: noise, an answer of another session, a packet cut short.
    is_noisy: bool,
    // The message after which it starts anew.
    forgets_after: u32,
    privilege_code: u8,
}

struct Peer {
    address: String,
    heard: Receiver<&'static str>,
}

impl Peer {
    fn start(manners: Manners) -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address").to_string();
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        let (tell, heard) = channel();
        std::thread::spawn(move || {
            let (mut bmc, mut keys) = (Bmc::new(Suite::Seventeen, PASSWORD), None);
            let (mut packets, mut messages) = (0, 0);
            let mut buffer = [0; 1_024];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                packets += 1;
                let packet = &buffer[..length];
                if manners.loses.contains(&packets) {
                    continue;
                }
                let kinds = [
                    (Payload::OpenRequest, Payload::OpenResponse),
                    (Payload::Rakp1, Payload::Rakp2),
                    (Payload::Rakp3, Payload::Rakp4),
                ];
                let step = kinds.iter().find_map(|(asked, answer)| {
                    Some((*asked, *answer, packet::plain_payload(*asked, packet)?))
                });
                let answer = if let Some((asked, answer, payload)) = step {
                    bmc.hear(asked, payload);
                    let answered = match asked {
                        Payload::OpenRequest => {
                            let wants = if payload[12] == 3 { Suite::Seventeen } else { Suite::Three };
                            if wants == Suite::Seventeen && manners.knows_only_three {
                                vec![payload[0], 0x04]
                            } else {
                                bmc = Bmc::new(wants, PASSWORD);
                                bmc.hear(asked, payload);
                                bmc.opened(payload[0])
                            }
                        }
                        Payload::Rakp1 => bmc.greeted(payload[0]),
                        _ => {
                            keys = Some(bmc.keys());
                            let _ = tell.send("login");
                            bmc.proved(payload[0])
                        }
                    };
                    packet::plain(answer, &answered)
                } else {
                    let Some(message) = keys.as_ref().and_then(|keys| packet::unseal(keys, packet)) else {
                        continue;
                    };
                    messages += 1;
                    if messages == manners.forgets_after {
                        keys = None;
                        continue;
                    }
                    let data = match (message[1] >> 2, message[5]) {
                        (APPLICATION, CLOSE_SESSION) => {
                            let _ = tell.send("logout");
                            continue;
                        }
                        (APPLICATION, SET_PRIVILEGE) => vec![manners.privilege_code, message[6]],
                        (dcmi::GROUP_EXTENSION, dcmi::GET_POWER) => {
                            let mut data = vec![0, 0xdc, 245, 0, 100, 0, 0x90, 1, 235, 0];
                            data.extend(u32::to_le_bytes(messages));
                            data.extend([0x10, 0x27, 0, 0, 0x40]);
                            data
                        }
                        _ => vec![0xc1],
                    };
                    let mut answer = vec![0x81, message[1] | 4];
                    answer.push(0_u8.wrapping_sub(answer[0].wrapping_add(answer[1])));
                    let rest = [&[0x20, message[4], message[5]], &data[..]].concat();
                    let sum = rest.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                    answer.extend(rest);
                    answer.push(sum.wrapping_neg());
                    packet::seal(keys.as_ref().expect("sealed by them"), 1, &answer, [7; 16])
                };
                if manners.is_noisy {
                    let mut wrong = answer.clone();
                    *wrong.last_mut().expect("not empty") ^= 1;
                    for noise in
                        [b"hello".to_vec(), vec![], answer[..answer.len() / 2].to_vec(), vec![0xff; 900]]
                    {
                        let _ = socket.send_to(&noise, from);
                    }
                    // A broken proof would end the handshake, as it must; a broken message is passed over.
                    if keys.is_some() && step.is_none() {
                        let _ = socket.send_to(&wrong, from);
                    }
                }
                let _ = socket.send_to(&answer, from);
            }
        });
        Peer { address, heard }
    }

    fn line(&self, password: &str, privilege: Privilege) -> (Line, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{password}\n")).expect("written");
        let (address, user) = (self.address.clone(), "root".to_owned());
        (Line::new(Lan { address, user, password_file: file.path().to_owned(), privilege }), file)
    }
}

#[test]
fn a_session_is_opened_once_used_again_and_closed() {
    for knows_only_three in [false, true] {
        let peer = Peer::start(Manners { knows_only_three, ..Manners::default() });
        let (line, _password) = peer.line("calvin", Privilege::User);
        let mut meter = Meter::new(Box::new(line));
        for _ in 0..3 {
            assert_eq!(meter.read(clock::monotonic()).expect("a reading").as_watts(), 245.0);
        }
        drop(meter);
        assert_eq!([peer.heard.recv(), peer.heard.recv()], [Ok("login"), Ok("logout")]);
        assert!(peer.heard.try_recv().is_err(), "nothing else");
    }
}

#[test]
fn lost_packets_and_noise_cost_a_second_at_most_each() {
    // The first of the offer, then one of a message.
    let peer = Peer::start(Manners { loses: &[1, 5], is_noisy: true, ..Manners::default() });
    let (line, _password) = peer.line("calvin", Privilege::User);
    let mut meter = Meter::new(Box::new(line));
    assert_eq!(meter.read(clock::monotonic()).expect("a reading").as_watts(), 245.0);
}

#[test]
fn a_bmc_that_started_anew_is_logged_in_to_again() {
    let peer = Peer::start(Manners { forgets_after: 2, ..Manners::default() });
    let (mut line, _password) = peer.line("calvin", Privilege::User);
    let ask = |line: &mut Line| line.ask(dcmi::GROUP_EXTENSION, dcmi::GET_POWER, &dcmi::POWER_REQUEST);
    assert_eq!(ask(&mut line).expect("a reading")[0], 0);
    // The second finds no session any more; it takes the sendings of one exchange to see that.
    assert_eq!(ask(&mut line).expect("a reading")[0], 0);
    assert_eq!([peer.heard.recv(), peer.heard.recv()], [Ok("login"), Ok("login")]);
}

#[test]
fn who_may_not_is_told_so() {
    let peer = Peer::start(Manners { privilege_code: 0x81, ..Manners::default() });
    for (password, privilege, fault) in [
        ("hobbes", Privilege::User, Fault::PermissionDenied),
        ("calvin", Privilege::Operator, Fault::PermissionDenied),
        ("a-password-of-21-bytes", Privilege::User, Fault::PermissionDenied),
    ] {
        let (line, _password) = peer.line(password, privilege);
        let trouble = Meter::new(Box::new(line)).read(clock::monotonic()).expect_err("no reading");
        assert_eq!(trouble.fault(), fault, "{trouble}");
        assert!(!format!("{trouble} {trouble:?}").contains(password), "{trouble:?}");
    }
    let (line, password) = peer.line("calvin", Privilege::User);
    drop(password);
    let trouble = Meter::new(Box::new(line)).read(clock::monotonic()).expect_err("no password");
    assert_eq!(trouble.fault(), Fault::Missing, "{trouble}");
    assert_eq!(BMC, 0x0807_0605);
}

#[test]
fn nobody_there_is_known_within_the_deadline() {
    let nobody = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent = nobody.local_addr().expect("an address").to_string();
    let password = tempfile::NamedTempFile::new().expect("a file");
    let lan = |address: &str| Lan {
        address: address.to_owned(),
        user: "root".to_owned(),
        password_file: password.path().to_owned(),
        privilege: Privilege::User,
    };
    let began = clock::monotonic();
    let trouble = Meter::new(Box::new(Line::new(lan(&silent)))).read(began).expect_err("silence");
    assert_eq!(trouble.fault(), Fault::Timeout, "{trouble}");
    assert!(clock::monotonic().saturating_sub(began) < DEADLINE + RESEND);
    drop(nobody);
    let trouble = Meter::new(Box::new(Line::new(lan(&silent)))).read(began).expect_err("refused");
    assert_eq!(trouble.fault(), Fault::Unreachable, "{trouble}");
}
