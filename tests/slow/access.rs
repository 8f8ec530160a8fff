//! TLS, client certificates, users and given-up rights, as a client and the kernel see them.

use crate::rig::{free_address, wait_for};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A program that is ended when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn shell(folder: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(folder).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate authority, a server's and a client's certificate.
fn certificates(folder: &Path) {
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
    let program = Command::new(env!("CARGO_BIN_EXE_jouleprint"))
        .args(["--zone", "FR", "--web.listen-address", &address.to_string(), "--web.config.file"])
        .arg(folder.join("web.yml"))
        .stderr(Stdio::null())
        .spawn();
    let program = Running(program.expect("the program starts"));

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
        assert_eq!(field("CapEff:"), Some("0000000000000004"), "CAP_DAC_READ_SEARCH alone");
        assert_eq!(field("CapPrm:"), Some("0000000000000004"), "CAP_DAC_READ_SEARCH alone");
        assert_eq!(field("NoNewPrivs:"), Some("1"));
        threads += 1;
    }
    assert!(threads >= 2, "the sampler is one of {threads} threads");
}
