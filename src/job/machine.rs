//! Guests of a host: virtual machines of libvirt and Proxmox, and what else systemd-machined keeps
//! (systemd-nspawn). A guest is known by its name; libvirt's domain number is another one at each start.

use super::{JobResolver, Verdict};
use crate::model::identity::{JobId, JobKind};
use std::borrow::Cow;

/// Knows the guests' paths.
#[derive(Debug)]
pub struct Machines;

/// libvirt's drivers that keep their guests in control groups.
const DRIVERS: [&str; 4] = ["qemu", "lxc", "xen", "ch"];

impl JobResolver for Machines {
    fn resolve(&self, path: &[&str]) -> Verdict {
        let Some((name, around)) = path.split_last() else { return Verdict::Unknown };
        if let Some(guest) = guest(name, around) {
            return Verdict::Named(JobId::new(JobKind::Machine, &guest));
        }
        let is_inside = (1..=2).any(|up| {
            let around = path.len().checked_sub(up).and_then(|length| path[..length].split_last());
            around.is_some_and(|(name, around)| guest(name, around).is_some())
        });
        let is_slice =
            matches!((name, around), (&"machine" | &"qemu.slice", [])) || name.ends_with(".partition");
        if is_slice || is_inside && is_part(name) { Verdict::Part } else { Verdict::Unknown }
    }
}

/// What libvirt and systemd-nspawn make inside a guest's group for their own order.
fn is_part(name: &str) -> bool {
    const PARTS: [&str; 4] = ["libvirt", "emulator", "payload", "supervisor"];
    let is_thread = |prefix: &str| {
        let number = name.strip_prefix(prefix);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    PARTS.contains(&name) || is_thread("vcpu") || is_thread("iothread")
}

/// The guest's name, if the group is a guest's own.
fn guest(name: &str, around: &[&str]) -> Option<String> {
    // systemd-machined: `machine-NAME.scope`, the name escaped.
    if let Some(stem) = name.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope")) {
        let machine = unescaped(stem)?;
        return Some(without_number(&machine).unwrap_or_else(|| machine.into_owned()));
    }
    if let Some(stem) = name.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service")) {
        return unescaped(stem).map(Cow::into_owned);
    }
    // libvirt by itself: `/machine/qemu-N-NAME.libvirt-qemu`, before 1.2 without driver and number.
    if let Some((stem, _)) = name.rsplit_once(".libvirt-").filter(|(_, driver)| DRIVERS.contains(driver)) {
        return Some(without_number(stem).unwrap_or_else(|| stem.to_owned()));
    }
    match around {
        [.., "libvirt", driver] if DRIVERS.contains(driver) => Some((*name).to_owned()),
        // Proxmox: `/qemu.slice/ID.scope`.
        [.., "qemu.slice"] => {
            let id = name.strip_suffix(".scope")?;
            id.bytes().all(|byte| byte.is_ascii_digit()).then(|| id.to_owned()).filter(|id| !id.is_empty())
        }
        _ => None,
    }
}

/// `qemu-3-web` is `web`; `anna-qemu-3-web`, of a user's own libvirt, is `anna/web`.
fn without_number(machine: &str) -> Option<String> {
    let (owner, rest) = DRIVERS.iter().find_map(|driver| {
        if let Some(rest) = machine.strip_prefix(driver) {
            return Some(("", rest.strip_prefix('-')?));
        }
        machine.split_once(&format!("-{driver}-"))
    })?;
    let (number, name) = rest.split_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match owner {
        _ if !is_number || name.is_empty() => None,
        "" => Some(name.to_owned()),
        owner => Some(format!("{owner}/{name}")),
    }
}

/// Undoes systemd's `\x2d`; `None` for what systemd would not have written.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if text.is_empty() {
        return None;
    }
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split("\\x");
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|byte| is_hex && !byte.is_ascii_control())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_undone_and_nonsense_is_refused() {
        for (text, expected) in [
            ("web", Some("web")),
            (r"qemu\x2d3\x2dweb", Some("qemu-3-web")),
            (r"\xc3\xa4", Some("ä")),
            (r"\xc3", None),
            (r"a\x2", None),
            (r"a\x+2", None),
            (r"a\x0ab", None),
            (r"a\xzz", None),
            ("", None),
        ] {
            assert_eq!(unescaped(text).as_deref(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_borne(name in "\\PC{0,20}", around in "\\PC{0,20}") {
            let _ = Machines.resolve(&[&around, &name]);
            let _ = unescaped(&name);
        }
    }
}
