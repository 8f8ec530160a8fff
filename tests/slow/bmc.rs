//! The node's meter behind its BMC, with the real program: a BMC that speaks RMCP+ (pyghmi's, in Python, which
//! ipmitool reads as well), and one that speaks Redfish over TLS with a certificate of a private authority.

use crate::http;
use crate::page::Page;
use crate::powercap::{Powercap, Zone};
use crate::rig::{Exporter, Setup, amount};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A BMC is asked every 10 s, so two of its readings and a tick come within this.
const PATIENCE: Duration = Duration::from_secs(45);

fn powercap() -> Powercap {
    Powercap::start(&[
        Zone::steady("intel-rapl:0", "package-0", 60_000),
        Zone::steady("intel-rapl:0/intel-rapl:0:1", "dram", 10_000),
    ])
}

/// Waits for a page of which something is true.
fn page_with(exporter: &Exporter, what: &str, is_it: impl Fn(&Page) -> bool) -> Page {
    let began = Instant::now();
    loop {
        let page = exporter.next_page();
        if is_it(&page) {
            return page;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}:\n{}", exporter.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn is_up(page: &Page, source: &str) -> bool {
    page.sum("jouleprint_source_up", &[("source", source), ("hw_id", source)]) > 0
}

fn near(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found}, not {expected}");
}

/// pyghmi's BMC; ended when dropped.
struct Bmc {
    child: Child,
    orders: ChildStdin,
    said: Arc<Mutex<Vec<String>>>,
    port: u16,
}

impl Bmc {
    fn start(suite: &str) -> Bmc {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut child = Command::new(here.join(".cache/pyghmi/bin/python"))
            .arg(here.join("tests/slow/bmc.py"))
            .args([&port.to_string(), "root", "calvin", suite])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/slow/install.sh has made .cache/pyghmi");
        let orders = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().expect("nobody panics").push(line);
            }
        });
        let bmc = Bmc { child, orders, said, port };
        bmc.wait_for("ready");
        bmc
    }

    fn count(&self, word: &str) -> usize {
        self.said.lock().expect("nobody panics").iter().filter(|line| *line == word).count()
    }

    fn wait_for(&self, word: &str) {
        crate::rig::wait_for(word, || (self.count(word) > 0).then_some(()));
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("it reads");
        crate::rig::wait_for(order, || (self.count(order) > 0).then_some(()));
    }

    /// What the user's own tool reads.
    fn ipmitool(&self, suite: &str) -> f64 {
        let output = Command::new("ipmitool")
            .args(["-I", "lanplus", "-C", suite, "-H", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "root", "-P", "calvin", "dcmi", "power", "reading"])
            .output()
            .expect("ipmitool");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains("Instantaneous")).unwrap_or_default();
        let words = line.split_whitespace().find_map(|word| word.parse().ok());
        words.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn dcmi_over_the_network_is_the_node_and_what_ipmitool_reads() {
    for suite in ["17", "3"] {
        let powercap = powercap();
        let mut bmc = Bmc::start(suite);
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("password");
        std::fs::write(&secret, "calvin\n").expect("written");
        let config = format!(
            "tick: 1s\nzone: FR\nipmi: {{lan: {{address: '127.0.0.1:{}', user: root, password_file: {}}}}}\n",
            bmc.port,
            secret.display()
        );
        let setup = Setup { sysfs: Some(powercap.sysfs()), config: &config, ..Setup::default() };
        let exporter = Exporter::start(&setup);
        let watts = |page: &Page| amount(page, "hw_host_power_watts", &[]);
        let page = page_with(&exporter, "the node's power", |page| (watts(page) - 245.0).abs() < 1.0);
        near(bmc.ipmitool(suite), 245.0, 0.0, "ipmitool");
        let other = amount(&page, "hw_power_watts", &[("hw_id", "ipmi"), ("hw_type", "other")]);
        near(other, 175.0, 2.0, "what the node draws beyond 60 and 10 W");

        if suite == "3" {
            // The rest is the same bytes in another envelope.
            exporter.stop();
            bmc.wait_for("logout");
            continue;
        }
        bmc.order("watts 400");
        page_with(&exporter, "400 W", |page| (watts(page) - 400.0).abs() < 1.0);
        near(bmc.ipmitool(suite), 400.0, 0.0, "ipmitool");

        // A BMC that hangs costs its own figures and nobody else's.
        bmc.order("silent 1");
        let reason = [("source", "ipmi"), ("reason", "timeout")];
        let page = page_with(&exporter, "the silence", |page| {
            page.sum("jouleprint_source_errors_total", &reason) > 0 && !is_up(page, "ipmi")
        });
        assert!(is_up_named(&page, "package-0"), "RAPL goes on");
        let package = |page: &Page| amount(page, "hw_energy_joules_total", &[("hw_id", "package-0")]);
        let (before, began) = (package(&page), Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        let gained = package(&exporter.next_page()) - before;
        near(gained / began.elapsed().as_secs_f64(), 60.0, 12.0, "watts of the package meanwhile");

        bmc.order("silent 0");
        bmc.order("active 0");
        let inactive = [("source", "ipmi"), ("reason", "inactive")];
        page_with(&exporter, "measuring switched off", |page| {
            page.sum("jouleprint_source_errors_total", &inactive) > 0
        });
        bmc.order("active 1");
        page_with(&exporter, "the node again", |page| is_up(page, "ipmi"));

        let log = exporter.stop();
        assert!(!log.contains("calvin"), "{log}");
        bmc.wait_for("logout");
        let (logins, logouts) = (bmc.count("login"), bmc.count("logout"));
        println!("DCMI over RMCP+, suite {suite}: {logins} logins, {logouts} logouts");
        assert!(logouts >= 1 && logins <= 8, "{logins} logins, {logouts} logouts");
    }
}

fn is_up_named(page: &Page, hw_id: &str) -> bool {
    page.sum("jouleprint_source_up", &[("hw_id", hw_id)]) > 0
}

/// A BMC that speaks Redfish behind TLS: openssl's server in front would know no HTTP, so rustls does it here.
struct Redfish {
    address: std::net::SocketAddr,
    state: Arc<Mutex<RedfishState>>,
}

#[derive(Default)]
struct RedfishState {
    watts: f64,
    hangs: bool,
    open: Vec<String>,
    logins: u32,
}

impl Redfish {
    fn start(folder: &Path) -> Redfish {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificate = CertificateDer::from_pem_file(folder.join("server.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a pair");
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(RedfishState { watts: 310.0, ..RedfishState::default() }));
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, state) = (Arc::clone(&config), Arc::clone(&served));
                std::thread::spawn(move || {
                    let connection = rustls::ServerConnection::new(config).expect("a connection");
                    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
                    while answer(&mut stream, &state).is_some() {}
                });
            }
        });
        Redfish { address, state }
    }

    fn with<T>(&self, change: impl FnOnce(&mut RedfishState) -> T) -> T {
        change(&mut self.state.lock().expect("nobody panics"))
    }
}

/// One request; `None` when there are no more.
fn answer<S: std::io::Read + Write>(stream: &mut BufReader<S>, state: &Mutex<RedfishState>) -> Option<()> {
    let (mut first, mut length, mut token) = (String::new(), 0, String::new());
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        match line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
            Some((name, value)) if name == "content-length" => length = value.parse().ok()?,
            Some((name, value)) if name == "x-auth-token" => value.clone_into(&mut token),
            Some(_) => {}
            None if line.is_empty() => break,
            None => line.clone_into(&mut first),
        }
    }
    let mut body = vec![0; length];
    std::io::Read::read_exact(stream, &mut body).ok()?;
    while state.lock().expect("nobody panics").hangs {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut state = state.lock().expect("nobody panics");
    let (method, path) = first.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
    let link = |path: &str| json!({"@odata.id": path});
    let is_known = state.open.contains(&token);
    let (status, head, body) = match (method, path) {
        (_, "/redfish/v1/") => ("200 OK", String::new(), json!({"Chassis": link("/redfish/v1/Chassis")})),
        ("POST", "/redfish/v1/SessionService/Sessions") => {
            state.logins += 1;
            let token = format!("t{}", state.logins);
            state.open.push(token.clone());
            let head = format!("X-Auth-Token: {token}\r\nLocation: {path}/{token}\r\n");
            ("201 Created", head, json!({}))
        }
        _ if !is_known => ("401 Unauthorized", String::new(), json!({})),
        ("DELETE", _) => {
            state.open.retain(|token| !path.ends_with(token.as_str()));
            ("200 OK", String::new(), json!({}))
        }
        (_, "/redfish/v1/Chassis") => {
            ("200 OK", String::new(), json!({"Members": [link("/redfish/v1/Chassis/1")]}))
        }
        (_, "/redfish/v1/Chassis/1") => {
            ("200 OK", String::new(), json!({"Id": "1", "Power": link("/redfish/v1/Chassis/1/Power")}))
        }
        (_, "/redfish/v1/Chassis/1/Power") => {
            ("200 OK", String::new(), json!({"PowerControl": [{"PowerConsumedWatts": state.watts}]}))
        }
        _ => ("404 Not Found", String::new(), json!({})),
    };
    let body = body.to_string();
    let text = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.get_mut().write_all(text.as_bytes()).ok()?;
    stream.get_mut().flush().ok()
}

#[test]
fn redfish_over_tls_is_the_node_and_a_bmc_that_hangs_is_alone_in_that() {
    let folder = tempfile::tempdir().expect("a folder");
    crate::access::certificates(folder.path());
    let bmc = Redfish::start(folder.path());
    let secret = folder.path().join("password");
    std::fs::write(&secret, "calvin\n").expect("written");
    let powercap = powercap();
    let config = |authority: &str| {
        format!(
            "tick: 1s\nzone: FR\nipmi: off\nredfish: {{url: 'https://localhost:{}', user: root, \
             password_file: {}, {authority}}}\n",
            bmc.address.port(),
            secret.display()
        )
    };
    // Without the authority's certificate it is not believed, and nobody logs in to it.
    let unknown = config("auth: session");
    let exporter =
        Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: &unknown, ..Setup::default() });
    let untrusted = [("source", "redfish"), ("reason", "untrusted")];
    page_with(&exporter, "distrust", |page| page.sum("jouleprint_source_errors_total", &untrusted) > 0);
    assert_eq!(bmc.with(|state| state.logins), 0);
    exporter.stop();

    let known = config(&format!("ca_file: {}", folder.path().join("ca.pem").display()));
    let exporter =
        Exporter::start(&Setup { sysfs: Some(powercap.sysfs()), config: &known, ..Setup::default() });
    let watts = |page: &Page| amount(page, "hw_host_power_watts", &[]);
    let page = page_with(&exporter, "the node's power", |page| (watts(page) - 310.0).abs() < 1.0);
    near(amount(&page, "hw_power_watts", &[("hw_id", "redfish")]), 240.0, 2.0, "beyond 60 and 10 W");
    bmc.with(|state| state.watts = 420.5);
    page_with(&exporter, "420.5 W", |page| (watts(page) - 420.5).abs() < 1.0);

    // It hangs: pages go on as fast as before, and the meters inside as well.
    bmc.with(|state| state.hangs = true);
    let began = Instant::now();
    let page = page_with(&exporter, "the silence", |page| !is_up(page, "redfish"));
    println!("Redfish: a BMC that hangs is told off after {:?}", began.elapsed());
    assert!(is_up_named(&page, "package-0"), "RAPL goes on");
    let asked = Instant::now();
    assert_eq!(http::get(exporter.address, "/metrics").status, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    bmc.with(|state| state.hangs = false);
    page_with(&exporter, "the node again", |page| is_up(page, "redfish"));

    let told = Instant::now();
    let log = exporter.stop();
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert!(!log.contains("calvin"), "{log}");
    let (logins, open) = bmc.with(|state| (state.logins, state.open.len()));
    println!("Redfish: {logins} logins, {open} sessions left");
    assert_eq!(open, 0, "no session is left on the BMC");
}
