//! TLS, client certificates, users and given-up rights, as a client and the kernel see them.

use crate::rig::{CGROUPFS, free_address, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that is ended when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The exporter, with the folder's web.yml.
fn start(folder: &Path, address: SocketAddr) -> Running {
    let program = Command::new(env!("CARGO_BIN_EXE_jouleprint"))
        .args(["--zone", "FR", "--web.listen-address", &address.to_string(), "--web.config.file"])
        .arg(folder.join("web.yml"))
        .env("JOULEPRINT_STORE_PATH", folder.join("store"))
        .env("JOULEPRINT_PATH_RUNTIME", folder.join("run"))
        .stderr(Stdio::null())
        .spawn();
    Running(program.expect("the program starts"))
}

fn shell(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate authority, a server's and a client's certificate.
pub(crate) fn certificates(folder: &Path) {
    shell(
        folder,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca
         printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > extensions
         for name in server client; do
           openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $name.key -out $name.csr -subj /CN=localhost
           openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out $name.pem
         done",
    );
}

/// The status of a request by curl, 0 if there was no answer.
fn status(folder: &Path, url: &str, arguments: &[&str]) -> u16 {
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "5", "--cacert", "ca.pem"])
        .args(arguments)
        .arg(url)
        .current_dir(folder)
        .output()
        .expect("curl");
    String::from_utf8_lossy(&output.stdout).parse().expect("a status")
}

#[test]
fn certificates_and_users_are_asked_for_and_renewed_without_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    certificates(folder);
    let hash = bcrypt::hash("right", 4).expect("hashed");
    let web = format!(
        "tls_server_config: {{cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem, \
         client_auth_type: RequireAndVerifyClientCert, min_version: TLS13}}\n\
         http_server_config: {{headers: {{X-Frame-Options: deny}}}}\nbasic_auth_users: {{me: '{hash}'}}\n"
    );
    fs::write(folder.join("web.yml"), &web).expect("written");
    let address = free_address();
    let program = start(folder, address);

    let url = format!("https://127.0.0.1:{}/metrics", address.port());
    let mine = ["--cert", "client.pem", "--key", "client.key"];
    let with = |more: &[&'static str]| [&mine[..], more].concat();
    wait_for("the first page", || (status(folder, &url, &with(&["-u", "me:right"])) == 200).then_some(()));
    for (arguments, expected) in [
        (vec![], 0),
        (with(&[]), 401),
        (with(&["-u", "me:wrong"]), 401),
        (with(&["-u", "you:right"]), 401),
        (with(&["-u", "me:right"]), 200),
        (with(&["-u", "me:right", "--tls-max", "1.2"]), 0),
    ] {
        assert_eq!(status(folder, &url, &arguments), expected, "{arguments:?}");
    }
    // Another user, and then a broken file: the one is taken up, the other is not.
    fs::write(folder.join("web.yml"), web.replace("me: ", "somebody: ")).expect("written");
    assert_eq!(status(folder, &url, &with(&["-u", "me:right"])), 401);
    assert_eq!(status(folder, &url, &with(&["-u", "somebody:right"])), 200);
    fs::write(folder.join("web.yml"), "nonsense: 1").expect("written");
    assert_eq!(status(folder, &url, &with(&["-u", "somebody:right"])), 200);

    // What was given up before the first thread started is gone in all of them.
    let tasks = fs::read_dir(format!("/proc/{}/task", program.0.id())).expect("the program runs");
    let mut threads = 0;
    for task in tasks.flatten() {
        let status = fs::read_to_string(task.path().join("status")).expect("a thread's status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // One thread, where Slurm is, reads environments and does nothing else: CAP_SYS_PTRACE too.
        let reads_environments = field("Name:") == Some("environment");
        let expected = if reads_environments { "0000000000080004" } else { "0000000000000004" };
        assert_eq!(field("CapEff:"), Some(expected), "{:?}", field("Name:"));
        assert_eq!(field("CapPrm:"), Some(expected), "{:?}", field("Name:"));
        assert_eq!(field("NoNewPrivs:"), Some("1"));
        threads += 1;
    }
    assert!(threads >= 2, "the sampler is one of {threads} threads");
}

/// How long a program takes to end after SIGTERM.
fn end(program: &mut Running, pid: u32) -> Duration {
    let pid = Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
    let told = Instant::now();
    kill_process(pid, Signal::TERM).expect("a signal can be sent");
    wait_for("the end", || program.0.try_wait().expect("a child can be asked"));
    told.elapsed()
}

#[test]
fn passwords_that_are_being_checked_do_not_hold_up_the_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    // Each check of this takes about a second.
    let hash = bcrypt::hash("right", 13).expect("hashed");
    fs::write(folder.join("web.yml"), format!("basic_auth_users: {{me: '{hash}'}}")).expect("written");
    let address = free_address();
    let mut program = start(folder, address);
    let asks = |password: &str| {
        let (login, url) = (format!("me:{password}"), format!("http://{address}/metrics"));
        let child = Command::new("curl").args(["-s", "-o", "/dev/null", "-u", &login, &url]).spawn();
        Running(child.expect("curl"))
    };
    wait_for("an answer", || {
        let listening = std::net::TcpStream::connect(address);
        listening.is_ok().then_some(())
    });
    let clients: Vec<Running> = (0..20).map(|number| asks(&format!("wrong-{number}"))).collect();
    // All of them are there when the signal comes.
    let connected = || {
        let sockets = fs::read_dir(format!("/proc/{}/fd", program.0.id())).expect("the program runs");
        let is_socket = |fd: &fs::DirEntry| {
            fs::read_link(fd.path()).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
        };
        (sockets.flatten().filter(is_socket).count() >= 20).then_some(())
    };
    wait_for("twenty connections", connected);
    let pid = program.0.id();
    let took = end(&mut program, pid);
    println!("with twenty passwords to check: ended after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(clients);
}

#[test]
fn the_first_process_of_a_container_is_ended_while_it_still_looks_for_meters() {
    // A meter that stands still is looked at for a third of a second.
    let sysfs = tempfile::tempdir().expect("a temporary folder");
    let zone = sysfs.path().join("class/powercap/intel-rapl:0");
    fs::create_dir_all(&zone).expect("made");
    for (file, text) in [("name", "package-0"), ("energy_uj", "7"), ("max_energy_range_uj", "1000000")] {
        fs::write(zone.join(file), text).expect("written");
    }
    let program = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", env!("CARGO_BIN_EXE_jouleprint"), "--path.sysfs"])
        .arg(sysfs.path())
        .args(["--path.cgroupfs", CGROUPFS.as_str(), "--web.listen-address", &free_address().to_string()])
        .env("JOULEPRINT_STORE_PATH", sysfs.path().join("store"))
        .env("JOULEPRINT_PATH_RUNTIME", sysfs.path().join("run"))
        .stderr(Stdio::null())
        .spawn();
    let mut program = Running(program.expect("the program starts"));
    let children = format!("/proc/{0}/task/{0}/children", program.0.id());
    let inner: u32 = wait_for("the inner process", || {
        let pid = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
        // It has begun to watch for signals when it catches SIGTERM (bit 14).
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?.trim().to_owned();
        let caught = u64::from_str_radix(&caught, 16).ok()?;
        (caught & (1 << 14) != 0).then_some(pid)
    });
    let took = end(&mut program, inner);
    println!("as the first process, while looking for meters: ended after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}
