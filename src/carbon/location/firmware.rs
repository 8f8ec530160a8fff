//! In which cloud a machine stands, by what its firmware says (DMI). It is read, and nobody is asked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// A DMI string is 64 characters or so.
const MAX_BYTES: u64 = 256;

/// Azure's mark on every virtual machine; Hyper-V elsewhere has the same vendor and product.
const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";

/// What is looked at, below class/dmi/id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// `sys_vendor`.
    pub vendor: String,
    /// `product_name`.
    pub product: String,
    /// `board_vendor`.
    pub board: String,
    /// `bios_version`.
    pub bios: String,
    /// `chassis_asset_tag`.
    pub chassis: String,
}

impl Firmware {
    /// As sysfs has it; what cannot be read is empty.
    #[must_use]
    pub fn read(sysfs: &Path) -> Firmware {
        let text = |name: &str| {
            let mut text = Vec::new();
            let file = File::open(sysfs.join("class/dmi/id").join(name));
            let read = file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
            read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&text).trim().to_owned())
        };
        Firmware {
            vendor: text("sys_vendor"),
            product: text("product_name"),
            board: text("board_vendor"),
            bios: text("bios_version"),
            chassis: text("chassis_asset_tag"),
        }
    }

    /// The cloud, in OpenTelemetry's words.
    #[must_use]
    pub fn cloud(&self) -> Option<&'static str> {
        let is_amazon = self.vendor == "Amazon EC2"
            || self.board == "Amazon EC2"
            // The older instances stand on Xen, whose version says whose it is.
            || self.vendor == "Xen" && self.bios.ends_with(".amazon");
        // Google makes notebooks too, and Microsoft sells Hyper-V.
        let is_google = self.vendor == "Google" && self.product.starts_with("Google Compute Engine");
        let is_azure = self.vendor == "Microsoft Corporation" && self.chassis == AZURE_CHASSIS;
        match (self.vendor.as_str(), self.chassis.as_str()) {
            _ if is_amazon => Some("aws"),
            _ if is_google => Some("gcp"),
            _ if is_azure => Some("azure"),
            ("Alibaba Cloud", _) => Some("alibaba_cloud"),
            (_, "OracleCloud.com") => Some("oracle_cloud"),
            (_, "ibmcloud") => Some("ibm_cloud"),
            ("DigitalOcean", _) => Some("digitalocean"),
            ("Hetzner", _) => Some("hetzner"),
            ("Scaleway", _) => Some("scaleway"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::regions;

    #[test]
    fn a_cloud_is_known_by_its_firmware_and_nothing_else_is_one() {
        for (vendor, product, board, bios, chassis, expected) in [
            ("Amazon EC2", "m5.large", "Amazon EC2", "1.0", "Amazon EC2", Some("aws")),
            ("Xen", "HVM domU", "", "4.11.amazon", "", Some("aws")),
            ("Xen", "HVM domU", "", "4.11", "", None),
            ("Google", "Google Compute Engine", "Google", "Google", "", Some("gcp")),
            ("Google", "Eve", "Google", "", "", None),
            (
                "Microsoft Corporation",
                "Virtual Machine",
                "Microsoft Corporation",
                "",
                AZURE_CHASSIS,
                Some("azure"),
            ),
            ("Microsoft Corporation", "Virtual Machine", "Microsoft Corporation", "", "4711", None),
            ("Microsoft Corporation", "Surface Laptop", "Microsoft Corporation", "", "", None),
            ("QEMU", "Standard PC", "", "", "OracleCloud.com", Some("oracle_cloud")),
            ("Alibaba Cloud", "Alibaba Cloud ECS", "", "", "", Some("alibaba_cloud")),
            ("Hetzner", "vServer", "", "", "", Some("hetzner")),
            ("DigitalOcean", "Droplet", "", "", "", Some("digitalocean")),
            ("Dell Inc.", "PowerEdge R750", "Dell Inc.", "2.1", "", None),
            ("", "", "", "", "", None),
        ] {
            let text = str::to_owned;
            let firmware = Firmware {
                vendor: text(vendor),
                product: text(product),
                board: text(board),
                bios: text(bios),
                chassis: text(chassis),
            };
            assert_eq!(firmware.cloud(), expected, "{firmware:?}");
            assert!(expected.is_none_or(|cloud| regions::cloud(cloud).is_some()), "{expected:?}");
        }
    }

    #[test]
    fn strings_are_read_without_their_line_end_and_may_be_missing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let dmi = folder.path().join("class/dmi/id");
        std::fs::create_dir_all(&dmi).expect("made");
        std::fs::write(dmi.join("sys_vendor"), "Amazon EC2\n").expect("written");
        std::fs::write(dmi.join("product_name"), "x".repeat(10_000)).expect("written");
        let firmware = Firmware::read(folder.path());
        assert_eq!((firmware.cloud(), firmware.product.len()), (Some("aws"), 256));
        assert_eq!(Firmware::read(Path::new("/nowhere")), Firmware::default());
    }
}
