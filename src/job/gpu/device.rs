//! How device plug-ins, managers and users call an accelerator, and which of those that are seen it is. One
//! parser for all dialects: their words do not overlap.

use crate::model::gpu::{Instance, Partition, Sight, Vendor};
use crate::model::identity::Name;

/// The longest word is `MIG-GPU-<36>/<gi>/<ci>::<replica>`, about 60 bytes; what is longer is none.
const MAX_BYTES: usize = 128;

/// Devices of one list. A machine has 16, and seven instances of each.
pub const MAX_DEVICES: usize = 64;

/// NVIDIA's device files, and those of the kernel's direct rendering.
const NVIDIA_MAJOR: u32 = 195;
const DRM_MAJOR: u32 = 226;

/// A device as somebody calls it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    /// The physical one.
    pub of: Physical,
    /// What of it.
    pub piece: Piece,
}

/// A physical device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Physical {
    /// The one with this number in its vendor's tools.
    Index(u32),
    /// `/dev/nvidiaN`.
    Minor(u32),
    /// `/dev/dri/cardN`.
    Card(u32),
    /// The one whose UUID begins so, without `GPU-`.
    Uuid(Name),
    /// At this place on the bus, `0000:3b:00.0`.
    Pci(Name),
    /// The one that has the piece.
    Any,
}

/// What of a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Piece {
    /// All of it.
    Whole,
    /// The instance whose UUID begins so.
    Uuid(Name),
    /// The instance with these numbers: of its GPU instance, and of the compute instance there, if it is told.
    Number(u32, Option<u32>),
    /// The instance at this place in the list.
    Place(u32),
    /// One of this profile, without its dots.
    Profile(Name),
}

/// Which of those that are seen it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// None, or one of several.
    Nothing,
    /// All of this one.
    Device(usize),
    /// This instance of this one.
    Instance(usize, usize),
    /// Some instance of this one.
    Unclear(usize),
}

impl Device {
    /// All of the one with this index.
    #[must_use]
    pub const fn index(index: u32) -> Device {
        Device { of: Physical::Index(index), piece: Piece::Whole }
    }

    /// Reads any of: `3`, `0:1` (instance 1 of device 0), `GPU-…` and `MIG-…` whole or shortened,
    /// `MIG-GPU-…/gi/ci`, `nvidia0/gi1/vgpu2` (GKE), `card0-1` (Intel), `0000:3b:00.0`, and the names of DRA's
    /// drivers: `gpu-0`, `gpu-0-mig-…`, `gpu-1-129` (AMD: card and render node), `0000-03-00-0-0x56c0`
    /// (Intel). A replica, `…::3`, is the device itself.
    #[must_use]
    pub fn parse(text: &str) -> Option<Device> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_BYTES {
            return None;
        }
        let text = match text.split_once("::") {
            Some((device, replica)) => number(replica).map(|_| device)?,
            None => text,
        };
        let whole = |of| Some(Device { of, piece: Piece::Whole });
        if let Some(rest) = text.strip_prefix("MIG-") {
            return mig(text, rest);
        }
        if let Some(uuid) = text.strip_prefix("GPU-") {
            return whole(Physical::Uuid(is_uuid(uuid).then(|| uuid.into())?));
        }
        if let Some(rest) = text.strip_prefix("nvidia") {
            return of_gke(rest);
        }
        if let Some(rest) = text.strip_prefix("card") {
            let card = match rest.split_once('-') {
                Some((card, share)) => number(share).and(number(card)),
                None => number(rest),
            };
            return whole(Physical::Card(card?));
        }
        if let Some(rest) = text.strip_prefix("gpu-") {
            return of_dra(rest);
        }
        if let Some(index) = number(text) {
            return Some(Device::index(index));
        }
        if let Some((device, instance)) = text.split_once(':').filter(|_| !text.contains('.')) {
            return Some(Device {
                of: Physical::Index(number(device)?),
                piece: Piece::Place(number(instance)?),
            });
        }
        whole(Physical::Pci(pci(text)?))
    }

    /// Reads a list as CUDA_VISIBLE_DEVICES holds it: what follows the first word that is none is hidden.
    #[must_use]
    pub fn parse_visible(text: &str) -> Vec<Device> {
        let words = text.split(',').map(|word| match word.split_once('.') {
            // ZE_AFFINITY_MASK: a tile of a device.
            Some((device, tile)) if number(tile).is_some() => Device::parse(device),
            _ => Device::parse(word),
        });
        distinct(words.map_while(|device| device).take(MAX_DEVICES))
    }

    /// Reads SLURM_JOB_GPUS: `0,2-3`.
    #[must_use]
    pub fn parse_slurm(text: &str) -> Vec<Device> {
        let list = crate::kernel_file::parse_list(text.trim(), MAX_DEVICES).unwrap_or_default();
        distinct(list.into_iter().map(Device::index))
    }

    /// Whether an instance is meant, by its UUID.
    #[must_use]
    pub const fn is_instance(&self) -> bool {
        matches!(self.piece, Piece::Uuid(_) | Piece::Number(..))
    }

    /// Whether it is called by a number, which means what it means only to who sees all devices.
    #[must_use]
    pub const fn is_numbered(&self) -> bool {
        matches!(self.of, Physical::Index(_) | Physical::Minor(_) | Physical::Card(_))
    }

    /// Looks for it, among those of this vendor alone if that is known.
    #[must_use]
    pub fn find(&self, sights: &[&Sight], vendor: Option<Vendor>) -> Found {
        let is_its = |sight: &Sight| vendor.is_none_or(|vendor| sight.vendor == vendor);
        if self.of == Physical::Any {
            return self.find_piece(sights, is_its);
        }
        let mut all = sights.iter().enumerate().filter(|(_, sight)| is_its(sight) && self.of.is(sight));
        let (Some((at, sight)), None) = (all.next(), all.next()) else { return Found::Nothing };
        let Partition::Instances { instances, .. } = &sight.partition else {
            return if self.piece == Piece::Whole { Found::Device(at) } else { Found::Unclear(at) };
        };
        if self.piece == Piece::Whole {
            return Found::Device(at);
        }
        let mut own =
            instances.iter().enumerate().filter(|(place, instance)| self.piece.is(*place, instance));
        match (own.next(), own.next()) {
            (Some((instance, _)), None) => Found::Instance(at, instance),
            (_, _) => Found::Unclear(at),
        }
    }

    fn find_piece(&self, sights: &[&Sight], is_its: impl Fn(&Sight) -> bool) -> Found {
        let all = sights.iter().enumerate().filter(|(_, sight)| is_its(sight));
        let instances = all.flat_map(|(at, sight)| {
            let instances = match &sight.partition {
                Partition::Whole => &[][..],
                Partition::Instances { instances, .. } => instances,
            };
            instances.iter().enumerate().map(move |(place, instance)| (at, place, instance))
        });
        let mut found = instances.filter(|(_, place, instance)| self.piece.is(*place, instance));
        match (found.next(), found.next()) {
            (Some((at, place, _)), None) => Found::Instance(at, place),
            (_, _) => Found::Nothing,
        }
    }
}

impl Physical {
    fn is(&self, sight: &Sight) -> bool {
        let has = |major, minor: u32| sight.nodes.contains(&(major, minor));
        match self {
            Physical::Index(index) => sight.index == Some(*index),
            // A library that does not tell its device files counts like them on nearly every machine.
            Physical::Minor(minor) if sight.nodes.is_empty() => sight.index == Some(*minor),
            Physical::Minor(minor) => has(NVIDIA_MAJOR, *minor),
            Physical::Card(card) => has(DRM_MAJOR, *card),
            Physical::Uuid(uuid) => begins(sight.gpu.strip_prefix("GPU-").unwrap_or(&sight.gpu), uuid),
            Physical::Pci(place) => sight.pci.eq_ignore_ascii_case(place),
            Physical::Any => true,
        }
    }
}

impl Piece {
    fn is(&self, place: usize, instance: &Instance) -> bool {
        match self {
            Piece::Whole => true,
            Piece::Uuid(uuid) => begins(&instance.uuid, uuid),
            Piece::Number(gpu, compute) => {
                instance.gpu_instance == *gpu
                    && compute.is_none_or(|compute| instance.compute_instance == compute)
            }
            Piece::Place(at) => usize::try_from(*at) == Ok(place),
            Piece::Profile(profile) => instance.profile.replace('.', "").eq_ignore_ascii_case(profile),
        }
    }
}

fn begins(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start))
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Hexadecimal digits with dashes, or the beginning of that.
fn is_uuid(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_plain)
}

/// `MIG-<uuid>`, and what drivers before 470 said: `MIG-GPU-<uuid>/<gi>/<ci>`.
fn mig(text: &str, rest: &str) -> Option<Device> {
    let Some(rest) = rest.strip_prefix("GPU-") else {
        return is_uuid(rest).then(|| Device { of: Physical::Any, piece: Piece::Uuid(text.into()) });
    };
    let (uuid, numbers) = rest.split_once('/')?;
    let (gpu, compute) = numbers.split_once('/')?;
    let piece = Piece::Number(number(gpu)?, Some(number(compute)?));
    is_uuid(uuid).then(|| Device { of: Physical::Uuid(uuid.into()), piece })
}

/// `nvidia0`, `nvidia0/gi1`, `nvidia0/vgpu2`, `nvidia0/gi1/vgpu2`.
fn of_gke(rest: &str) -> Option<Device> {
    let mut parts = rest.split('/');
    let of = Physical::Minor(number(parts.next()?)?);
    let mut piece = Piece::Whole;
    for part in parts {
        match part.strip_prefix("gi") {
            Some(instance) => piece = Piece::Number(number(instance)?, None),
            // A share of it.
            None => drop(number(part.strip_prefix("vgpu")?)?),
        }
    }
    Some(Device { of, piece })
}

/// `0`, `0-mig-1g10gb-19-0`, `0-mig-19-0-1`, `1-129`.
fn of_dra(rest: &str) -> Option<Device> {
    let Some((device, part)) = rest.split_once('-') else {
        return Some(Device { of: Physical::Minor(number(rest)?), piece: Piece::Whole });
    };
    let device = number(device)?;
    let Some(profile) = part.strip_prefix("mig-") else {
        return number(part).map(|_| Device { of: Physical::Card(device), piece: Piece::Whole });
    };
    // Where it lies on the device NVML does not tell of an instance that is there: the profile has to do.
    let profile = profile.split('-').next().unwrap_or_default().replace('.', "");
    Some(Device { of: Physical::Minor(device), piece: Piece::Profile(profile.as_str().into()) })
}

/// `0000:3b:00.0`, `00000000:3B:00.0` as NVML writes it, `3b:00.0`, `0000-03-00-0-0x56c0`.
fn pci(text: &str) -> Option<Name> {
    let fields: Vec<&str> = text.split([':', '.', '-']).collect();
    let (domain, rest) = match fields[..] {
        [bus, device, function] if text.contains(':') => ("0", [bus, device, function]),
        [domain, bus, device, function] if text.contains(':') => (domain, [bus, device, function]),
        [domain, bus, device, function, model] if model.starts_with("0x") => {
            (domain, [bus, device, function])
        }
        _ => return None,
    };
    let hex = |field: &str| {
        let is_hex = (1..=8).contains(&field.len()) && field.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { u32::from_str_radix(field, 16).ok() } else { None }
    };
    let [bus, device, function] = rest;
    let (domain, bus, device, function) = (hex(domain)?, hex(bus)?, hex(device)?, hex(function)?);
    Some(format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}").as_str().into())
}

fn distinct(devices: impl Iterator<Item = Device>) -> Vec<Device> {
    let mut all: Vec<Device> = Vec::new();
    for device in devices {
        if !all.contains(&device) {
            all.push(device);
        }
    }
    all
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// NVIDIA's number N: `GPU-N…`, at bus N, whole.
    pub(crate) fn whole(number: u32) -> Sight {
        Sight {
            gpu: format!("GPU-{number}{number}aa0000-0000-4000-8000-00000000000{number}").as_str().into(),
            vendor: Vendor::Nvidia,
            model: "NVIDIA H100".into(),
            driver: "550.54".into(),
            pci: format!("0000:{number:02x}:00.0").as_str().into(),
            index: Some(number),
            nodes: vec![(NVIDIA_MAJOR, number), (DRM_MAJOR, number + 1)],
            partition: Partition::Whole,
            processes: Ok(Vec::new()),
        }
    }

    /// The same, divided into instances of 1, 1 and 4 slices.
    pub(crate) fn divided(number: u32) -> Sight {
        let instance = |gpu_instance, profile: &str, slices| Instance {
            uuid: format!("MIG-{number}b{gpu_instance}00000-0000-5000-8000-000000000000").as_str().into(),
            gpu_instance,
            compute_instance: 0,
            profile: profile.into(),
            slices,
            activity: None,
        };
        let instances =
            vec![instance(11, "1g.10gb", 1), instance(12, "1g.10gb", 1), instance(2, "4g.40gb", 4)];
        Sight { partition: Partition::Instances { slices: 7, instances }, ..whole(number) }
    }

    fn amd(number: u32) -> Sight {
        Sight {
            gpu: format!("GPU-{number}fa0c0ffee123456").as_str().into(),
            vendor: Vendor::Amd,
            pci: format!("0000:c{number}:00.0").as_str().into(),
            index: Some(number),
            nodes: vec![(DRM_MAJOR, 60 + number), (DRM_MAJOR, 128 + number)],
            ..whole(number)
        }
    }

    #[test]
    fn every_dialect_is_understood() {
        let all = [whole(0), whole(1), divided(2), amd(0), amd(1)];
        let sights: Vec<&Sight> = all.iter().collect();
        let nvidia = Some(Vendor::Nvidia);
        for (text, vendor, expected) in [
            ("1", nvidia, Found::Device(1)),
            ("1", Some(Vendor::Amd), Found::Device(4)),
            ("1", None, Found::Nothing),
            (" 0 ", nvidia, Found::Device(0)),
            ("7", nvidia, Found::Nothing),
            ("-1", nvidia, Found::Nothing),
            ("+1", nvidia, Found::Nothing),
            ("NoDevFiles", nvidia, Found::Nothing),
            ("", nvidia, Found::Nothing),
            ("GPU-11aa0000-0000-4000-8000-000000000001", nvidia, Found::Device(1)),
            ("GPU-11AA", nvidia, Found::Device(1)),
            ("GPU-", nvidia, Found::Nothing),
            ("GPU-0", nvidia, Found::Device(0)),
            ("GPU-11aa0000-0000-4000-8000-000000000001-and-more", nvidia, Found::Nothing),
            ("GPU-11aa0000-0000-4000-8000-000000000001::3", nvidia, Found::Device(1)),
            ("GPU-11aa::x", nvidia, Found::Nothing),
            ("1::0", nvidia, Found::Device(1)),
            ("MIG-2b1100000-0000-5000-8000-000000000000", nvidia, Found::Instance(2, 0)),
            ("MIG-2b2", nvidia, Found::Instance(2, 2)),
            ("MIG-2b1", nvidia, Found::Nothing),
            ("MIG-2b2::1", nvidia, Found::Instance(2, 2)),
            ("MIG-GPU-22aa0000-0000-4000-8000-000000000002/12/0", nvidia, Found::Instance(2, 1)),
            ("MIG-GPU-22aa0000-0000-4000-8000-000000000002/12/1", nvidia, Found::Unclear(2)),
            ("MIG-GPU-22aa0000-0000-4000-8000-000000000002/12", nvidia, Found::Nothing),
            ("2:1", nvidia, Found::Instance(2, 1)),
            ("2:5", nvidia, Found::Unclear(2)),
            ("0:1", nvidia, Found::Unclear(0)),
            ("2", nvidia, Found::Device(2)),
            // GKE.
            ("nvidia1", nvidia, Found::Device(1)),
            ("nvidia1/vgpu3", nvidia, Found::Device(1)),
            ("nvidia2/gi2", nvidia, Found::Instance(2, 2)),
            ("nvidia2/gi11/vgpu0", nvidia, Found::Instance(2, 0)),
            ("nvidia2/x", nvidia, Found::Nothing),
            ("nvidiactl", nvidia, Found::Nothing),
            // DRA.
            ("gpu-1", nvidia, Found::Device(1)),
            ("gpu-2-mig-4g40gb-5-0", nvidia, Found::Instance(2, 2)),
            ("gpu-2-mig-4g.40gb-0-3", nvidia, Found::Instance(2, 2)),
            ("gpu-2-mig-1g10gb-19-0", nvidia, Found::Unclear(2)),
            ("gpu-2-mig-19-0-1", nvidia, Found::Unclear(2)),
            ("gpu-61-129", Some(Vendor::Amd), Found::Device(4)),
            ("gpu-vfio-0", nvidia, Found::Nothing),
            ("0000-c1-00-0-0x56c0", None, Found::Device(4)),
            // AMD and Intel.
            ("0000:c1:00.0", Some(Vendor::Amd), Found::Device(4)),
            ("card61", Some(Vendor::Amd), Found::Device(4)),
            ("card61-3", None, Found::Device(4)),
            ("card61-x", None, Found::Nothing),
            ("GPU-1fa0", Some(Vendor::Amd), Found::Device(4)),
            ("00000000:01:00.0", nvidia, Found::Device(1)),
            ("01:00.0", nvidia, Found::Device(1)),
            ("01:00.g", nvidia, Found::Nothing),
        ] {
            let found = Device::parse(text).map_or(Found::Nothing, |device| device.find(&sights, vendor));
            assert_eq!(found, expected, "{text:?}");
        }
        let unnumbered = Sight { nodes: Vec::new(), ..whole(1) };
        let device = Device::parse("gpu-1").expect("a device");
        assert_eq!(device.find(&[&unnumbered], nvidia), Found::Device(0), "by its index, for want of a file");
    }

    #[test]
    fn lists_are_read_as_their_makers_do() {
        let indices = |numbers: &[u32]| numbers.iter().copied().map(Device::index).collect::<Vec<_>>();
        for (text, expected) in [
            ("0,1", indices(&[0, 1])),
            ("1,0,1", indices(&[1, 0])),
            ("0,-1,1", indices(&[0])),
            ("-1", indices(&[])),
            ("", indices(&[])),
            ("NoDevFiles", indices(&[])),
            ("0.0,0.1,1", indices(&[0, 1])),
        ] {
            assert_eq!(Device::parse_visible(text), expected, "{text:?}");
        }
        for (text, expected) in
            [("0,2-3", indices(&[0, 2, 3])), ("5", indices(&[5])), ("", indices(&[])), ("x", indices(&[]))]
        {
            assert_eq!(Device::parse_slurm(text), expected, "{text:?}");
        }
        let many = (0..1_000).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(Device::parse_visible(&many).len(), MAX_DEVICES);
    }

    proptest! {
        #[test]
        fn any_word_is_borne(text in "\\PC{0,140}") {
            let all = [whole(0), divided(1)];
            if let Some(device) = Device::parse(&text) {
                let _ = device.find(&all.iter().collect::<Vec<_>>(), None);
            }
            prop_assert!(Device::parse_visible(&text).len() <= MAX_DEVICES);
            prop_assert!(Device::parse_slurm(&text).len() <= MAX_DEVICES);
        }

        /// Whatever is left of a UUID finds the device, or says that it may be another.
        #[test]
        fn an_abbreviation_finds_its_device_or_none(at in 0_usize..3, length in 5_usize..40) {
            let all = [whole(0), whole(1), whole(2)];
            let sights: Vec<&Sight> = all.iter().collect();
            let uuid = &all[at].gpu;
            let short = &uuid[..length.min(uuid.len())];
            let found = Device::parse(short).map(|device| device.find(&sights, None));
            prop_assert_eq!(found, Some(Found::Device(at)));
        }
    }
}
