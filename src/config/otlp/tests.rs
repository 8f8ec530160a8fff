//! The variables, the file and the flag, and which wins.

use super::*;

/// What comes of a file's section, an environment and a flag.
fn made(file: &str, environment: &[(&str, &str)], flag: Option<&str>) -> Result<Option<Wishes>, String> {
    let section = match file {
        "" => Section::default(),
        text => serde_saphyr::from_str(text).map_err(|error| error.to_string())?,
    };
    let look = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    wishes(section, &look, flag).map_err(|error| error.to_string())
}

fn on(environment: &[(&str, &str)]) -> Wishes {
    let environment = [environment, &[("OTEL_METRICS_EXPORTER", "otlp")]].concat();
    made("", &environment, None).expect("valid").expect("on")
}

#[test]
fn it_is_off_until_somebody_asks_for_it() {
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    for (file, environment, flag, is_on) in [
        ("", &[][..], None, false),
        ("endpoint: ''", &[], None, false),
        ("endpoint: http://c", &[], None, true),
        ("", &[], Some("http://c"), true),
        ("", &[], Some(""), false),
        ("", &[general], None, true),
        ("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], None, false),
        ("", &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c")], None, false),
        ("", &[("OTEL_METRICS_EXPORTER", "otlp")], None, true),
        ("", &[("OTEL_METRICS_EXPORTER", "prometheus,otlp")], None, true),
        ("", &[("OTEL_METRICS_EXPORTER", "none"), general], None, false),
        ("endpoint: http://c", &[("OTEL_METRICS_EXPORTER", "prometheus")], None, false),
        ("", &[("OTEL_METRICS_EXPORTER", "none")], Some("http://c"), true),
        ("", &[("OTEL_SDK_DISABLED", "true"), general], Some("http://c"), false),
        ("", &[("OTEL_SDK_DISABLED", "TRUE"), general], None, false),
        ("", &[("OTEL_SDK_DISABLED", "no"), general], None, true),
    ] {
        let made = made(file, environment, flag).expect("valid");
        assert_eq!(made.is_some(), is_on, "{file:?} {environment:?} {flag:?}");
    }
}

#[test]
fn the_path_is_added_to_a_base_and_to_nothing_else() {
    const GENERAL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const OWN: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
    for (name, given, expected) in [
        ("", "", "http://localhost:4318/v1/metrics"),
        (GENERAL, "http://c:4318", "http://c:4318/v1/metrics"),
        (GENERAL, "http://c:4318/", "http://c:4318/v1/metrics"),
        (GENERAL, "https://c/otlp", "https://c/otlp/v1/metrics"),
        (GENERAL, "https://c/otlp/", "https://c/otlp/v1/metrics"),
        (OWN, "http://c:4318", "http://c:4318/"),
        (OWN, "http://c/opentelemetry/v1/metrics", "http://c/opentelemetry/v1/metrics"),
        (OWN, "https://c/x?tenant=1", "https://c/x?tenant=1"),
    ] {
        assert_eq!(on(&[(name, given)]).endpoint, expected, "{name}={given}");
    }
    for (given, expected) in
        [("http://c:4318", "http://c:4318/v1/metrics"), ("http://c/api/otlp", "http://c/api/otlp")]
    {
        for made in [made("", &[], Some(given)), made(&format!("endpoint: {given}"), &[], None)] {
            assert_eq!(made.expect("valid").expect("on").endpoint, expected);
        }
    }
    let grpc = |given: &str, insecure: &str| {
        on(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            (GENERAL, given),
            ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
        ])
    };
    for (given, insecure, expected) in [
        ("", "", "http://localhost:4317"),
        ("http://c:4317", "", "http://c:4317"),
        ("https://c:4317/", "true", "https://c:4317"),
        ("c:4317", "", "https://c:4317"),
        ("c:4317", "true", "http://c:4317"),
        ("c:4317", "False", "https://c:4317"),
    ] {
        assert_eq!(grpc(given, insecure).endpoint, expected, "{given} {insecure}");
    }
}

#[test]
fn what_stands_closer_wins() {
    let file = "{endpoint: 'http://file', protocol: grpc, compression: none, temporality: delta, interval: 5s, timeout: 2s,
        headers: {a: '1', b: '2'}, header_files: {c: /c}, tls: {ca_file: /ca}}";
    let of_file = made(file, &[], None).expect("valid").expect("on");
    assert_eq!(of_file.transport, Transport::Grpc);
    assert_eq!(of_file.temporality, Temporality::Delta);
    assert!(!of_file.is_compressed);
    assert_eq!((of_file.interval, of_file.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
    assert_eq!(of_file.tls.ca.as_deref(), Some(std::path::Path::new("/ca")));
    let general = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://general"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "b=3,c=%204%2C"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/general"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/cert"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "250"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram"),
    ];
    let over = made(file, &general, None).expect("valid").expect("on");
    assert_eq!(over.endpoint, "http://general/v1/metrics");
    assert_eq!(over.transport, Transport::Http);
    let headers: Vec<_> = over.headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("a", "1"), ("b", "3"), ("c", " 4,")]);
    assert!(over.header_files.is_empty(), "the environment's value replaces the file's");
    assert_eq!((over.interval, over.timeout), (Duration::from_millis(250), Duration::from_millis(1_500)));
    assert_eq!(over.push_timeout, LONGEST);
    assert!(over.is_compressed);
    assert_eq!(over.temporality, Temporality::LowMemory);
    let paths = [over.tls.ca, over.tls.certificate, over.tls.key].map(|path| path.expect("given"));
    assert_eq!(paths, ["/general", "/cert", "/key"].map(PathBuf::from));
    let own = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://own/x"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "d=5"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "7"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/own"),
    ];
    let over = made(file, &[&general[..], &own[..]].concat(), None).expect("valid").expect("on");
    assert_eq!(over.endpoint, "http://own/x");
    assert_eq!(over.headers.len(), 3, "{:?}", over.headers);
    assert_eq!((over.timeout, over.is_compressed), (Duration::from_millis(7), false));
    assert_eq!(over.tls.ca, Some("/own".into()));
    let flag = made(file, &own, Some("http://flag")).expect("valid").expect("on");
    assert!(flag.endpoint.starts_with("http://flag"));
}

#[test]
fn the_resource_is_what_the_environment_says_the_name_on_top() {
    let all = on(&[
        ("NODE_NAME", "n1"),
        ("POD_NAME", "p"),
        ("POD_NAMESPACE", "ns"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=c%201,service.name=x, k8s.pod.name=q"),
        ("OTEL_SERVICE_NAME", "mine"),
    ]);
    let expected = [
        ("k8s.cluster.name", "c 1"),
        ("k8s.namespace.name", "ns"),
        ("k8s.node.name", "n1"),
        ("k8s.pod.name", "q"),
        ("service.name", "mine"),
    ];
    assert_eq!(all.resource, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn what_is_wrong_is_named_and_secrets_are_not() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c");
    for (name, value, part) in [
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "c:4318", "begin with http"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://me:secret@c", "a user in the URL"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://secret c", "no URL"),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/json",
            "http/json is not spoken (choose http/protobuf or grpc)",
        ),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "udp", "no such protocol"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1", "neither true nor false"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "no number of milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-1", "no number of milliseconds"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%2", "name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%ff", "name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0a", "no header can carry"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret", "no header has"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", "name=value"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both", "cumulative, delta or lowmemory"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
            "explicit_bucket_histogram",
        ),
    ] {
        let error = made("", &[endpoint, (name, value)], None).expect_err(value);
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
        assert!(error.contains(name) || error.contains("otlp header"), "{error}");
    }
    let error = made("", &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], Some("http://c/x")).expect_err("a path");
    assert!(error.starts_with("--otlp.endpoint: gRPC has no path"), "{error}");
    assert!(made("endpiont: x", &[], None).is_err());
    let wishes = on(&[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret")]);
    assert!(!format!("{wishes:?}").contains("Bearer"), "{wishes:?}");
    assert_eq!(wishes.headers[0].1.reveal(), "Bearer secret");
}
