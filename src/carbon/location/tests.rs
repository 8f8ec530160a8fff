//! Looking for the place: against metadata services of ours, in the three shapes and with their faults.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const AZURE_CHASSIS: &str = "7783-7084-3265-9085-8269-3286-77";

/// What is answered to a request's head; `None` is never.
type Script = fn(&str) -> Option<String>;

/// A metadata service, and how many connections it had.
struct Service {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Service {
    async fn start(script: Script) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut head = vec![0; 4_096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                match script(&String::from_utf8_lossy(&head[..read]).to_lowercase()) {
                    Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                    None => silent.push(stream),
                }
            }
        });
        Service { url, connections }
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A wish of a machine of that cloud, which asks this service.
    fn wish(&self, sysfs: &tempfile::TempDir) -> Wish {
        let url = || self.url.clone();
        let (each, pause) = (Duration::from_millis(200), Duration::from_millis(1));
        let endpoints = Endpoints { aws: url(), gcp: url(), azure: url(), each, pause };
        Wish { sysfs: sysfs.path().to_owned(), endpoints, ..Wish::default() }
    }
}

fn ok(head: &str, body: &str) -> Option<String> {
    Some(format!(
        "HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    ))
}

fn status(code: u16) -> Option<String> {
    Some(format!("HTTP/1.1 {code} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
}

/// All three clouds at once, each with its own conditions.
fn every_cloud(head: &str) -> Option<String> {
    let has = |part: &str| head.contains(part);
    match head.lines().next().unwrap_or_default() {
        "put /latest/api/token http/1.1" if has("token-ttl-seconds: 60") => ok("", "AQAAA_w-=="),
        "get /latest/meta-data/placement/region http/1.1" if has("x-aws-ec2-metadata-token: aqaaa_w-==") => {
            ok("", "eu-west-3")
        }
        "get /computemetadata/v1/instance/zone http/1.1" if has("metadata-flavor: google") => {
            ok("Metadata-Flavor: Google\r\n", "projects/4711/zones/europe-west9-a")
        }
        "get /metadata/instance/compute/location?api-version=2021-02-01&format=text http/1.1"
            if has("metadata: true") =>
        {
            ok("", "WestEurope")
        }
        _ => status(400),
    }
}

fn machine_of(cloud: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dmi = folder.path().join("class/dmi/id");
    std::fs::create_dir_all(&dmi).expect("made");
    let (vendor, product, chassis) = match cloud {
        "aws" => ("Amazon EC2", "m5.large", "Amazon EC2"),
        "gcp" => ("Google", "Google Compute Engine", ""),
        "azure" => ("Microsoft Corporation", "Virtual Machine", AZURE_CHASSIS),
        "hetzner" => ("Hetzner", "vServer", ""),
        _ => ("Dell Inc.", "PowerEdge", ""),
    };
    for (name, text) in [("sys_vendor", vendor), ("product_name", product), ("chassis_asset_tag", chassis)] {
        std::fs::write(dmi.join(name), format!("{text}\n")).expect("written");
    }
    folder
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

fn told(found: &Found) -> (&str, &str, &str, &str) {
    (&found.place.zone, &found.place.source, &found.place.cloud, &found.place.region)
}

#[test]
fn each_cloud_says_its_region_in_its_own_way() {
    run(async {
        let service = Service::start(every_cloud).await;
        for (cloud, expected, pue, detail) in [
            ("aws", ("FR", "aws", "aws", "eu-west-3"), 1_150_000, "aws eu-west-3 by IMDSv2"),
            (
                "gcp",
                ("FR", "gcp", "gcp", "europe-west9"),
                1_090_000,
                "gcp europe-west9 by its metadata service",
            ),
            ("azure", ("NL", "azure", "azure", "westeurope"), 1_122_000, "azure westeurope by IMDS"),
        ] {
            let machine = machine_of(cloud);
            let found = locate(&service.wish(&machine)).await;
            assert_eq!(told(&found), expected);
            assert_eq!(found.pue.map(Pue::as_ppm), Some(pue), "{cloud}");
            let [source] = &found.sources[..] else { panic!("one source: {:?}", found.sources) };
            assert_eq!((&*source.source, &*source.detail, source.fault), ("location", detail, None));
            assert!(source.last_success.is_some() && !found.may_change());
            let found = locate(&Wish { pue: false, ..service.wish(&machine) }).await;
            assert_eq!(found.pue, None);
        }
    });
}

#[test]
fn what_hides_the_metadata_is_named_and_the_world_is_used() {
    let silent_token: Script = |head| if head.starts_with("put") { None } else { every_cloud(head) };
    let html: Script = |_| ok("Content-Type: text/html\r\n", "<html>Please sign in</html>");
    let no_flavour: Script = |_| ok("", "projects/1/zones/europe-west9-a");
    let huge: Script = |_| Some("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\nx".to_owned());
    let redirect: Script =
        |_| Some("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\nContent-Length: 0\r\n\r\n".to_owned());
    let empty: Script = |_| ok("", "");
    let numbers: Script = |_| ok("", "12345");
    run(async {
        for (cloud, script, fault, part) in [
            ("aws", silent_token, Fault::Timeout, "the hop limit must be 2"),
            ("aws", (|_| status(403)) as Script, Fault::PermissionDenied, "turned off"),
            ("aws", html, Fault::Malformed, "something else answers"),
            ("aws", huge, Fault::Malformed, "larger than 4096 bytes"),
            ("gcp", no_flavour, Fault::Malformed, "none of its own"),
            ("gcp", |_| None, Fault::Timeout, "no answer within 0.2 s"),
            ("azure", html, Fault::Malformed, "none of its own"),
            ("azure", redirect, Fault::Malformed, "redirects are not followed"),
            ("azure", empty, Fault::Malformed, "none of its own"),
            ("azure", numbers, Fault::Malformed, "none of its own"),
            ("azure", |_| status(500), Fault::Io, "HTTP 500"),
            ("azure", |_| status(429), Fault::Limit, "asked too often"),
            ("azure", |_| status(404), Fault::Missing, "HTTP 404"),
            ("azure", |_| Some("SSH-2.0\r\n".to_owned()), Fault::Io, "asking http://"),
        ] {
            let service = Service::start(script).await;
            let found = locate(&service.wish(&machine_of(cloud))).await;
            assert_eq!(told(&found), ("WORLD", "none", cloud, ""), "{part}");
            let [source] = &found.sources[..] else { panic!("one source: {:?}", found.sources) };
            assert_eq!(source.fault, Some(fault), "{cloud}: {}", source.detail);
            assert!(
                source.detail.contains(part) && source.detail.contains("zone"),
                "{cloud}: {}",
                source.detail
            );
            assert!(found.may_change() && !source.detail.contains('\n'));
        }
    });
}

#[test]
fn what_may_pass_is_tried_again_a_few_times() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    run(async {
        let service = Service::start(|head| match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => None,
            1 => status(503),
            _ => every_cloud(head),
        })
        .await;
        let found = locate(&service.wish(&machine_of("azure"))).await;
        assert_eq!((told(&found).0, service.count()), ("NL", 3));
        let service = Service::start(|_| status(500)).await;
        locate(&service.wish(&machine_of("azure"))).await;
        assert_eq!(service.count(), 4, "tries are bounded");
        let service = Service::start(|_| status(403)).await;
        locate(&service.wish(&machine_of("azure"))).await;
        assert_eq!(service.count(), 1, "what is turned off stays so");
    });
}

#[test]
fn nobody_is_asked_without_a_reason() {
    run(async {
        let service = Service::start(every_cloud).await;
        for cloud in ["none", "hetzner"] {
            let found = locate(&service.wish(&machine_of(cloud))).await;
            assert_eq!((told(&found).0, told(&found).1), ("WORLD", "none"));
        }
        for cloud in ["aws", "gcp", "azure"] {
            let machine = machine_of(cloud);
            let found = locate(&Wish { metadata: false, ..service.wish(&machine) }).await;
            assert_eq!(told(&found), ("WORLD", "none", cloud, ""));
            assert!(found.sources.is_empty() && !found.may_change());
        }
        assert_eq!(service.count(), 0, "not one connection");
        assert_eq!(told(&configured("SE")), ("SE", "config", "", ""));
    });
}

#[test]
fn labels_stand_in_for_metadata_and_say_so() {
    run(async {
        let service = Service::start(|_| status(403)).await;
        let labels = |region: &str| Labels { region: Some(region.to_owned()), zone: None };
        let (amazon, dell) = (machine_of("aws"), machine_of("none"));
        let wish = |cloud: &str, region: &str| {
            let machine = if cloud == "aws" { &amazon } else { &dell };
            Wish { labels: labels(region), ..service.wish(machine) }
        };
        let found = locate(&wish("aws", "eu-north-1")).await;
        assert_eq!(told(&found), ("SE", "node_label", "aws", "eu-north-1"));
        let detail = &found.sources[0].detail;
        assert!(detail.starts_with("aws eu-north-1 by the node's label; asking the metadata"), "{detail}");
        assert_eq!((found.sources[0].fault, found.pue.map(Pue::as_ppm)), (None, Some(1_120_000)));
        let found = locate(&wish("none", "fsn1")).await;
        assert_eq!((told(&found), found.pue), (("DE", "node_label", "hetzner", "fsn1"), None));
        let found = locate(&wish("none", "us-east-1")).await;
        assert_eq!(told(&found), ("WORLD", "none", "", ""));
        let detail = &found.sources[0].detail;
        assert!(
            detail.contains("alibaba_cloud and aws have") && detail.contains("grid.location.provider"),
            "{detail}"
        );
        let hinted = Wish { cloud: Some("alibaba_cloud".to_owned()), ..wish("none", "us-east-1") };
        assert_eq!(told(&locate(&hinted).await), ("US-SRVC", "node_label", "alibaba_cloud", "us-east-1"));
        let found = locate(&wish("none", "rack-7")).await;
        assert_eq!((told(&found), found.sources.len()), (("WORLD", "none", "", ""), 0));
        let file =
            Wish { labels_file: Some("/nowhere".into()), labels: Labels::default(), ..wish("none", "") };
        let found = locate(&file).await;
        assert!(found.sources[0].detail.contains("downwardAPI"), "{:?}", found.sources);
    });
}

#[test]
fn a_region_that_no_table_knows_is_named_and_in_no_zone() {
    run(async {
        let service = Service::start(|head| match head.starts_with("put") {
            true => every_cloud(head),
            false => ok("", "mars-north-1"),
        })
        .await;
        let found = locate(&service.wish(&machine_of("aws"))).await;
        assert_eq!((told(&found), found.pue), (("WORLD", "aws", "aws", "mars-north-1"), None));
        assert_eq!(found.sources[0].fault, Some(Fault::Unsupported));
        assert!(found.is_nowhere() && !found.may_change(), "and nobody would say something else later");
    });
}

#[test]
fn our_address_is_asked_about_only_where_the_user_says_whom() {
    run(async {
        let green: Script = |_| {
            let body =
                "{\"country_name\":\"Taiwan\",\"country_code_iso_2\":\"TW\",\"checked_ip\":\"192.0.2.1\"}";
            ok("Content-Type: application/json\r\n", body)
        };
        let unknown: Script = |_| ok("", "{\"country_name\":\"World\",\"country_code_iso_2\":null}");
        let html: Script = |_| ok("", "<html>");
        let nonsense: Script = |_| ok("", "{\"country_code_iso_2\":\"ZZ\"}");
        for (script, zone, source, part) in [
            (green, "TW", "address", "TW by the address"),
            (unknown, "WORLD", "none", "does not know this address"),
            (html, "WORLD", "none", "not the Green Web Foundation's"),
            (nonsense, "WORLD", "none", "names no country"),
            (|_| status(500), "WORLD", "none", "HTTP 500"),
        ] {
            let service = Service::start(script).await;
            let address = Some(format!("{}/api/v3/ip-to-co2intensity/?key=secret", service.url));
            let found = locate(&Wish { address, ..service.wish(&machine_of("none")) }).await;
            assert_eq!((told(&found).0, told(&found).1), (zone, source));
            let detail = &found.sources[0].detail;
            assert!(detail.contains(part) && !detail.contains("secret"), "{detail}");
            let before = service.count();
            locate(&service.wish(&machine_of("none"))).await;
            assert_eq!(service.count(), before, "off by default");
        }
    });
}
