//! What people read.

use super::*;
use crate::command::report::example::{NOW, history};
use crate::command::report::order::{Sort, arrange};
use crate::command::report::past::Past;
use crate::command::report::question::Filter;
use crate::command::report::tally::tally;
use crate::model::history::Span;
use crate::model::identity::HwType;
use crate::model::quantity::Nanos;

fn draw_by(keys: &[Key], filter: Filter, limit: Option<usize>, width: Option<usize>) -> String {
    let period = Span { start: Nanos::ZERO, end: NOW };
    let question = Question::new(keys, filter, period).expect("an answer");
    let mut tally = tally(&Past::of_store(history(), "store".to_owned()), &question);
    arrange(&mut tally, Sort::for_question(&question), limit);
    let users = Users::default();
    table(&tally, &question, &users, width)
}

#[test]
fn days_are_this() {
    let drawn = draw_by(&[Key::Day], Filter::default(), Some(3), None);
    assert_eq!(
        drawn,
        "\
day                     kWh        kWh         g          g  g/kWh
                   measured  estimated  measured  estimated
before 2026-11-16     0.026      0.015     0.135      0.075    5.0
2026-11-16            0.087      0.046     0.360      0.189    4.1
2026-11-17            0.177      0.091     0.693      0.357    3.9
1 more                0.956      0.486     3.600      1.830    3.8
total                 1.246      0.639     4.788      2.451    3.8
"
    );
}

#[test]
fn jobs_are_this() {
    let drawn = draw_by(&[Key::Job], Filter::default(), None, None);
    assert_eq!(
        drawn,
        "\
host   kind    job                                   user  state   first seen        lasted  CPU s       kWh        kWh         g          g  g/kWh
                                                                                                    measured  estimated  measured  estimated
n1     unit    ssh.service                           -     live    2026-11-16 00:01  2d 10h    9.0     0.166      0.085     0.639      0.327    3.8
n2     unit    ssh.service                           -     live    2026-11-18 09:01  1h 25m    9.0     0.111      0.056     0.414      0.210    3.7
n1     pod     5c1a8a0e-1c5e-4a5c-9d0e-8f6f5b7f2d11  1000  ended   2026-11-17 00:01  1d 09h    7.5     0.096      0.049     0.369      0.189    3.8
n2     custom  näme, \"quoted\"\u{fffd}                       0     ended   2026-11-16 00:01  2d 08h    6.0     0.081      0.042     0.315      0.162    3.9
n1     folded  7 older jobs                          -     folded                              1.5     0.002      0.001     0.015      0.009    7.2
n2     -       charged to no job                     -                                                 0.423      0.217     1.620      0.828    3.8
n1     -       charged to no job                     -                                                 0.367      0.188     1.416      0.726    3.9
total                                                                                         33.0     1.246      0.639     4.788      2.451    3.8
"
    );
}

#[test]
fn phases_are_this() {
    let drawn = draw_by(&[Key::Phase], Filter::default(), None, None);
    assert_eq!(
        drawn,
        "\
phase              jobs  state   first seen  lasted  CPU s       kWh        kWh         g          g  g/kWh
                                                            measured  estimated  measured  estimated
(in no phase)         4  live                         31.5     0.454      0.232     1.737      0.888    3.8
7 older jobs          7  folded                        1.5     0.002      0.001     0.015      0.009    7.2
charged to no job                                              0.790      0.405     3.036      1.554    3.8
total                11                               33.0     1.246      0.639     4.788      2.451    3.8
"
    );
}

#[test]
fn one_origin_makes_one_column() {
    let gpu = Filter { hardware: Some(HwType::Gpu), ..Filter::default() };
    let drawn = draw_by(&[Key::Host], gpu, None, None);
    assert!(drawn.contains("measured") && !drawn.contains("estimated"), "{drawn}");
    let nothing = draw_by(&[Key::Host], Filter { host: Some("n3".into()), ..Filter::default() }, None, None);
    assert!(nothing.contains("total") && nothing.contains('-'), "{nothing}");
}

#[test]
fn lines_fit_the_terminal_and_numbers_are_never_cut() {
    let wide = draw_by(&[Key::Job], Filter::default(), None, None);
    let natural = wide.lines().map(|line| line.chars().count()).max().expect("lines");
    for width in [natural, 120, 100, 80] {
        let drawn = draw_by(&[Key::Job], Filter::default(), None, Some(width));
        let widest = drawn.lines().map(|line| line.chars().count()).max().expect("lines");
        assert!(widest <= width, "{width}: {drawn}");
        assert_eq!(drawn.lines().count(), wide.lines().count(), "no line is broken in two: {drawn}");
        // The intensity, the last column, is there in full.
        let last = |text: &str| {
            text.lines().map(|line| line.split_whitespace().last().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(last(&drawn), last(&wide));
    }
    let narrow = draw_by(&[Key::Job], Filter::default(), None, Some(80));
    assert!(narrow.contains('…') && !wide.contains('…'), "{narrow}");
}
