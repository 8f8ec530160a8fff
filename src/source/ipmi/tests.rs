//! The meter over any channel: what is read, when it is stale or off, and what discovery makes of it.

use super::*;
use std::collections::VecDeque;

/// An answer, or what makes the trouble in its place.
type Prepared = Result<Vec<u8>, fn() -> Trouble>;

/// Gives one prepared answer after another, the last for ever.
struct Script(VecDeque<Prepared>);

impl Channel for Script {
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Result<Vec<u8>, Trouble> {
        assert_eq!((function, data[0]), (0x2c, 0xdc));
        assert!(matches!((command, data.len()), (1, 2) | (2, 4)));
        let answer = if self.0.len() > 1 { self.0.pop_front() } else { self.0.front().cloned() };
        answer.expect("a script").map_err(|trouble| trouble())
    }
}

fn power(watts: u16, average: u16, time: u32, is_active: bool) -> Prepared {
    let mut data = vec![0, 0xdc];
    for field in [watts, 100, 400, average] {
        data.extend(field.to_le_bytes());
    }
    data.extend(time.to_le_bytes());
    data.extend(10_000_u32.to_le_bytes());
    data.push(u8::from(is_active) << 6);
    Ok(data)
}

const CAPABLE: [u8; 8] = [0, 0xdc, 1, 5, 2, 0, 1, 7];

fn meter<const N: usize>(answers: [Prepared; N]) -> Meter {
    Meter::new(Box::new(Script(answers.into())))
}

#[test]
fn a_reading_that_stands_still_is_counted_for_a_minute() {
    let mut answers: Vec<_> = (0..8).map(|_| power(245, 235, 7, true)).collect();
    // A changed average, then a clock that moves, are signs of life, though the power is the same.
    answers.extend([power(245, 236, 7, true), power(245, 236, 8, true), power(245, 236, 9, true)]);
    let mut meter = Meter::new(Box::new(Script(answers.into())));
    let faults: Vec<Option<Fault>> = (0..11)
        .map(|round| meter.read(Nanos::from_seconds(round * 10)).err().map(|trouble| trouble.fault()))
        .collect();
    let stale = Some(Fault::Stale);
    assert_eq!(faults, [None, None, None, None, None, None, stale, stale, None, None, None]);
}

#[test]
fn a_bmc_without_a_clock_may_stand_for_a_quarter_of_an_hour() {
    let mut meter = meter([power(96, 96, 0, true)]);
    for (second, is_counted) in [(0, true), (60, true), (890, true), (900, false)] {
        assert_eq!(meter.read(Nanos::from_seconds(second)).is_ok(), is_counted, "at {second} s");
    }
}

#[test]
fn measuring_may_be_switched_off_and_on() {
    let mut meter = meter([
        power(245, 235, 1, true),
        power(245, 235, 2, false),
        power(0, 0, 3, false),
        power(0, 0, 4, true),
        power(250, 0, 5, true),
    ]);
    let read = |meter: &mut Meter| meter.read(Nanos::ZERO).map_err(|trouble| trouble.fault());
    assert_eq!(read(&mut meter), Ok(MicroWatts::from_watts(245)));
    assert_eq!(read(&mut meter), Err(Fault::Inactive));
    assert_eq!(read(&mut meter), Err(Fault::Inactive));
    assert_eq!(read(&mut meter), Err(Fault::OutOfRange), "0 W on a running machine");
    assert_eq!(read(&mut meter), Ok(MicroWatts::from_watts(250)));
}

#[test]
fn troubles_are_faults_with_words() {
    for (answer, fault, words) in [
        (Ok(vec![0xc1]), Fault::Missing, "completion code 0xc1"),
        (Ok(vec![0xd4]), Fault::PermissionDenied, "privilege"),
        (Ok(vec![0xc0]), Fault::Limit, "busy"),
        (Ok(vec![]), Fault::Malformed, "no power reading"),
        (Ok(vec![0]), Fault::Malformed, "no power reading"),
        (Ok(vec![0, 0xdc, 1, 2]), Fault::Malformed, "no power reading"),
        (Err((|| Trouble::Silent) as fn() -> Trouble), Fault::Timeout, "does not answer"),
        (Err(|| Trouble::Io(std::io::ErrorKind::ResourceBusy.into())), Fault::Limit, "busy"),
        (Err(|| Trouble::Io(std::io::Error::from_raw_os_error(19))), Fault::Missing, "os error 19"),
        (Err(|| Trouble::Io(std::io::ErrorKind::PermissionDenied.into())), Fault::PermissionDenied, "denied"),
        (Err(|| Trouble::Session(Refused::Password)), Fault::PermissionDenied, "password"),
    ] {
        let trouble = meter([answer]).read(Nanos::ZERO).expect_err(words);
        assert_eq!(trouble.fault(), fault, "{trouble}");
        assert!(trouble.to_string().contains(words), "{trouble}");
    }
}

#[test]
fn only_a_meter_that_shows_power_or_will_is_counted_on() {
    let capable = || Ok(CAPABLE.to_vec());
    let silent: fn() -> Trouble = || Trouble::Silent;
    for (answers, fault, is_used) in [
        ([capable(), power(245, 0, 1, true)], None, true),
        // Says that it has none, and shows it all the same.
        ([Ok(vec![0xc1]), power(245, 0, 1, true)], None, true),
        ([capable(), Err(silent)], Some(Fault::Timeout), true),
        ([capable(), Ok(vec![0xc0])], Some(Fault::Limit), true),
        ([capable(), Ok(vec![0xc1])], Some(Fault::Missing), false),
        ([capable(), power(245, 0, 1, false)], Some(Fault::Inactive), false),
        ([capable(), power(0, 0, 1, true)], Some(Fault::OutOfRange), false),
        ([Err(silent), Err(silent)], Some(Fault::Timeout), false),
        ([Ok(vec![0xc1]), Ok(vec![0xc1])], Some(Fault::Missing), false),
    ] {
        let (found, findings) = probe(meter(answers), "/dev/ipmi0");
        assert_eq!(found.is_some(), is_used, "{findings:?}");
        assert_eq!((findings.len(), findings[0].fault), (1, fault), "{findings:?}");
        assert_eq!(&*findings[0].hw_id, if is_used { SOURCE } else { "" }, "{findings:?}");
        assert!(findings[0].detail.starts_with("/dev/ipmi0"), "{findings:?}");
    }
}

#[test]
fn a_missing_device_is_told_only_where_the_firmware_has_a_bmc() {
    let tree = tempfile::tempdir().expect("a folder");
    let (devices, sysfs) = (tree.path().join("dev"), tree.path().join("sys"));
    std::fs::create_dir_all(&devices).expect("made");
    let look = |wish: &Wish| {
        let (found, findings) = discover(&sysfs, wish);
        assert!(found.is_none());
        findings.into_iter().map(|finding| (finding.fault, finding.detail.to_string())).collect::<Vec<_>>()
    };
    let wish = Wish::Automatic(devices.clone());
    assert_eq!(look(&wish), []);
    std::fs::create_dir_all(sysfs.join(FIRMWARE_ENTRY)).expect("made");
    assert_eq!(look(&Wish::Off), []);
    let missing = look(&wish);
    assert!(missing[0].0 == Some(Fault::Missing) && missing[0].1.contains("ipmi0, though"), "{missing:?}");
    // A file is no device: the ioctl says so.
    std::fs::create_dir_all(devices.join("ipmi")).expect("made");
    std::fs::write(devices.join("ipmi/0"), "").expect("written");
    let odd = look(&wish);
    assert!(odd[0].0 == Some(Fault::Io) && odd[0].1.contains("dev/ipmi/0"), "{odd:?}");
}

#[test]
fn a_bmc_that_is_configured_is_counted_on_without_a_word_to_it() {
    let lan = Lan {
        address: "192.0.2.1:623".to_owned(),
        user: "root".to_owned(),
        password_file: "/nowhere".into(),
        privilege: rakp::Privilege::User,
    };
    let (found, findings) = discover(Path::new("/nowhere"), &Wish::Lan(lan));
    let found = found.expect("a meter");
    assert_eq!((found.domains().len(), found.scope(0)), (1, Scope::Node));
    assert_eq!((&*findings[0].detail, findings[0].fault), ("DCMI at 192.0.2.1:623", None));
}
