//! The program as a process of its own, scraped over one connection with the headers of Prometheus.

use crate::bed::Bed;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The interval of the scrapes.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(5);

/// How often the jobs use a little CPU time.
const POKE_INTERVAL: Duration = Duration::from_secs(1);

/// Discovery reads a few files and waits for counters to advance.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Pages larger than this are not ours.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// What Prometheus 3 sends.
const HEADERS: &str = "User-Agent: Prometheus/3.5.0\r\n\
    Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2\r\n\
    X-Prometheus-Scrape-Timeout-Seconds: 5\r\n";

/// A running exporter; ended when dropped.
pub(crate) struct Exporter {
    child: Child,
    connection: BufReader<TcpStream>,
    _folders: [TempDir; 2],
}

/// What it used in the steady state.
pub(crate) struct Use {
    /// How long it was looked at.
    pub(crate) seconds: f64,
    /// User and system time together.
    pub(crate) cpu_seconds: f64,
    /// `VmRSS` at the end.
    pub(crate) resident_kilobytes: f64,
    /// `RssAnon` at the end.
    pub(crate) anonymous_kilobytes: f64,
    /// Each scrape's time from the request to the last byte, in ns.
    pub(crate) scrapes: Vec<f64>,
    /// The last page as it was sent.
    pub(crate) page_bytes: usize,
    /// Jobs on the page.
    pub(crate) jobs: usize,
    /// Bytes that are to reach the disk.
    pub(crate) written_bytes: f64,
}

impl Exporter {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(program: &Path, arguments: &[String]) -> Result<Exporter, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| format!("looking for a free port: {error}"))?;
        // A store of its own on the disk, and a runtime folder in memory, as there would be.
        let folders = [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")];
        let [state, runtime] = folders.map(|folder| folder.map_err(|error| format!("a folder: {error}")));
        let folders = [state?, runtime?];
        let child = Command::new(program)
            .args(["--web.listen-address", &address.to_string(), "--log.level", "error"])
            .env("JOULEPRINT_STORE_PATH", folders[0].path())
            .env("JOULEPRINT_PATH_RUNTIME", folders[1].path())
            .args(arguments)
            .stdin(Stdio::null())
            .spawn();
        let mut child = child.map_err(|error| format!("starting {}: {error}", program.display()))?;
        let deadline = Instant::now() + START_PATIENCE;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let Ok(stream) = TcpStream::connect(address) else { continue };
            let mut connection = BufReader::new(stream);
            if get(&mut connection, "/-/ready", "").is_ok() {
                return Ok(Exporter { child, connection, _folders: folders });
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err("the exporter did not become ready".to_owned())
    }

    /// Scrapes it for `span` while the jobs live on.
    pub(crate) fn observe(&mut self, bed: &mut Bed, span: Duration) -> Result<Use, String> {
        bed.poke()?;
        // The first page after a birth allocates what later ones use again.
        self.scrape()?;
        let (began, cpu_before) = (Instant::now(), self.cpu_seconds()?);
        let written_before = self.field("io", "write_bytes:")?;
        let (mut next_poke, mut next_scrape) = (began, began + SCRAPE_INTERVAL);
        let (mut scrapes, mut page_bytes) = (Vec::new(), 0);
        while began.elapsed() < span {
            if Instant::now() >= next_poke {
                bed.poke()?;
                next_poke += POKE_INTERVAL;
            }
            if Instant::now() >= next_scrape {
                let sent = Instant::now();
                page_bytes = self.scrape()?.len();
                scrapes.push(sent.elapsed().as_nanos() as f64);
                next_scrape += SCRAPE_INTERVAL;
            }
            let next = next_poke.min(next_scrape).min(began + span);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let (seconds, cpu_seconds) = (began.elapsed().as_secs_f64(), self.cpu_seconds()? - cpu_before);
        Ok(Use {
            seconds,
            cpu_seconds,
            resident_kilobytes: self.status("VmRSS:")?,
            anonymous_kilobytes: self.status("RssAnon:")?,
            scrapes,
            page_bytes,
            jobs: self.jobs()?,
            written_bytes: self.field("io", "write_bytes:")? - written_before,
        })
    }

    fn scrape(&mut self) -> Result<Vec<u8>, String> {
        get(&mut self.connection, "/metrics", &format!("{HEADERS}Accept-Encoding: gzip\r\n"))
    }

    fn jobs(&mut self) -> Result<usize, String> {
        let page = get(&mut self.connection, "/metrics", HEADERS)?;
        let lines = page.split(|byte| *byte == b'\n');
        Ok(lines.filter(|line| line.starts_with(b"jouleprint_job_info{")).count())
    }

    /// User and system time of all threads, in ns where the kernel says so: the 1/100 s of `stat` are
    /// too coarse for a minute of this program.
    fn cpu_seconds(&self) -> Result<f64, String> {
        let path = format!("/proc/{}/task", self.child.id());
        let failed = |error: std::io::Error| format!("reading {path}: {error}");
        let mut seconds = 0.0;
        for task in fs::read_dir(&path).map_err(failed)? {
            let task = task.map_err(failed)?.path();
            let precise = fs::read_to_string(task.join("schedstat")).ok();
            let precise = precise.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
            seconds += match precise {
                Some(nanoseconds) => nanoseconds / 1e9,
                None => ticks(&fs::read_to_string(task.join("stat")).map_err(failed)?).unwrap_or(0.0) / 100.0,
            };
        }
        Ok(seconds)
    }

    fn status(&self, field: &str) -> Result<f64, String> {
        self.field("status", field)
    }

    fn field(&self, file: &str, field: &str) -> Result<f64, String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("reading {path}: {error}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let value = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        value.ok_or_else(|| format!("{path} has no {field}"))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// utime + stime of a `stat`, behind the name, which may hold spaces.
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().ok()).sum()
}

/// One request and its answer's body.
fn get(connection: &mut BufReader<TcpStream>, path: &str, headers: &str) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("GET {path}: {error}");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    connection.get_mut().write_all(request.as_bytes()).map_err(failed)?;
    let mut status = String::new();
    connection.read_line(&mut status).map_err(failed)?;
    let mut length = None;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).map_err(failed)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let length = length.filter(|length| *length <= MAX_PAGE_BYTES);
    let mut body = vec![0; length.ok_or_else(|| format!("GET {path}: no length: {status}"))?];
    connection.read_exact(&mut body).map_err(failed)?;
    if status.split(' ').nth(1) == Some("200") { Ok(body) } else { Err(format!("GET {path}: {status}")) }
}

/// A backend that takes whatever is posted to it, for as long as this process lives.
pub(crate) fn take_everything() -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            while take_one(&mut stream).is_ok() {}
        }
    });
    Ok(address)
}

fn take_one(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
    stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}
