//! The bytes of DCMI: what is asked of a BMC about its power, and what its answers mean. Pure; how the
//! bytes travel is `device` and `lan`. DCMI 1.5, sections 6.1.1 and 6.6.1; IPMI 2.0, table 5-2.

use crate::model::quantity::MicroWatts;
use crate::model::reading::Fault;
use std::fmt;

/// The network function of group extensions.
pub const GROUP_EXTENSION: u8 = 0x2c;

/// The group that DCMI is, first byte of every request and answer.
const GROUP: u8 = 0xdc;

/// Get DCMI Capabilities, and Get Power Reading.
pub const GET_CAPABILITIES: u8 = 0x01;
/// See [`GET_CAPABILITIES`].
pub const GET_POWER: u8 = 0x02;

/// The platform's abilities, one of the five parameters of Get DCMI Capabilities.
pub const CAPABILITIES_REQUEST: [u8; 2] = [GROUP, 1];

/// System power statistics, without the attributes of a chosen window.
pub const POWER_REQUEST: [u8; 4] = [GROUP, 1, 0, 0];

/// What a BMC that cannot read its sensor puts in the field.
const ALL_ONES: u16 = u16::MAX;

/// The bit of the state byte that says that power is being measured.
const IS_MEASURING: u8 = 1 << 6;

/// One answer to Get Power Reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PowerReading {
    /// Whole watts, now.
    pub watts: u16,
    /// The least in the statistics' window.
    pub minimum: u16,
    /// The most in it.
    pub maximum: u16,
    /// The mean of it.
    pub average: u16,
    /// When the BMC read it, in seconds of its own clock; 0 where it keeps none.
    pub timestamp: u32,
    /// The window.
    pub window_milliseconds: u32,
    /// Whether power is being measured at all.
    pub is_active: bool,
}

/// What a BMC says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The version of DCMI, major and minor.
    pub version: (u8, u8),
    /// Whether it says that it manages power; some say no and answer all the same.
    pub has_power: bool,
}

/// A completion code other than 0: the BMC's own reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub u8);

impl PowerReading {
    /// The power now.
    ///
    /// # Errors
    /// It is not measured, or no power that a running machine draws.
    pub fn power(&self) -> Result<MicroWatts, Fault> {
        if !self.is_active {
            return Err(Fault::Inactive);
        }
        match self.watts {
            0 | ALL_ONES => Err(Fault::OutOfRange),
            watts => Ok(MicroWatts::from_watts(u64::from(watts))),
        }
    }
}

impl Refusal {
    /// What the code comes to.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self.0 {
            // Unknown command, unknown for this LUN, no such sensor or data, switched off for good.
            0xc1 | 0xc2 | 0xc9 | 0xcb | 0xcc | 0xcd | 0xd6 => Fault::Missing,
            0xd4 => Fault::PermissionDenied,
            // The command cannot be executed in the present state: the host is off, say.
            0xd5 => Fault::Inactive,
            0xc3 => Fault::Timeout,
            0xc0 | 0xc4 | 0xcf => Fault::Limit,
            _ => Fault::Io,
        }
    }

    const fn words(self) -> &'static str {
        match self.0 {
            0xc0 => "busy",
            0xc1 => "it knows no such command",
            0xc2 => "not for this unit",
            0xc3 => "its own time-out",
            0xc4 => "out of space",
            0xc7 | 0xc8 => "wrong length",
            0xc9 | 0xcc => "wrong parameter",
            0xcb => "it has no such sensor",
            0xcd => "illegal command",
            0xd2 | 0xd3 => "it starts, or its sensor does not answer",
            0xd4 => "the user's privilege does not suffice",
            0xd5 => "not in the present state",
            0xd6 => "switched off",
            _ => "no reason given",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "completion code 0x{:02x}: {}", self.0, self.words())
    }
}

/// The data of an answer to Get Power Reading, after its completion code. Longer ones are borne: some
/// BMCs add bytes of their own.
#[must_use]
pub fn parse_power(data: &[u8]) -> Option<PowerReading> {
    let [GROUP, rest @ ..] = data else { return None };
    let fields: &[u8; 17] = rest.first_chunk()?;
    let short = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
    Some(PowerReading {
        watts: short(0),
        minimum: short(2),
        maximum: short(4),
        average: short(6),
        timestamp: long(8),
        window_milliseconds: long(12),
        is_active: fields[16] & IS_MEASURING != 0,
    })
}

/// The data of an answer to Get DCMI Capabilities, parameter 1.
#[must_use]
pub fn parse_capabilities(data: &[u8]) -> Option<Capabilities> {
    // Group, version, revision of the parameter, then three bytes of abilities.
    let [GROUP, major, minor, _, _, optional, ..] = data else { return None };
    Some(Capabilities { version: (*major, *minor), has_power: optional & 1 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What `ipmitool -v dcmi power reading` had on the wire of a 245 W machine.
    const ANSWER: [u8; 18] =
        [0xdc, 245, 0, 100, 0, 0x90, 1, 235, 0, 0x10, 0x32, 0x54, 0x66, 0x10, 0x27, 0, 0, 0x40];

    fn with(at: usize, byte: u8) -> [u8; 18] {
        let mut answer = ANSWER;
        answer[at] = byte;
        answer
    }

    #[test]
    fn a_reading_is_read_field_by_field() {
        let expected = PowerReading {
            watts: 245,
            minimum: 100,
            maximum: 400,
            average: 235,
            timestamp: 0x6654_3210,
            window_milliseconds: 10_000,
            is_active: true,
        };
        assert_eq!(parse_power(&ANSWER), Some(expected));
        let longer: Vec<u8> = ANSWER.iter().copied().chain([1, 2, 3]).collect();
        assert_eq!(parse_power(&longer), Some(expected), "bytes of the maker's own are borne");
    }

    #[test]
    fn what_a_reading_is_worth() {
        let watts = |watts| Ok(MicroWatts::from_watts(watts));
        for (what, answer, expected) in [
            ("plain", ANSWER.to_vec(), watts(245)),
            ("above 255 W", with(2, 3).to_vec(), watts(1_013)),
            ("reserved bits of the state are none of ours", with(17, 0xff).to_vec(), watts(245)),
            ("not active", with(17, 0).to_vec(), Err(Fault::Inactive)),
            ("not active, though other bits are set", with(17, 0xbf).to_vec(), Err(Fault::Inactive)),
            ("0 W", with(1, 0).to_vec(), Err(Fault::OutOfRange)),
            ("all ones", [0xff; 18].map(|byte: u8| byte).to_vec(), Err(Fault::Malformed)),
            (
                "all ones in the field",
                {
                    let mut answer = with(1, 0xff);
                    answer[2] = 0xff;
                    answer.to_vec()
                },
                Err(Fault::OutOfRange),
            ),
            ("a byte short", ANSWER[..17].to_vec(), Err(Fault::Malformed)),
            ("nothing", vec![], Err(Fault::Malformed)),
            ("another group", with(0, 0xdd).to_vec(), Err(Fault::Malformed)),
        ] {
            let found = parse_power(&answer).ok_or(Fault::Malformed).and_then(|reading| reading.power());
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn capabilities() {
        for (data, expected) in [
            (&[0xdc, 1, 5, 2, 0, 1, 7][..], Some(((1, 5), true))),
            (&[0xdc, 1, 1, 2, 0, 0, 7][..], Some(((1, 1), false))),
            (&[0xdc, 1, 5, 2, 0][..], None),
            (&[0x00, 1, 5, 2, 0, 1, 7][..], None),
        ] {
            let found = parse_capabilities(data).map(|found| (found.version, found.has_power));
            assert_eq!(found, expected, "{data:02x?}");
        }
    }

    #[test]
    fn every_refusal_has_a_fault_and_words() {
        for (code, fault) in [
            (0xc1, Fault::Missing),
            (0xc0, Fault::Limit),
            (0xc3, Fault::Timeout),
            (0xcb, Fault::Missing),
            (0xd4, Fault::PermissionDenied),
            (0xd5, Fault::Inactive),
            (0xff, Fault::Io),
            (0x80, Fault::Io),
        ] {
            assert_eq!(Refusal(code).fault(), fault, "0x{code:02x}");
        }
        assert_eq!(Refusal(0xc1).to_string(), "completion code 0xc1: it knows no such command");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reading_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_power(&bytes).map(|reading| reading.power());
            let _ = parse_capabilities(&bytes);
        }
    }
}
