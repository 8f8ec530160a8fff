//! The meter against BMCs of ours, in the shapes that makers give them, and with the faults they have.

use super::*;
use crate::source::redfish::session::Auth;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Status, head, body.
type Reply = (u16, Vec<(&'static str, String)>, String);

/// What a BMC has and does.
#[derive(Default)]
struct State {
    pages: BTreeMap<String, String>,
    // Instead of the page.
    faults: BTreeMap<String, Reply>,
    has_no_sessions: bool,
    // Tokens that were given and not taken back.
    tokens: Vec<String>,
    logins: u32,
    asked: Vec<String>,
    resets: bool,
}

#[derive(Clone)]
struct Bmc {
    state: Arc<Mutex<State>>,
    address: String,
}

impl Bmc {
    async fn start(pages: &[(&str, Json)]) -> Bmc {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let bmc = Bmc { state: Arc::default(), address };
        for (path, page) in pages {
            bmc.page(path, page);
        }
        let served = bmc.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if served.with(|state| state.resets) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{").await;
                    continue;
                }
                let bmc = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| bmc.answer(request));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        bmc
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("nobody panics"))
    }

    fn page(&self, path: &str, page: &Json) {
        self.with(|state| state.pages.insert(path.to_owned(), page.to_string()));
    }

    fn fault(&self, path: &str, status: u16, head: &[(&'static str, String)], body: &str) {
        let fault = (status, head.to_vec(), body.to_owned());
        self.with(|state| state.faults.insert(path.to_owned(), fault));
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let method = request.method().to_string();
        let head = |name: &str| request.headers().get(name)?.to_str().ok().map(str::to_owned);
        let (token, basic) = (head("x-auth-token"), head("authorization"));
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let (status, head, body) = self.with(|state| {
            state.asked.push(format!("{method} {path}"));
            if method == "POST" && path == SESSIONS {
                if state.has_no_sessions {
                    return (404, vec![], String::new());
                }
                let login: Json = serde_json::from_slice(&body).expect("JSON");
                if login != json!({"UserName": "root", "Password": "calvin"}) {
                    return (401, vec![], String::new());
                }
                state.logins += 1;
                let token = format!("token-{}", state.logins);
                state.tokens.push(token.clone());
                let place = format!("http://{}{SESSIONS}/{token}", self.address);
                return (201, vec![("X-Auth-Token", token), ("Location", place)], "{}".to_owned());
            }
            // "root:calvin", as RFC 7617 has it.
            let is_known = token.is_some_and(|token| state.tokens.contains(&token))
                || basic.as_deref() == Some("Basic cm9vdDpjYWx2aW4=");
            if let Some(fault) = state.faults.get(&path) {
                return fault.clone();
            }
            if !is_known && path != "/redfish/v1/" {
                return (401, vec![], String::new());
            }
            if method == "DELETE" {
                state.tokens.retain(|token| !path.ends_with(token.as_str()));
                return (204, vec![], String::new());
            }
            match state.pages.get(&path) {
                Some(page) => (200, vec![], page.clone()),
                None => (404, vec![], "<html>no such thing</html>".to_owned()),
            }
        });
        let mut response = Response::builder().status(status);
        for (name, value) in head {
            response = response.header(name, value);
        }
        Ok(response.body(Full::new(body.into())).expect("a response"))
    }

    fn meter(&self, password: &str, chassis: &[&str]) -> (Meter, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{password}\n")).expect("written");
        let service = Service {
            base: format!("http://{}", self.address),
            user: Some("root".to_owned()),
            password_file: Some(file.path().to_owned()),
            ca_file: None,
            auth: Auth::Session,
        };
        let chassis = chassis.iter().map(|name| (*name).to_owned()).collect();
        let wish = Wish { service, chassis, period: Nanos::from_seconds(10) };
        (Meter::open(wish).expect("a meter"), file)
    }
}

fn check<F: Future>(test: F) {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

fn at(second: u64) -> Nanos {
    Nanos::from_seconds(second)
}

fn to(path: &str) -> Json {
    json!({"@odata.id": path})
}

fn collection(paths: &[&str]) -> Json {
    json!({"Members@odata.count": paths.len(), "Members": paths.iter().map(|path| to(path)).collect::<Vec<_>>()})
}

/// Root and one chassis with the old Power resource, which is what most BMCs have.
fn plain(watts: &Json) -> Vec<(&'static str, Json)> {
    vec![
        ("/redfish/v1/", json!({"RedfishVersion": "1.6.0", "Chassis": to("/redfish/v1/Chassis")})),
        ("/redfish/v1/Chassis", collection(&["/redfish/v1/Chassis/1"])),
        ("/redfish/v1/Chassis/1", json!({"Id": "1", "Power": to("/redfish/v1/Chassis/1/Power")})),
        ("/redfish/v1/Chassis/1/Power", json!({"PowerControl": [{"PowerConsumedWatts": watts}]})),
    ]
}

/// Dell iDRAC 9: the newer resources are there and show nothing, an enclosure is beside the system.
fn idrac() -> Vec<(&'static str, Json)> {
    let system = "/redfish/v1/Chassis/System.Embedded.1";
    let supply = "/redfish/v1/Chassis/System.Embedded.1/PowerSubsystem/PowerSupplies/PSU.Slot.1";
    vec![
        ("/redfish/v1/", json!({"Chassis": to("/redfish/v1/Chassis"), "Vendor": "Dell"})),
        ("/redfish/v1/Chassis", collection(&[system, "/redfish/v1/Chassis/Enclosure.Internal.0-1"])),
        (
            "/redfish/v1/Chassis/System.Embedded.1",
            json!({"Id": "System.Embedded.1", "ChassisType": "RackMount",
                "EnvironmentMetrics": to("/redfish/v1/Chassis/System.Embedded.1/EnvironmentMetrics"),
                "PowerSubsystem": to("/redfish/v1/Chassis/System.Embedded.1/PowerSubsystem"),
                "Power": to("/redfish/v1/Chassis/System.Embedded.1/Power")}),
        ),
        (
            "/redfish/v1/Chassis/System.Embedded.1/EnvironmentMetrics",
            json!({"PowerWatts": {"Reading": null}, "EnergykWh": {"Reading": null}}),
        ),
        (
            "/redfish/v1/Chassis/System.Embedded.1/PowerSubsystem",
            json!({"CapacityWatts": 1400, "PowerSupplies": to("/redfish/v1/PSUs")}),
        ),
        ("/redfish/v1/PSUs", collection(&[supply])),
        (supply, json!({"Status": {"State": "Enabled"}, "Metrics": to("/redfish/v1/PSU1/Metrics")})),
        ("/redfish/v1/PSU1/Metrics", json!({"InputVoltage": {"Reading": 230}})),
        (
            "/redfish/v1/Chassis/System.Embedded.1/Power",
            json!({"PowerControl": [{"Name": "System Power Control", "PowerConsumedWatts": 312,
                "PowerMetrics": {"AverageConsumedWatts": 305, "IntervalInMin": 1}}]}),
        ),
        ("/redfish/v1/Chassis/Enclosure.Internal.0-1", json!({"Id": "Enclosure.Internal.0-1"})),
    ]
}

/// HPE iLO 5: a slash at the end of every path.
fn ilo() -> Vec<(&'static str, Json)> {
    vec![
        ("/redfish/v1/", json!({"Chassis": to("/redfish/v1/Chassis/")})),
        ("/redfish/v1/Chassis/", collection(&["/redfish/v1/Chassis/1/"])),
        ("/redfish/v1/Chassis/1/", json!({"Id": "1", "Power": to("/redfish/v1/Chassis/1/Power/")})),
        (
            "/redfish/v1/Chassis/1/Power/",
            json!({"PowerControl": [{"PowerCapacityWatts": 1600, "PowerConsumedWatts": 189,
                "PowerMetrics": {"AverageConsumedWatts": 188, "MaxConsumedWatts": 240}}]}),
        ),
    ]
}

/// Supermicro: numbers as text, and parts after the whole.
fn supermicro() -> Vec<(&'static str, Json)> {
    let mut pages = plain(&json!("344"));
    pages[3].1 = json!({"PowerControl": [{"Name": "System Power Control", "PowerConsumedWatts": "344"},
        {"Name": "HBM", "PowerConsumedWatts": "12"}]});
    pages
}

/// Lenovo XCC 2: everything, the newest of it the best; the parts would be added by who adds them all.
fn xcc() -> Vec<(&'static str, Json)> {
    let mut pages = plain(&json!(401));
    pages[2].1 = json!({"Id": "1", "EnvironmentMetrics": to("/redfish/v1/Chassis/1/EnvironmentMetrics"),
        "Power": to("/redfish/v1/Chassis/1/Power")});
    pages.push((
        "/redfish/v1/Chassis/1/EnvironmentMetrics",
        json!({"PowerWatts": {"Reading": 402.5}, "EnergykWh": {"Reading": 1234.567}}),
    ));
    pages
}

/// OpenBMC: a board without power, and a chassis with two supplies and an empty bay.
fn openbmc() -> Vec<(&'static str, Json)> {
    let psu = |number: u8, state: &str| {
        json!({"Id": format!("psu{number}"), "Status": {"State": state},
            "Metrics": to(&format!("/redfish/v1/psu{number}/Metrics"))})
    };
    vec![
        ("/redfish/v1/", json!({"Chassis": to("/redfish/v1/Chassis")})),
        ("/redfish/v1/Chassis", collection(&["/redfish/v1/Chassis/board", "/redfish/v1/Chassis/chassis"])),
        ("/redfish/v1/Chassis/board", json!({"Id": "board", "Power": to("/redfish/v1/Chassis/board/Power")})),
        ("/redfish/v1/Chassis/board/Power", json!({"PowerControl": []})),
        (
            "/redfish/v1/Chassis/chassis",
            json!({"Id": "chassis", "PowerSubsystem": to("/redfish/v1/Subsystem")}),
        ),
        ("/redfish/v1/Subsystem", json!({"PowerSupplies": to("/redfish/v1/Supplies")})),
        ("/redfish/v1/Supplies", collection(&["/redfish/v1/psu0", "/redfish/v1/psu1", "/redfish/v1/psu2"])),
        ("/redfish/v1/psu0", psu(0, "Enabled")),
        ("/redfish/v1/psu1", psu(1, "Absent")),
        ("/redfish/v1/psu2", psu(2, "Enabled")),
        ("/redfish/v1/psu0/Metrics", json!({"InputPowerWatts": {"Reading": 120.25}})),
        ("/redfish/v1/psu2/Metrics", json!({"InputPowerWatts": {"Reading": 130.5}})),
    ]
}

#[test]
fn every_maker_is_read_in_its_own_shape() {
    check(async {
        for (maker, pages, watts, place) in [
            ("iDRAC", idrac(), 312.0, "System.Embedded.1 (PowerControl)"),
            ("iLO", ilo(), 189.0, "1 (PowerControl)"),
            ("Supermicro", supermicro(), 344.0, "1 (PowerControl)"),
            ("XCC", xcc(), 402.5, "1 (EnvironmentMetrics)"),
            ("OpenBMC", openbmc(), 250.75, "chassis (PowerSubsystem)"),
        ] {
            let bmc = Bmc::start(&pages).await;
            let (mut meter, _password) = bmc.meter("calvin", &[]);
            assert_eq!(meter.read(at(0)).await.expect(maker).as_watts(), watts, "{maker}");
            assert_eq!(meter.place(), place, "{maker}");
            // What was found is remembered: the next reading asks for nothing else.
            bmc.with(|state| state.asked.clear());
            assert_eq!(meter.read(at(10)).await.expect(maker).as_watts(), watts, "{maker}");
            let asked = bmc.with(|state| state.asked.len());
            assert_eq!(asked, if maker == "OpenBMC" { 2 } else { 1 }, "{maker}");
            meter.close().await;
            let (logins, open) = bmc.with(|state| (state.logins, state.tokens.len()));
            assert_eq!((logins, open), (1, 0), "{maker}: one session, and it is ended");
        }
    });
}

#[test]
fn a_session_that_ended_is_begun_anew_and_none_is_left_behind() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        for round in 0..5 {
            assert!(meter.read(at(round * 10)).await.is_ok());
            // The BMC starts anew and knows nobody.
            bmc.with(|state| state.tokens.clear());
        }
        assert!(meter.read(at(50)).await.is_ok());
        assert_eq!(bmc.with(|state| (state.logins, state.tokens.len())), (6, 1));
        meter.close().await;
        assert_eq!(bmc.with(|state| state.tokens.len()), 0);
    });
}

#[test]
fn without_sessions_name_and_password_go_along() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        bmc.with(|state| state.has_no_sessions = true);
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        assert!(meter.read(at(0)).await.is_ok());
        assert!(meter.read(at(10)).await.is_ok());
        let posts = bmc.with(|state| state.asked.iter().filter(|asked| asked.starts_with("POST")).count());
        assert_eq!(posts, 1, "it is asked for a session once");
    });
}

#[test]
fn a_wrong_password_is_tried_rarely() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        let (mut meter, password) = bmc.meter("hobbes", &[]);
        let mut tried = 0;
        for round in 0..60 {
            bmc.with(|state| state.asked.clear());
            let trouble = meter.read(at(round * 10)).await.expect_err("nobody we know");
            assert_eq!(trouble.fault(), Fault::PermissionDenied, "{trouble}");
            assert!(!format!("{trouble:?}").contains("hobbes"), "{trouble:?}");
            tried += bmc.with(|state| state.asked.len());
        }
        // At 0, 10, 20, 40, 80, 160, 320 s and then each five minutes.
        assert!((6..=9).contains(&tried), "{tried} tries in ten minutes");
        // The file is put right, and nobody starts the program anew.
        std::fs::write(password.path(), "calvin").expect("written");
        assert!(meter.read(at(3_600)).await.is_ok());
    });
}

#[test]
fn what_goes_wrong_is_a_fault_with_words() {
    check(async {
        let power = "/redfish/v1/Chassis/1/Power";
        for (status, head, body, fault, words) in [
            (200, vec![], "<html>busy</html>", Fault::Malformed, "shows no power"),
            (200, vec![], "{\"PowerControl\": [{\"PowerCons", Fault::Malformed, "shows no power"),
            (
                200,
                vec![],
                "{\"PowerControl\": [{\"PowerConsumedWatts\": null}]}",
                Fault::Malformed,
                "shows no power",
            ),
            (
                200,
                vec![],
                "{\"PowerControl\": [{\"PowerConsumedWatts\": 0}]}",
                Fault::OutOfRange,
                "out of range",
            ),
            (
                200,
                vec![],
                "{\"PowerControl\": [{\"PowerConsumedWatts\": 245000}]}",
                Fault::OutOfRange,
                "out of range",
            ),
            (500, vec![], "", Fault::Io, "status 500"),
            (403, vec![], "", Fault::PermissionDenied, "user"),
            (404, vec![], "", Fault::Missing, "not there"),
            (503, vec![("Retry-After", "120".to_owned())], "", Fault::Limit, "busy"),
            (
                302,
                vec![("Location", "https://else.where/redfish/v1".to_owned())],
                "",
                Fault::Unreachable,
                "else.where",
            ),
        ] {
            let bmc = Bmc::start(&plain(&json!(200))).await;
            let (mut meter, _password) = bmc.meter("calvin", &[]);
            assert!(meter.read(at(0)).await.is_ok());
            bmc.fault(power, status, &head, body);
            let trouble = meter.read(at(10)).await.expect_err(words);
            assert_eq!(trouble.fault(), fault, "{trouble}");
            assert!(trouble.to_string().contains(words), "{trouble}");
            // And it is over when it is over.
            bmc.with(|state| state.faults.clear());
            assert!(meter.read(at(140)).await.is_ok(), "{words}");
        }
    });
}

#[test]
fn rubbish_after_the_end_and_a_slash_too_few_are_borne() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        let power = "/redfish/v1/Chassis/1/Power";
        let body = "{\"PowerControl\": [{\"PowerConsumedWatts\": 210}]}\0\0\0</html>";
        bmc.with(|state| state.pages.insert(format!("{power}/"), body.to_owned()));
        bmc.fault(power, 308, &[("Location", format!("http://{}{power}/", bmc.address))], "");
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        assert_eq!(meter.read(at(0)).await.expect("a reading").as_watts(), 210.0);
    });
}

#[test]
fn connections_that_break_and_bodies_without_end_end() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        bmc.with(|state| state.resets = true);
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        assert_eq!(meter.read(at(0)).await.expect_err("broken off").fault(), Fault::Io);
        bmc.with(|state| state.resets = false);
        bmc.fault("/redfish/v1/Chassis", 200, &[], &"x".repeat(2 << 20));
        assert_eq!(meter.read(at(1)).await.expect_err("2 MB").fault(), Fault::Malformed);
        bmc.with(|state| state.faults.clear());
        assert!(meter.read(at(60)).await.is_ok());
    });
}

#[test]
fn a_busy_bmc_is_left_alone_for_as_long_as_it_says() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        bmc.fault("/redfish/v1/", 503, &[("Retry-After", "120".to_owned())], "");
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        assert_eq!(meter.read(at(0)).await.expect_err("busy").fault(), Fault::Limit);
        bmc.with(|state| (state.faults.clear(), state.asked.clear()));
        assert_eq!(meter.read(at(119)).await.expect_err("too early").fault(), Fault::Limit);
        assert_eq!(bmc.with(|state| state.asked.len()), 0, "it is not asked");
        assert!(meter.read(at(120)).await.is_ok());
    });
}

#[test]
fn new_firmware_that_shows_power_elsewhere_is_looked_over_again() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        assert!(meter.read(at(0)).await.is_ok());
        bmc.page("/redfish/v1/Chassis/1", &json!({"Id": "1", "EnvironmentMetrics": to("/redfish/v1/Env")}));
        bmc.page("/redfish/v1/Env", &json!({"PowerWatts": {"Reading": 205.5}}));
        bmc.with(|state| state.pages.remove("/redfish/v1/Chassis/1/Power"));
        assert_eq!(meter.read(at(10)).await.expect_err("gone").fault(), Fault::Missing);
        assert_eq!(meter.read(at(20)).await.expect("found again").as_watts(), 205.5);
        // A resource that stays and shows nothing any more is given up after three readings.
        bmc.page("/redfish/v1/Env", &json!({"PowerWatts": {"Reading": null}}));
        bmc.page("/redfish/v1/Chassis/1", &json!({"Id": "1", "Power": to("/redfish/v1/P")}));
        bmc.page("/redfish/v1/P", &json!({"PowerControl": [{"PowerConsumedWatts": 207}]}));
        for second in [30, 40, 60] {
            assert_eq!(meter.read(at(second)).await.expect_err("null").fault(), Fault::Malformed);
        }
        assert_eq!(meter.read(at(100)).await.expect("found again").as_watts(), 207.0);
    });
}

#[test]
fn of_several_chassis_the_user_says_which_are_the_node() {
    check(async {
        let mut pages = plain(&json!(200));
        pages[1].1 = collection(&["/redfish/v1/Chassis/1", "/redfish/v1/Chassis/2", "/redfish/v1/Chassis/3"]);
        for (chassis, path, watts) in [("2", "/redfish/v1/Chassis/2", 90), ("3", "/redfish/v1/Chassis/3", 0)]
        {
            pages.push((path, json!({"Id": chassis, "Power": to(&format!("{path}/Power"))})));
            let power = json!({"PowerControl": [{"PowerConsumedWatts": watts}]});
            pages.push((
                if chassis == "2" { "/redfish/v1/Chassis/2/Power" } else { "/redfish/v1/Chassis/3/Power" },
                power,
            ));
        }
        let bmc = Bmc::start(&pages).await;
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        let said = meter.read(at(0)).await.expect_err("which?");
        assert!(said.to_string().contains("several chassis show power: 1, 2 (name"), "{said}");
        for (wanted, expected) in [(&["1"][..], 200.0), (&["2"], 90.0), (&["1", "2"], 290.0)] {
            let (mut meter, _password) = bmc.meter("calvin", wanted);
            assert_eq!(meter.read(at(0)).await.expect("named").as_watts(), expected, "{wanted:?}");
        }
        let (mut meter, _password) = bmc.meter("calvin", &["blade7"]);
        let said = meter.read(at(0)).await.expect_err("no such chassis");
        assert!(
            said.to_string().contains("no chassis blade7") && said.to_string().contains("1, 2, 3"),
            "{said}"
        );
        let (mut meter, _password) = Bmc::start(&plain(&json!(null))).await.meter("calvin", &[]);
        let said = meter.read(at(0)).await.expect_err("nothing");
        assert!(said.to_string().contains("no chassis shows power; there are: 1"), "{said}");
    });
}

#[test]
fn a_bmc_that_hangs_on_an_old_figure_is_found_out() {
    check(async {
        let bmc = Bmc::start(&plain(&json!(200))).await;
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        for second in (0..900).step_by(10) {
            assert!(meter.read(at(second)).await.is_ok(), "at {second} s: it may be idle");
        }
        assert_eq!(meter.read(at(900)).await.expect_err("for too long").fault(), Fault::Stale);
        bmc.page("/redfish/v1/Chassis/1/Power", &json!({"PowerControl": [{"PowerConsumedWatts": 201}]}));
        assert!(meter.read(at(910)).await.is_ok(), "asked as before, and alive");
        // With a time beside it, a minute tells.
        let env = |watts, second| json!({"PowerWatts": {"Reading": watts, "ReadingTime": format!("12:00:{second:02}")}});
        bmc.page("/redfish/v1/Chassis/1", &json!({"Id": "1", "EnvironmentMetrics": to("/redfish/v1/Env")}));
        bmc.page("/redfish/v1/Env", &env(200, 1));
        let (mut meter, _password) = bmc.meter("calvin", &[]);
        assert!(meter.read(at(0)).await.is_ok());
        assert!(meter.read(at(59)).await.is_ok());
        assert_eq!(meter.read(at(60)).await.expect_err("its clock stands").fault(), Fault::Stale);
        bmc.page("/redfish/v1/Env", &env(200, 2));
        assert!(meter.read(at(70)).await.is_ok());
    });
}

#[test]
fn a_file_of_certificates_that_is_none_is_said_at_the_start() {
    let service = Service {
        base: "https://bmc17".to_owned(),
        user: None,
        password_file: None,
        ca_file: Some("/nowhere".into()),
        auth: Auth::Session,
    };
    let wish = Wish { service, chassis: Vec::new(), period: at(10) };
    let (found, findings) = discover(Some(&wish));
    assert!(found.is_none());
    assert_eq!(findings[0].fault, Some(Fault::Untrusted));
    assert!(findings[0].detail.contains("/nowhere"), "{findings:?}");
    assert!(discover(None).1.is_empty());
}
