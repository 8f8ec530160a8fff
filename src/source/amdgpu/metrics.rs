//! The table that amdgpu shows in `gpu_metrics`: its version says where each figure stands, and a version
//! that is not known, or a table that is cut off, is refused rather than guessed at.
//! Kernel: drivers/gpu/drm/amd/include/kgd_pp_interface.h.

use crate::model::quantity::{Energy, MicroWatts};

/// What drivers fill in where the hardware has no such figure.
const ABSENT: u16 = u16::MAX;

/// Attributes of a table of version 1.9 at the most; the kernel names 53.
const MAX_ATTRIBUTES: u32 = 256;

/// The header: size, format, content.
const HEADER: usize = 4;

/// What is wanted of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Format and content revision.
    pub version: (u8, u8),
    /// It is a processor with graphics inside, whose figures are of the whole socket.
    pub is_processor: bool,
    /// The energy counter's position in units of 2^-16 J, where there is one.
    pub energy: Option<u64>,
    /// The socket's or board's power, where it is in whole watts.
    pub power: Option<MicroWatts>,
}

/// Why a table is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is shorter than its header says or its version needs.
    #[error("gpu_metrics is cut off: {0} bytes")]
    Short(usize),
    /// Nobody has told us what stands where.
    #[error("gpu_metrics has version {0}.{1}, which is not known")]
    Unknown(u8, u8),
}

impl Metrics {
    /// Whether its energy counter has 32 bits.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        self.version == (1, 0)
    }
}

/// Where the figures stand in a table of fixed layout.
struct Layout {
    power: usize,
    energy: usize,
    is_narrow: bool,
    /// The whole table's size.
    size: usize,
}

impl Layout {
    const fn new(power: usize, energy: usize, size: usize) -> Layout {
        Layout { power, energy, is_narrow: false, size }
    }

    /// The layouts of formats with an energy counter, by content revision.
    const fn of(content: u8) -> Option<Layout> {
        Some(match content {
            0 => Layout { power: 34, energy: 36, is_narrow: true, size: 76 },
            1 => Layout::new(22, 24, 96),
            2 => Layout::new(22, 24, 104),
            3 => Layout::new(22, 24, 120),
            4 => Layout::new(10, 24, 284),
            // 32 JPEG engines stand before the counter.
            5 => Layout::new(10, 88, 356),
            6 => Layout::new(10, 16, 300),
            7 | 8 => Layout::new(10, 24, 300),
            _ => return None,
        })
    }
}

/// Microjoules of so many units of 2^-16 J: 15.2587890625 each, and the whole is rounded once.
#[must_use]
pub fn energy(units: u64) -> Option<Energy> {
    let micro = (u128::from(units) * 1_000_000) >> 16;
    u64::try_from(micro).ok().map(Energy::from_micro)
}

/// Reads a table.
///
/// # Errors
/// It is cut off, or of a version that is not known.
pub fn parse(bytes: &[u8]) -> Result<Metrics, Refused> {
    let short = Refused::Short(bytes.len());
    let size = usize::from(number(bytes, 0, 2).and_then(|size| u16::try_from(size).ok()).ok_or(short)?);
    let (&format, &content) = bytes.get(2).zip(bytes.get(3)).ok_or(short)?;
    if bytes.len() != size {
        return Err(short);
    }
    let version = (format, content);
    let processor = Metrics { version, is_processor: true, energy: None, power: None };
    match (format, content) {
        (1, 9) => dynamic(bytes).ok_or(short),
        (1, _) => {
            let layout = Layout::of(content).ok_or(Refused::Unknown(format, content))?;
            if size < layout.size {
                return Err(short);
            }
            let (width, absent) = if layout.is_narrow { (4, u64::from(u32::MAX)) } else { (8, u64::MAX) };
            let units = number(bytes, layout.energy, width).ok_or(short)?;
            Ok(Metrics {
                version,
                is_processor: false,
                energy: (units != absent).then_some(units),
                power: number(bytes, layout.power, 2).and_then(watts),
            })
        }
        // Processors with graphics: no counter, and powers in units that differ from part to part.
        (2, 0..=4) | (3, 0) => Ok(processor),
        _ => Err(Refused::Unknown(format, content)),
    }
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

fn watts(count: u64) -> Option<MicroWatts> {
    (count != u64::from(ABSENT)).then_some(MicroWatts::from_watts(count))
}

/// Version 1.9 is a list: of each attribute its kind, then its values without a gap.
fn dynamic(bytes: &[u8]) -> Option<Metrics> {
    const POWER: u64 = 3;
    const ENERGY: u64 = 7;
    let mut metrics = Metrics { version: (1, 9), is_processor: false, energy: None, power: None };
    let count = u32::try_from(number(bytes, HEADER, 4)?).ok().filter(|count| *count <= MAX_ATTRIBUTES)?;
    let mut at = HEADER + 4;
    for _ in 0..count {
        let kind = number(bytes, at, 8)?;
        at += 8;
        // Bits 0 to 9 count the values, 10 to 19 say what they are, 20 to 23 their type.
        let values = usize::try_from(kind & 0x3ff).ok()?.max(1);
        let width = match (kind >> 20) & 0xf {
            0 | 1 => 1,
            2 | 3 => 2,
            4 | 5 => 4,
            6 | 7 => 8,
            _ => return None,
        };
        let value = number(bytes, at, width)?;
        match ((kind >> 10) & 0x3ff, width) {
            (POWER, 2) => metrics.power = watts(value),
            (ENERGY, 8) if value != u64::MAX => {
                metrics.energy = Some(value);
            }
            _ => {}
        }
        at += width * values;
    }
    (at <= bytes.len()).then_some(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table of this size with these figures in it.
    fn table(format: u8, content: u8, size: usize, figures: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0xff; size];
        bytes[..2].copy_from_slice(&u16::try_from(size).expect("small").to_le_bytes());
        bytes[2..4].copy_from_slice(&[format, content]);
        for (at, figure) in figures {
            bytes[*at..*at + figure.len()].copy_from_slice(figure);
        }
        bytes
    }

    /// The offsets and sizes are those of the structures as a C compiler lays them out.
    const LAYOUTS: [(u8, usize, usize, usize); 9] = [
        (0, 34, 36, 80),
        (1, 22, 24, 96),
        (2, 22, 24, 104),
        (3, 22, 24, 120),
        (4, 10, 24, 288),
        (5, 10, 88, 360),
        (6, 10, 16, 1_664),
        (7, 10, 24, 2_200),
        (8, 10, 24, 3_000),
    ];

    #[test]
    fn each_version_has_its_figures_where_the_kernel_puts_them() {
        for (content, power, at, size) in LAYOUTS {
            let counter: &[u8] = if content == 0 { &[4, 3, 2, 1] } else { &[8, 7, 6, 5, 4, 3, 2, 1] };
            let bytes = table(1, content, size, &[(power, &[0xee, 0x02]), (at, counter)]);
            let metrics = parse(&bytes).expect("a table");
            assert_eq!(metrics.power, Some(MicroWatts::from_watts(750)), "1.{content}");
            let units = if content == 0 { 0x0102_0304 } else { 0x0102_0304_0506_0708 };
            assert_eq!(metrics.energy, Some(units), "1.{content}");
            assert!(!metrics.is_processor);
            let empty = parse(&table(1, content, size, &[])).expect("a table");
            assert_eq!((empty.energy, empty.power), (None, None), "all ones are no figure");
        }
        for (format, content, size) in [(2, 0, 120), (2, 1, 128), (2, 4, 160), (3, 0, 264)] {
            let metrics = parse(&table(format, content, size, &[])).expect("a table");
            assert!(metrics.is_processor && metrics.energy.is_none(), "{format}.{content}");
        }
    }

    #[test]
    fn a_list_of_attributes_is_walked() {
        let kind = |id: u64, kind: u64, values: u64| ((kind << 20) | (id << 10) | values).to_le_bytes();
        let mut bytes = vec![0, 0, 1, 9, 3, 0, 0, 0];
        bytes.extend(kind(46, 2, 4));
        bytes.extend([9; 8]);
        bytes.extend(kind(3, 2, 1));
        bytes.extend(500_u16.to_le_bytes());
        bytes.extend(kind(7, 6, 1));
        bytes.extend(7_000_000_u64.to_le_bytes());
        let size = u8::try_from(bytes.len()).expect("short");
        bytes[0] = size;
        let metrics = parse(&bytes).expect("a table");
        assert_eq!(metrics.power, Some(MicroWatts::from_watts(500)));
        assert_eq!(metrics.energy, Some(7_000_000));
        bytes.pop();
        bytes[0] -= 1;
        assert_eq!(parse(&bytes), Err(Refused::Short(usize::from(size) - 1)));
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused() {
        let whole = table(1, 4, 288, &[]);
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length]), Err(Refused::Short(length)), "the header says 288");
        }
        // A table that says of itself that it is shorter than its version.
        assert_eq!(parse(&table(1, 4, 120, &[])), Err(Refused::Short(120)));
        for (format, content) in [(1, 10), (0, 0), (2, 5), (3, 1), (4, 0)] {
            let refused = parse(&table(format, content, 288, &[]));
            assert_eq!(refused, Err(Refused::Unknown(format, content)));
        }
    }

    #[test]
    fn units_keep_their_fraction() {
        for (units, micro) in [
            (0, 0),
            (1, 15),
            // 15.3 would give 15,300,000 here and 15 would give 15,000,000.
            (1_000_000, 15_258_789),
            (65_536, 1_000_000),
            (1 << 32, 65_536_000_000),
            (4_750_896_266, 72_492_923_980),
        ] {
            assert_eq!(energy(units), Some(Energy::from_micro(micro)), "{units}");
        }
        assert_eq!(energy(u64::MAX), None, "281 EJ");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_table_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn energy_rises_with_its_units_and_never_strays_a_microjoule(units in 0..1_u64 << 56, more in 0..1_u64 << 40) {
            let (before, after) = (energy(units).expect("in range"), energy(units + more).expect("in range"));
            let gained = u128::from(after.as_micro() - before.as_micro());
            let exact = (u128::from(more) * 1_000_000) >> 16;
            prop_assert!(gained == exact || gained == exact + 1);
        }
    }
}
