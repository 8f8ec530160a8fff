//! A made-up fleet beside a real Prometheus, and the demonstration that brings up all of it.

use crate::http;
use crate::rig::{Daemon, free_address};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// The simulator; ended when dropped.
pub(crate) struct Simulator {
    #[cfg_attr(not(feature = "rare"), allow(dead_code))]
    pub(crate) daemon: Daemon,
    pub(crate) address: SocketAddr,
}

impl Simulator {
    /// Starts it and waits until all hosts have a page. `SIMULATOR` names another program than the one
    /// under test: the same, built to be measured.
    pub(crate) fn start(arguments: &[&str]) -> Simulator {
        let program = std::env::var("SIMULATOR");
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_jouleprint").to_owned());
        let address = free_address();
        let child = Command::new(program)
            .args(["simulate", "--web.listen-address", &address.to_string(), "--log.level", "warn"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        let simulator = Simulator { daemon: Daemon(child), address };
        wait("a simulator that is ready", Duration::from_secs(60), || {
            let ready = http::request(address, "GET", "/-/ready", &[]);
            ready.ok().filter(|answer| answer.status == 200)
        });
        simulator
    }
}

pub(crate) fn wait<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < patience, "waited in vain for {what}");
        std::thread::sleep(LOOK);
    }
}

#[test]
fn the_demonstration_comes_up_and_everything_answers() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/demo.sh");
    let output = Command::new(demo)
        .arg("--check")
        .env("JOULEPRINT", env!("CARGO_BIN_EXE_jouleprint"))
        .env("PORT", "24410")
        .env("HOSTS", "20")
        .output()
        .expect("the script runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    println!("{said}");
    assert!(output.status.success() && said.contains("all of it answers"), "{said}");
    assert!(
        http::request("127.0.0.1:24413".parse().expect("an address"), "GET", "/", &[]).is_err(),
        "all ended"
    );
}
