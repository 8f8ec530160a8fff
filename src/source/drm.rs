//! Graphics cards and accelerators as the kernel's drm class lists them: where they are on the bus, whose
//! they are, and where their sensors stand. What the sensors mean is for each vendor's source to say.

use crate::kernel_file::read_text;
use crate::model::gpu::{Partition, Sight, Vendor};
use crate::model::reading::Fault;
use std::path::{Path, PathBuf};

/// Devices at the most: two sockets of a dense machine hold 16, each of two dies.
const MAX_CARDS: usize = 64;

/// Chips of hwmon below one device: one for the card and one a tile.
const MAX_CHIPS: usize = 16;

/// The major number of every file in /dev/dri.
const DRM_MAJOR: u32 = 226;

/// A card with its driver loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its folder, without links on the way.
    pub folder: PathBuf,
    /// Its place on the bus, `0000:3b:00.0`.
    pub pci: String,
    /// The device's id of the vendor's.
    pub device: u32,
    /// `amdgpu`, `i915`, `xe`.
    pub driver: String,
    /// Its card's number, and its render node's.
    pub minors: Vec<u32>,
    /// By name, the folders of its chips in hwmon.
    pub chips: Vec<(String, PathBuf)>,
}

/// The cards of the vendor with this number on the bus, in the order of the bus: so its own tools count.
#[must_use]
pub fn cards(sysfs: &Path, vendor: u32) -> Vec<Card> {
    let Ok(entries) = std::fs::read_dir(sysfs.join("class/drm")) else { return Vec::new() };
    let is_card = |name: &str| {
        let number = name.strip_prefix("card").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let folders = names
        .filter(|name| is_card(name))
        .take(MAX_CARDS)
        .filter_map(|name| std::fs::canonicalize(sysfs.join("class/drm").join(name).join("device")).ok());
    let mut cards: Vec<Card> = folders.filter_map(|folder| card(folder, vendor)).collect();
    cards.sort_by(|one, other| one.pci.cmp(&other.pci));
    cards.dedup_by(|one, other| one.pci == other.pci);
    cards
}

fn card(folder: PathBuf, vendor: u32) -> Option<Card> {
    if hexadecimal(&folder.join("vendor")) != Some(vendor) {
        return None;
    }
    let pci = folder.file_name()?.to_str()?.to_owned();
    let driver = std::fs::canonicalize(folder.join("driver")).ok();
    let driver =
        driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()).map(str::to_owned);
    let minor = |name: &str| {
        name.strip_prefix("card")
            .or_else(|| name.strip_prefix("renderD"))
            .and_then(|digits| digits.parse().ok())
    };
    let mut minors: Vec<u32> = names(&folder.join("drm")).iter().filter_map(|name| minor(name)).collect();
    minors.sort_unstable();
    let chip = |name: &String| {
        let chip = folder.join("hwmon").join(name);
        Some((read_text(&chip.join("name")).ok()?, chip))
    };
    let chips = names(&folder.join("hwmon")).iter().take(MAX_CHIPS).filter_map(chip).collect();
    let device = hexadecimal(&folder.join("device")).unwrap_or(0);
    Some(Card { pci, device, driver: driver.unwrap_or_default(), minors, chips, folder })
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Whether the kernel has put a device to sleep: asking it for its power would wake it, or be refused.
#[must_use]
pub fn is_asleep(folder: &Path) -> bool {
    read_text(&folder.join("power/runtime_status")).is_ok_and(|status| status == "suspended")
}

/// A file that holds `0x1002`.
#[must_use]
pub fn hexadecimal(path: &Path) -> Option<u32> {
    u32::from_str_radix(read_text(path).ok()?.strip_prefix("0x")?, 16).ok()
}

impl Card {
    /// What a card is called that has no number of its own.
    #[must_use]
    pub fn name_on_bus(&self) -> String {
        format!("pci-{}", self.pci)
    }

    /// The chip with this name, if it is there.
    #[must_use]
    pub fn chip(&self, name: &str) -> Option<&Path> {
        self.chips.iter().find(|(chip, _)| chip == name).map(|(_, folder)| folder.as_path())
    }

    /// Its device files.
    pub fn nodes(&self) -> impl Iterator<Item = (u32, u32)> {
        self.minors.iter().map(|minor| (DRM_MAJOR, *minor))
    }

    /// Everything about it but its energy. What runs on it is found out by who looks at processes.
    #[must_use]
    pub fn sight(&self, sysfs: &Path, vendor: Vendor, gpu: &str, model: &str, index: Option<u32>) -> Sight {
        let version = read_text(&sysfs.join("module").join(&self.driver).join("version"));
        Sight {
            gpu: gpu.into(),
            vendor,
            model: model.into(),
            driver: version.unwrap_or_default().as_str().into(),
            pci: self.pci.as_str().into(),
            index,
            nodes: self.nodes().collect(),
            partition: Partition::Whole,
            processes: Err(Fault::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn cards_come_in_the_order_of_the_bus_with_their_nodes_and_chips() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let make = |card: &str, pci: &str, vendor: &str, minor: u32| {
            let device = folder.path().join("devices").join(pci);
            for inner in [format!("drm/{card}"), format!("drm/renderD{minor}"), "hwmon/hwmon4".to_owned()] {
                std::fs::create_dir_all(device.join(inner)).expect("made");
            }
            let class = folder.path().join("class/drm").join(card);
            std::fs::create_dir_all(&class).expect("made");
            std::fs::create_dir_all(folder.path().join("class/drm").join(format!("{card}-DP-1")))
                .expect("made");
            std::fs::write(device.join("vendor"), format!("{vendor}\n")).expect("written");
            std::fs::write(device.join("device"), "0x74a1\n").expect("written");
            std::fs::write(device.join("hwmon/hwmon4/name"), "amdgpu\n").expect("written");
            symlink(&device, class.join("device")).expect("linked");
        };
        make("card0", "0000:c5:00.0", "0x1002", 128);
        make("card1", "0000:05:00.0", "0x1002", 129);
        make("card2", "0000:01:00.0", "0x8086", 130);
        let cards = cards(folder.path(), 0x1002);
        let seen: Vec<(&str, &[u32])> = cards.iter().map(|card| (&*card.pci, &*card.minors)).collect();
        assert_eq!(seen, [("0000:05:00.0", &[1, 129][..]), ("0000:c5:00.0", &[0, 128])]);
        assert!(cards[0].chip("amdgpu").is_some_and(|chip| chip.ends_with("hwmon4")));
        assert_eq!((cards[0].device, cards[0].chip("xe")), (0x74a1, None));
        assert!(super::cards(tempfile::tempdir().expect("a folder").path(), 0x1002).is_empty());
    }
}
