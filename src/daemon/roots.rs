//! Parts of a host that are mounted into a container are there to be read. One that can be written is a way
//! into the host for whoever takes this process over, so the exporter does not start with it.
//!
//! Only what was named counts (`--path.sysfs /host/sys`, the kubelet's folders): a machine's own /sys and /proc are
//! writable to root by nature. And only mounts count: a folder of a root file system is nobody else's.

use crate::config::Settings;
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The kernel's list of our mounts.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Twenty thousand mounts: no container has as many, and few hosts.
const MAX_MOUNT_BYTES: u64 = 4 << 20;

/// Where every machine has its own.
const OWN: [&str; 2] = ["/proc", "/sys"];

/// A mounted part of the host that could be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key} {place}: {mount} is mounted writable, so that whoever takes this process over could change the host ({})",
    way_out(*.is_below)
)]
pub struct Writable {
    key: &'static str,
    place: String,
    mount: String,
    /// A mount inside what was mounted, and not that itself.
    is_below: bool,
}

fn way_out(is_below: bool) -> &'static str {
    if is_below {
        "it lies inside what was mounted, where readOnly: true alone does not reach, and Kubernetes before 1.30 or an \
         older runtime passes over recursiveReadOnly: IfPossible: there only an upgrade or --path.allow-writable helps"
    } else {
        "mount it read-only, in Kubernetes with readOnly: true and recursiveReadOnly: IfPossible, or allow it with \
         --path.allow-writable"
    }
}

/// Refuses mounts that can be written at or below any place of the host that was named.
///
/// # Errors
/// There is one.
pub(crate) fn check(settings: &Settings) -> Result<(), Writable> {
    if settings.allow_writable {
        return Ok(());
    }
    // Where the kernel does not tell, there is nothing to be said.
    let mounts = mounts().unwrap_or_default();
    find(settings.host_places(), &mounts, is_writable).map_or(Ok(()), Err)
}

fn find<'a>(
    places: impl Iterator<Item = (&'static str, &'a Path)>,
    mounts: &[PathBuf],
    is_writable: impl Fn(&Path) -> bool,
) -> Option<Writable> {
    let named = places.filter_map(|(key, place)| {
        let found = std::fs::canonicalize(place).ok()?;
        let is_own = OWN.iter().any(|own| found.starts_with(own));
        (!is_own).then_some((key, place, found))
    });
    let mut mounted = named.flat_map(|(key, place, found)| {
        let inside = mounts.iter().filter(move |mount| mount.starts_with(&found));
        inside.map(move |mount| (key, place, mount))
    });
    // Everything lies below the root file system, which is the container's own.
    let is_below = |mount: &Path| {
        mounts.iter().any(|other| other != Path::new("/") && other != mount && mount.starts_with(other))
    };
    mounted.find(|(_, _, mount)| is_writable(mount)).map(|(key, place, mount)| Writable {
        key,
        place: place.display().to_string(),
        mount: mount.display().to_string(),
        is_below: is_below(mount),
    })
}

fn mounts() -> io::Result<Vec<PathBuf>> {
    let mut text = Vec::new();
    File::open(MOUNTS)?.take(MAX_MOUNT_BYTES).read_to_end(&mut text)?;
    Ok(parse(&text))
}

/// The fifth field of each line is where something is mounted.
fn parse(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(|point| PathBuf::from(unescape(point))).collect()
}

/// Space, tab, line feed and backslash are written as three octal digits behind a backslash.
fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let number = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(number.unwrap_or(*first));
        rest = if number.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

/// As the mount that is on top there says; one that cannot be asked cannot be written either.
fn is_writable(mount: &Path) -> bool {
    let path = mount.as_os_str().as_bytes();
    statvfs(path).is_ok_and(|state| !state.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_at_and_below_a_named_place_count_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let at = |path: &str| root.join(path);
        for path in ["sys/class", "sys/fs/cgroup", "system", "logs"] {
            std::fs::create_dir_all(at(path)).expect("made");
        }
        std::os::unix::fs::symlink(at("sys"), at("link")).expect("linked");
        let (sys, link, logs) = (at("sys"), at("link"), at("logs"));
        let find = |key: &'static str, place: &Path, mounts: &[PathBuf]| {
            find([(key, place)].into_iter(), mounts, |_| true).map(|found| found.mount)
        };
        for (place, mount, is_found) in [
            (&sys, at("sys"), true),
            (&sys, at("sys/class"), true),
            (&link, at("sys/fs/cgroup"), true),
            (&sys, at("system"), false),
            (&sys, root.clone(), false),
            (&sys, "/".into(), false),
            (&logs, at("logs"), true),
            (&at("missing"), at("missing"), false),
        ] {
            let expected = is_found.then(|| mount.display().to_string());
            assert_eq!(
                find("path.sysfs", place, std::slice::from_ref(&mount)),
                expected,
                "{place:?} {mount:?}"
            );
        }
        // The machine's own are writable to root, and stay so.
        for own in ["/proc", "/sys"] {
            assert_eq!(find("path.sysfs", Path::new(own), &[own.into()]), None);
        }
    }

    #[test]
    fn what_can_be_read_only_is_taken() {
        let places = [("path.sysfs", Path::new("/usr"))];
        assert_eq!(find(places.into_iter(), &["/usr".into()], |_| false), None);
        let found = find(places.into_iter(), &["/usr".into()], |_| true).expect("it is writable");
        let line = found.to_string();
        for part in ["path.sysfs /usr: /usr is mounted writable", "readOnly: true", "--path.allow-writable"] {
            assert!(line.contains(part), "{line}");
        }
    }

    /// Control groups v1: hierarchies that are mounts inside the one mount that Kubernetes makes read-only.
    #[test]
    fn a_mount_inside_another_has_a_way_out_of_its_own() {
        let mounts = ["/", "/usr", "/usr/bin", "/usr/share/doc"].map(PathBuf::from);
        for (place, writable, is_below) in
            [("/usr", "/usr", false), ("/usr", "/usr/bin", true), ("/usr/share", "/usr/share/doc", true)]
        {
            let place = Path::new(place);
            let found =
                find([("path.sysfs", place)].into_iter(), &mounts, |mount| mount == Path::new(writable));
            let line = found.expect("it is writable").to_string();
            assert_eq!(
                line.contains("there only an upgrade or --path.allow-writable helps"),
                is_below,
                "{line}"
            );
            assert_eq!(line.contains("mount it read-only"), !is_below, "{line}");
            assert!(!line.contains('\n') && line.contains("--path.allow-writable"), "{line}");
        }
    }

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"29 1 0:26 /class /host/sys/class ro,nosuid shared:1 - sysfs sysfs rw\n\
                     30 1 0:27 / /mnt/a\\040b\\134c rw - tmpfs none rw\nbroken line\n\n\
                     31 1 0:28 / /mnt/\\04 rw - tmpfs none rw\n";
        let expected = ["/host/sys/class", "/mnt/a b\\c", "/mnt/\\04"].map(PathBuf::from);
        assert_eq!(parse(text), expected);
    }
}
