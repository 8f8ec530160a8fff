//! What is read from answers, value by value; whole answers are in `tests/it/otlp`.

use super::*;

#[test]
fn a_pause_is_seconds_or_a_date_and_has_a_bound() {
    let now = 784_111_770;
    for (text, seconds) in [
        ("0", Some(0)),
        (" 7 ", Some(7)),
        ("99999999", Some(300)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
        ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
        ("Sat, 06 Nov 2094 08:49:37 GMT", Some(300)),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text:?}");
    }
}

#[test]
fn what_was_escaped_is_read_back() {
    for (text, expected) in
        [("not%20now", "not now"), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%C3%BC", "ü")]
    {
        assert_eq!(unescape(text), expected);
    }
}

#[test]
fn a_reason_is_one_short_line() {
    let reply = Reply::new(PushOutcome::Refused, "a\nb\u{1b}[31m".to_owned() + &"x".repeat(1_000));
    assert!(reply.reason.starts_with("a b [31mx") && reply.reason.chars().count() == MAX_REASON_CHARS);
}

#[test]
fn details_that_are_none_are_no_pause() {
    for bytes in [&b""[..], b"\xff\xff", b"\x1a\x02\x0a\x00"] {
        assert_eq!(retry_info(bytes), None);
    }
}
