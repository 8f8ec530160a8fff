//! The pusher against backends that take everything, refuse, stall, break and come back.

use super::receiver::{Does, Receiver};
use super::translation::{points, text_attributes};
use super::{machine, wishes};
use crate::simulation::Run;
use arc_swap::ArcSwapOption;
use jouleprint::clock;
use jouleprint::http_client::Secret;
use jouleprint::model::snapshot::{PushOutcome, PushState, Pushed, Snapshot};
use jouleprint::output::otlp::Push;
use jouleprint::output::otlp::wishes::{Temporality, Transport, Wishes};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// All that has arrived, and whether it is the last word.
type Acknowledged = (Vec<Pushed>, bool);

/// A pusher at work.
struct Pushing {
    run: Run,
    latest: Arc<ArcSwapOption<Snapshot>>,
    state: Arc<Mutex<PushState>>,
    kept: Arc<Mutex<Vec<Acknowledged>>>,
    stop: watch::Sender<Option<jouleprint::model::quantity::Nanos>>,
    task: JoinHandle<()>,
}

impl Pushing {
    fn start(wishes: &Wishes, kept: Vec<Pushed>) -> Pushing {
        Pushing::of(Run::new(2), wishes, kept)
    }

    fn of(mut run: Run, wishes: &Wishes, before: Vec<Pushed>) -> Pushing {
        let latest = Arc::new(ArcSwapOption::from_pointee(run.tick()));
        let mut push = Push::open(wishes, &machine(), before).unwrap();
        let (state, kept) = (push.state(), Arc::<Mutex<Vec<_>>>::default());
        let ours = Arc::clone(&kept);
        push.tell(Box::new(move |pushed, is_last| ours.lock().unwrap().push((pushed, is_last))));
        let (stop, stopped) = watch::channel(None);
        let task = tokio::spawn(push.run(Arc::clone(&latest), stopped));
        Pushing { run, latest, state, kept, stop, task }
    }

    fn tick(&mut self) {
        self.latest.store(Some(Arc::new(self.run.tick())));
    }

    fn count(&self, outcome: PushOutcome) -> u64 {
        self.state.lock().unwrap().pushes.get(&outcome).copied().unwrap_or(0)
    }

    async fn until(&self, outcome: PushOutcome, count: u64) {
        for _ in 0..1_000 {
            if self.count(outcome) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{outcome:?} {count} times in 10 s: {:?}", self.state.lock().unwrap());
    }
}

fn to(address: &str) -> Wishes {
    Wishes { endpoint: format!("{address}/v1/metrics"), ..wishes() }
}

fn grpc(address: &str) -> Wishes {
    Wishes { endpoint: address.to_owned(), transport: Transport::Grpc, ..wishes() }
}

#[test]
fn both_transports_carry_the_snapshot_with_headers_and_compression() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "Bearer abc\n").unwrap();
    runtime().block_on(async {
        for (is_grpc, is_compressed) in [(false, false), (false, true), (true, false), (true, true)] {
            let (receiver, address) = Receiver::start(Vec::new()).await;
            let wishes = Wishes {
                headers: vec![("X-Tenant".to_owned(), Secret::new("a b".to_owned()))],
                header_files: vec![("authorization".to_owned(), token.clone())],
                is_compressed,
                resource: vec![
                    ("k8s.node.name".to_owned(), "n7".to_owned()),
                    ("service.name".to_owned(), "jouleprint".to_owned()),
                ],
                ..if is_grpc { grpc(&address) } else { to(&address) }
            };
            let pushing = Pushing::start(&wishes, Vec::new());
            pushing.until(PushOutcome::Accepted, 2).await;
            let asked = &receiver.all()[0];
            let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
            assert_eq!(asked.path, if is_grpc { path } else { "/v1/metrics" });
            assert_eq!(asked.headers["x-tenant"], "a b");
            assert_eq!(asked.headers["authorization"], "Bearer abc");
            let kind = if is_grpc { "application/grpc" } else { "application/x-protobuf" };
            assert_eq!(asked.headers["content-type"], kind);
            assert!(points(&asked.message).len() > 30);
            let request = ExportMetricsServiceRequest::decode(&asked.message[..]).unwrap();
            let resource =
                text_attributes(&request.resource_metrics[0].resource.as_ref().unwrap().attributes);
            for (name, value) in [
                ("service.instance.id", "0123"),
                ("host.id", "0123"),
                ("host.name", "n1"),
                ("os.type", "linux"),
                ("k8s.node.name", "n7"),
                ("service.version", env!("CARGO_PKG_VERSION")),
            ] {
                assert_eq!(resource[name], value, "{resource:?}");
            }
            pushing.task.abort();
        }
    });
}

#[test]
fn what_a_backend_answers_is_counted_by_the_rules_of_the_protocol() {
    let partial = |rejected, message: &str| {
        let error_message = message.to_owned();
        let partial = ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message };
        ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
    };
    runtime().block_on(async {
        for (does, is_grpc, outcome, rejected) in [
            (Does::Http(200, &[], partial(3, "too old")), false, PushOutcome::Partial, 3),
            (Does::Http(200, &[], partial(0, "a warning")), false, PushOutcome::Accepted, 0),
            (Does::Http(200, &[], b"not protobuf".to_vec()), false, PushOutcome::Accepted, 0),
            (Does::Http(429, &[], Vec::new()), false, PushOutcome::Deferred, 0),
            (Does::Http(502, &[], Vec::new()), false, PushOutcome::Deferred, 0),
            (Does::Http(503, &[("retry-after", "1")], Vec::new()), false, PushOutcome::Deferred, 0),
            (Does::Http(504, &[], Vec::new()), false, PushOutcome::Deferred, 0),
            (Does::Http(400, &[], b"bad".to_vec()), false, PushOutcome::Refused, 0),
            (Does::Http(401, &[], Vec::new()), false, PushOutcome::Refused, 0),
            (Does::Http(500, &[], Vec::new()), false, PushOutcome::Refused, 0),
            (Does::Http(302, &[("location", "/x")], Vec::new()), false, PushOutcome::Refused, 0),
            (Does::Breaks, false, PushOutcome::Unreachable, 0),
            (Does::Waits(Duration::from_secs(60)), false, PushOutcome::Timeout, 0),
            (Does::Grpc(14, None), true, PushOutcome::Deferred, 0),
            (Does::Grpc(4, None), true, PushOutcome::Deferred, 0),
            (Does::Grpc(8, Some(1)), true, PushOutcome::Deferred, 0),
            (Does::Grpc(8, None), true, PushOutcome::Refused, 0),
            (Does::Grpc(3, None), true, PushOutcome::Refused, 0),
            (Does::Grpc(16, None), true, PushOutcome::Refused, 0),
            (Does::Http(503, &[], Vec::new()), true, PushOutcome::Deferred, 0),
            (Does::Waits(Duration::from_secs(60)), true, PushOutcome::Timeout, 0),
        ] {
            let said = format!("{does:?}");
            let (_receiver, address) = Receiver::start(vec![does]).await;
            let wishes = if is_grpc { grpc(&address) } else { to(&address) };
            let wishes = Wishes { timeout: Duration::from_millis(300), ..wishes };
            let pushing = Pushing::start(&wishes, Vec::new());
            pushing.until(outcome, 1).await;
            let state = pushing.state.lock().unwrap().clone();
            assert_eq!(state.rejected, rejected, "{said}");
            assert_eq!(state.pushes.values().sum::<u64>(), 1, "{said}: {state:?}");
            pushing.task.abort();
        }
    });
}

#[test]
fn after_a_failure_the_newest_snapshot_is_pushed_and_not_sooner_than_was_asked() {
    runtime().block_on(async {
        let script = vec![Does::Http(503, &[("retry-after", "1")], Vec::new()); 1];
        let (receiver, address) = Receiver::start(script).await;
        let mut pushing = Pushing::start(&to(&address), Vec::new());
        receiver.wait_for(1).await;
        let began = Instant::now();
        pushing.tick();
        pushing.tick();
        let newest = pushing.latest.load_full().unwrap().at.wall.get();
        receiver.wait_for(2).await;
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        assert!(points(&receiver.all()[1].message).iter().any(|point| point.time == newest));
        pushing.until(PushOutcome::Accepted, 1).await;
        pushing.task.abort();
    });
}

#[test]
fn a_backend_that_is_away_is_found_again() {
    runtime().block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let pushing = Pushing::start(&to(&format!("http://{address}")), Vec::new());
        pushing.until(PushOutcome::Unreachable, 1).await;
        assert_eq!(pushing.state.lock().unwrap().last_success, None);
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut sink = vec![0; 1 << 20];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut sink).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            }
        });
        pushing.until(PushOutcome::Accepted, 1).await;
        pushing.task.abort();
    });
}

#[test]
fn the_last_snapshot_is_pushed_at_the_stop_and_a_dead_backend_does_not_hold_it_up() {
    runtime().block_on(async {
        let (receiver, address) = Receiver::start(Vec::new()).await;
        let far = Wishes { interval: Duration::from_secs(600), ..to(&address) };
        let mut pushing = Pushing::start(&far, Vec::new());
        let told = clock::monotonic();
        pushing.stop.send(Some(told)).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut last = pushing.run.tick();
        last.at.monotonic = clock::monotonic();
        let newest = last.at.wall.get();
        pushing.latest.store(Some(Arc::new(last)));
        tokio::time::timeout(Duration::from_secs(2), pushing.task).await.expect("it ends").unwrap();
        let asked = receiver.all();
        assert!(points(&asked.last().unwrap().message).iter().any(|point| point.time == newest));

        let (_receiver, address) = Receiver::start(vec![Does::Waits(Duration::from_secs(60)); 9]).await;
        let short = Wishes { timeout: Duration::from_millis(300), ..to(&address) };
        let pushing = Pushing::start(&short, Vec::new());
        pushing.until(PushOutcome::Timeout, 1).await;
        pushing.stop.send(Some(clock::monotonic())).unwrap();
        tokio::time::timeout(Duration::from_secs(3), pushing.task).await.expect("it ends").unwrap();
    });
}

#[test]
fn differences_over_real_failures_and_a_restart_add_up() {
    runtime().block_on(async {
        let script =
            vec![Does::Http(503, &[("retry-after", "0")], Vec::new()), Does::Http(200, &[], Vec::new())];
        let (receiver, address) = Receiver::start(script).await;
        let wishes =
            Wishes { temporality: Temporality::Delta, interval: Duration::from_secs(600), ..to(&address) };
        let mut run = Run::new(2);
        let mut kept = Vec::new();
        let mut arrived = 0.0;
        for _ in 0..4 {
            let asked = receiver.all().len();
            let mut pushing = Pushing::of(run, &wishes, kept);
            let before = pushing.count(PushOutcome::Accepted);
            pushing.until(PushOutcome::Accepted, before + 1).await;
            for _ in 0..3 {
                pushing.tick();
            }
            pushing.stop.send(Some(jouleprint::model::quantity::Nanos::ZERO)).unwrap();
            pushing.task.await.unwrap();
            let acknowledged = pushing.kept.lock().unwrap().last().cloned().unwrap();
            assert!(acknowledged.1, "the last word is marked as such");
            kept = acknowledged.0;
            let refused = usize::from(asked == 0);
            for message in receiver.all().iter().skip(asked + refused) {
                let energy =
                    points(&message.message).into_iter().filter(|point| point.name == "hw.host.energy");
                arrived += energy.filter_map(|point| point.value).sum::<f64>();
            }
            let last = pushing.latest.load_full().unwrap();
            let total: f64 = last.totals.domains.iter().map(|domain| domain.energy.as_joules()).sum();
            assert!((arrived - total).abs() < 1e-6 * total.max(1.0), "{arrived} against {total}");
            run = pushing.run;
        }
    });
}
