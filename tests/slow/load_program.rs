//! A program that uses a share of one CPU and tells at its end its CPU time in ns: what the slow tier
//! compares the page with. `load.rs` starts it.

use rustix::time::{ClockId, clock_gettime};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: jouleprint-load steady|processes PERCENT MILLISECONDS
       jouleprint-load short";

/// The kernel may sample how busy it is, 250 times a second: work in turns shorter than that is seen
/// or missed by chance. After such a pause even a small load works for longer.
const PAUSE: Duration = Duration::from_millis(23);

/// Between two looks at whether it is time for a pause.
const TURN: Duration = Duration::from_micros(500);

/// One process of the "processes" work uses this much, beside what starting it takes.
const SHORT: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["steady", percent, milliseconds] => work(percent, milliseconds, || burn(TURN)),
        ["processes", percent, milliseconds] => work(percent, milliseconds, one_short_process),
        ["short"] => burn(SHORT),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Works whenever its share is not used up, until the time is over.
fn work(percent: &str, milliseconds: &str, turn: fn()) {
    let percent: u32 = percent.parse().expect(USAGE);
    let time = Duration::from_millis(milliseconds.parse().expect(USAGE));
    let began = Instant::now();
    while began.elapsed() < time {
        let is_ahead = used() * 100 > began.elapsed() * percent;
        if is_ahead {
            std::thread::sleep(PAUSE);
        } else {
            turn();
        }
    }
    println!("{}", used().as_nanos());
}

fn one_short_process() {
    let own_path = std::env::current_exe().expect("this program has a path");
    let status = Command::new(own_path).arg("short").status();
    assert!(status.is_ok_and(|status| status.success()), "a short process fails");
}

fn burn(time: Duration) {
    let until = own_use() + time;
    while own_use() < until {
        std::hint::black_box((0..1_000_u64).fold(0_u64, |sum, value| sum.wrapping_mul(31) ^ value));
    }
}

/// CPU time of this process, exact, with that of its children that have ended.
fn used() -> Duration {
    own_use() + children_use()
}

fn own_use() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("CPU time is not negative");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("below 1e9"))
}

/// `cutime` and `cstime`: what getrusage(RUSAGE_CHILDREN) gives, in 1/100 s.
fn children_use() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc/self/stat");
    let fields = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = fields.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
