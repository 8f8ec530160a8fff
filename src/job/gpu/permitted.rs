//! Which device files a control group of version 1 lets its processes open: `devices.list`. Version 2 has no
//! such file, since a program in the kernel decides there.

/// Lines that are read: a container has some twenty.
const MAX_LINES: usize = 1_024;

/// The character devices that may be read or written, by major and minor; `None` if that says nothing:
/// everything is permitted.
#[must_use]
pub fn parse(text: &str) -> Option<Vec<(u32, u32)>> {
    let mut permitted = Vec::new();
    for line in text.lines().take(MAX_LINES) {
        let mut fields = line.split_whitespace();
        let (Some(kind), Some(device), Some(access)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        match kind {
            "a" => return None,
            "c" => {}
            _ => continue,
        }
        // Runtimes let everything be made with mknod, and opened nothing of it.
        if !access.contains(['r', 'w']) {
            continue;
        }
        // A whole major says nothing of which device.
        let Some((major, minor)) = device.split_once(':') else { continue };
        if let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) {
            permitted.push((major, minor));
        }
    }
    Some(permitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_tells_what_may_be_opened_unless_everything_may() {
        for (text, expected) in [
            ("a *:* rwm\n", None),
            ("c 195:0 rw\nc 195:255 rw\n", Some(vec![(195, 0), (195, 255)])),
            // As Docker writes it.
            ("c *:* m\nb *:* m\nc 1:3 rwm\nc 195:1 rw\n", Some(vec![(1, 3), (195, 1)])),
            ("c 195:* rwm\n", Some(vec![])),
            ("b 195:0 rwm\n", Some(vec![])),
            ("c 195:0\nc 195 rw\nc x:y rw\n\n", Some(vec![])),
            ("", Some(vec![])),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_borne(text in "[ac]? ?[0-9*:]{0,8} ?[rwm]{0,3}\n\\PC{0,80}") {
            let _ = parse(&text);
        }
    }
}
