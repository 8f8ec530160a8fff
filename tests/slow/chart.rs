//! What the chart makes of single values, and what it refuses with its name.

use crate::deploy::{chart, check_configuration, check_shares, documents, of_kind, rendered, tool};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

/// Everything on that nulls could break.
const EVERYTHING: &str = "\
nvidia: {enabled: true}
relay: {enabled: true, zones: [DE], providers: [{name: gb}]}
monitor: {kind: ServiceMonitor}
dashboards: {enabled: true}
prometheusRule: {enabled: true}
networkPolicy: {enabled: true, from: [{podSelector: {}}]}
web: {tls: {secretName: x}}
";

/// The objects of these values, or what helm says.
fn tried(values: &str) -> Result<Vec<Value>, String> {
    released("jp", values)
}

fn released(name: &str, values: &str) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("values.yaml");
    fs::write(&file, values).expect("written");
    let mut helm = tool("helm");
    helm.args(["template", name, "--namespace", "energy"]).arg(chart()).arg("--values").arg(&file);
    let output = helm.stdin(Stdio::null()).output().expect("helm runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.contains("%!") && !text.contains("<nil>"), "{values}: {text}");
    Ok(documents(&text))
}

fn taken(values: &str) -> Vec<Value> {
    tried(values).unwrap_or_else(|error| panic!("{values}: {error}"))
}

/// The pod of the nodes, or of those with GPUs.
fn pod(documents: &[Value], component: &str) -> Value {
    let sets = of_kind(documents, "DaemonSet");
    let is_it = |set: &&&Value| set["metadata"]["labels"]["app.kubernetes.io/component"] == component;
    sets.iter().find(is_it).expect("a set")["spec"]["template"]["spec"].clone()
}

/// A file of the chart's ConfigMaps.
fn file(documents: &[Value], name: &str) -> Option<String> {
    let maps = of_kind(documents, "ConfigMap");
    maps.iter().find_map(|map| map["data"][name].as_str()).map(str::to_owned)
}

#[test]
fn a_relay_asks_for_what_the_nodes_want() {
    let relay = "relay: {enabled: true, zones: [DE], providers: [{name: gb}]}\n";
    let config =
        "config: {intensity_basis: direct, pue: 1.3, grid: {chain: {max_age: 1h, other_basis: allow}}}\n";
    let told = file(&taken(&format!("{relay}{config}")), "relay.yaml").expect("a file");
    check_configuration(&told);
    let told: Value = serde_saphyr::from_str(&told).expect("YAML");
    let grid = json!({
        "chain": {"max_age": "1h", "other_basis": "allow"},
        "providers": [{"name": "gb"}],
        "relay": {"zones": ["DE"]},
    });
    assert_eq!(told, json!({"intensity_basis": "direct", "grid": grid}));
    let told = file(&taken(relay), "relay.yaml").expect("a file");
    assert!(!told.contains("intensity_basis") && !told.contains("chain"), "{told}");
}

#[test]
fn prometheus_speaks_tls_where_a_secret_for_it_is_named() {
    for (web, scheme, is_generated) in [
        ("{}", json!(null), false),
        ("{tls: {secretName: tls}}", json!("https"), true),
        ("{configSecret: own}", json!(null), false),
        ("{configSecret: own, tls: {secretName: tls}}", json!("https"), false),
    ] {
        for (kind, endpoints) in [("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")] {
            let documents = taken(&format!("monitor: {{kind: {kind}}}\nweb: {web}\n"));
            let endpoint = &of_kind(&documents, kind)[0]["spec"][endpoints][0];
            assert_eq!(endpoint["scheme"], scheme, "{web}");
            let authority = &endpoint["tlsConfig"]["ca"]["secret"]["key"];
            assert_eq!(authority == "ca.crt", scheme == "https", "{web}");
            assert_eq!(file(&documents, "web.yaml").is_some(), is_generated, "{web}");
        }
    }
}

#[test]
fn nodes_with_gpus_have_a_label_and_a_runtime_of_ones_own() {
    let documents = taken("nvidia: {enabled: true}");
    check_shares(&of_kind(&documents, "DaemonSet"), "nvidia.com/gpu.present");
    assert_eq!(pod(&documents, "gpu-node")["runtimeClassName"], "nvidia");
    let documents =
        taken("nvidia: {enabled: true, runtimeClassName: '', nodeSelector: {example.org/gpu: 'yes'}}");
    check_shares(&of_kind(&documents, "DaemonSet"), "example.org/gpu");
    let pod = pod(&documents, "gpu-node");
    assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux", "example.org/gpu": "yes"}));
    assert!(pod["runtimeClassName"].is_null(), "the node's default");
}

#[test]
fn durations_are_the_programs_below_config_and_prometheus_in_the_monitor() {
    for (interval, hint) in [("30s", "30s"), ("1m", "60s"), ("1m30s", "90s"), ("1h", "3600s")] {
        let documents = taken(&format!("monitor: {{kind: PodMonitor, interval: {interval}}}"));
        let endpoint = &of_kind(&documents, "PodMonitor")[0]["spec"]["podMetricsEndpoints"][0];
        assert_eq!(endpoint["interval"], interval);
        let told = file(&documents, "jouleprint.yaml").expect("a file");
        assert!(told.contains(&format!("scrape_interval_hint: {hint}")), "{interval}: {told}");
        check_configuration(&told);
    }
    for duration in ["5", "90s", "2m", "1h", "1d", "'7 m'"] {
        let told = file(&taken(&format!("config: {{scrape_interval_hint: {duration}}}")), "jouleprint.yaml");
        check_configuration(&told.expect("a file"));
    }
    for (values, place) in [
        ("config: {scrape_interval_hint: 1m30s}", "/config/scrape_interval_hint"),
        ("config: {tick: soon}", "/config/tick"),
        ("monitor: {interval: '30'}", "/monitor/interval"),
        ("monitor: {interval: 30s1m}", "/monitor/interval"),
    ] {
        let said = tried(values).expect_err(values);
        assert!(said.contains(place), "{values}: {said}");
    }
}

#[test]
fn further_folders_of_the_host_are_read_only_whatever_is_said() {
    let documents = taken(
        "extraVolumes:\n\
         - {name: docker, hostPath: {path: /var/lib/docker, type: Directory}}\n\
         - {name: users, configMap: {name: users}}\n\
         extraVolumeMounts:\n\
         - {name: docker, mountPath: /host/var/lib/docker, readOnly: false}\n\
         - {name: users, mountPath: /etc/users}\n",
    );
    let pod = pod(&documents, "node");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts").clone();
    let mount = |name: &str| mounts.iter().find(|mount| mount["name"] == name).expect("mounted").clone();
    let read_only = json!({
        "name": "docker",
        "mountPath": "/host/var/lib/docker",
        "readOnly": true,
        "recursiveReadOnly": "IfPossible",
    });
    assert_eq!(mount("docker"), read_only);
    assert_eq!(mount("users"), json!({"name": "users", "mountPath": "/etc/users"}));
    let names: Vec<&Value> = pod["volumes"].as_array().expect("volumes").iter().map(|v| &v["name"]).collect();
    assert!(names.contains(&&json!("docker")) && names.contains(&&json!("users")), "{names:?}");
    for (values, part) in [
        ("extraVolumes: [{name: store, emptyDir: {}}]", "/extraVolumes/0/name"),
        ("extraVolumes: [{name: secret-0, emptyDir: {}}]", "/extraVolumes/0/name"),
        ("extraVolumeMounts: [{name: x, mountPath: /x}]", "extraVolumeMounts: x is none of extraVolumes"),
        ("extraVolumeMounts: [{name: x, mountPath: /etc/jouleprint/x}]", "/extraVolumeMounts/0/mountPath"),
    ] {
        let said = tried(values).expect_err(values);
        assert!(said.contains(part), "{values}: {said}");
    }
}

#[test]
fn what_the_chart_decides_is_refused_in_the_configuration() {
    for (values, parts) in [
        ("{web: {listen_addresses: [':80']}}", ["config.web.listen_addresses", "14401"]),
        ("{web: {config_file: /x}}", ["config.web.config_file", "web.configSecret"]),
        ("{host: {name: x}}", ["config.host.name", "leave it out"]),
        ("{jobs: {pod_uid: x}}", ["config.jobs.pod_uid", "sidecar"]),
        ("{store: {path: /x}}", ["config.store.path", "store.hostPath"]),
        ("{path: {runtime: /x}}", ["config.path.runtime", "store.runtimeHostPath"]),
        ("{grid: {relay: {zones: [DE]}}}", ["config.grid.relay", "relay.zones"]),
    ] {
        let said = tried(&format!("config: {values}")).expect_err(values);
        for part in parts {
            assert!(said.contains(part), "{values}: {said}");
        }
    }
    taken("config: {web: {max_requests: 5}, jobs: {max: 10}, path: {procfs: /host/proc}}");
}

/// The dotted places of all values, the sections among them.
fn places(values: &Value, before: &[String], found: &mut Vec<Vec<String>>) {
    for (name, value) in values.as_object().into_iter().flatten() {
        let place = [before, std::slice::from_ref(name)].concat();
        places(value, &place, found);
        found.push(place);
    }
}

#[test]
fn a_value_without_a_value_is_none_or_is_refused_by_its_name() {
    let text = fs::read_to_string(chart().join("values.yaml")).expect("there");
    let mut found = Vec::new();
    places(&serde_saphyr::from_str(&text).expect("YAML"), &[], &mut found);
    assert!(found.len() > 60, "{found:?}");
    for place in found {
        let mut values: Value = serde_saphyr::from_str(EVERYTHING).expect("YAML");
        let mut at = &mut values;
        for name in &place {
            if at.is_null() {
                *at = json!({});
            }
            at = &mut at[name];
        }
        *at = Value::Null;
        let last = place.last().expect("a name");
        match tried(&values.to_string()) {
            Ok(documents) => assert!(!documents.is_empty()),
            Err(said) => {
                let is_named = said.contains(&format!("missing property '{last}'"))
                    || said.contains(&format!("{}: empty", place.join(".")));
                assert!(is_named, "{place:?}: {said}");
            }
        }
    }
}

#[test]
fn the_token_is_a_choice_apart_from_the_right() {
    for (values, has_token, roles) in [
        ("{}", true, 1),
        ("rbac: {create: false}", true, 0),
        ("serviceAccount: {mountToken: false}", false, 1),
    ] {
        let documents = taken(values);
        assert_eq!(pod(&documents, "node")["automountServiceAccountToken"], has_token, "{values}");
        assert_eq!(of_kind(&documents, "ClusterRole").len(), roles, "{values}");
    }
}

#[test]
fn two_releases_of_one_name_share_nothing() {
    let arguments = ["--set", "dashboards.enabled=true,dashboards.namespace=monitoring"];
    let objects = |namespace: &str| -> BTreeSet<String> {
        let more = [&arguments[..], &["--namespace", namespace]].concat();
        let documents = documents(&rendered(&chart(), &more));
        let own = documents.iter().map(|object| {
            let metadata = &object["metadata"];
            format!("{} {} {}", object["kind"], metadata["namespace"], metadata["name"])
        });
        own.collect()
    };
    let (one, other) = (objects("one"), objects("other"));
    let both: Vec<&String> = one.intersection(&other).collect();
    assert!(one.len() > 5 && both.is_empty(), "{both:?}");
}

#[test]
fn secrets_of_any_name_are_mounted_and_one_of_them_twice() {
    let long = format!("{}.b", "a".repeat(70));
    let secrets = format!(
        "[{{name: {long}, mountPath: /etc/one}}, {{name: x, mountPath: /etc/two}}, {{name: x, mountPath: /etc/three}}]"
    );
    let documents = taken(&format!(
        "secrets: {secrets}\nrelay: {{enabled: true, zones: [DE], providers: [{{name: gb}}], secrets: {secrets}}}\n"
    ));
    let relay = of_kind(&documents, "Deployment")[0]["spec"]["template"]["spec"].clone();
    for pod in [pod(&documents, "node"), relay] {
        let volumes = pod["volumes"].as_array().expect("volumes");
        let names: BTreeSet<&str> = volumes.iter().filter_map(|volume| volume["name"].as_str()).collect();
        assert_eq!(names.len(), volumes.len(), "each has its name: {names:?}");
        assert!(names.iter().all(|name| name.len() <= 63 && !name.contains('.')), "{names:?}");
        let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
        for (place, secret) in [("/etc/one", long.as_str()), ("/etc/two", "x"), ("/etc/three", "x")] {
            let mount = mounts.iter().find(|mount| mount["mountPath"] == place).expect("mounted");
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("a volume");
            assert_eq!(volume["secret"]["secretName"], secret);
        }
    }
}

#[test]
fn a_network_policy_says_who_may_connect() {
    let monitoring =
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
    let relay = "relay: {enabled: true, zones: [DE], providers: [{name: gb}]}\n";
    for (more, rules) in [("", 1), (relay, 2)] {
        let documents = taken(&format!("{more}networkPolicy: {{enabled: true, from: {monitoring}}}"));
        let ingress = of_kind(&documents, "NetworkPolicy")[0]["spec"]["ingress"].clone();
        let ingress = ingress.as_array().expect("rules");
        assert_eq!((ingress.len(), &ingress[0]["from"]), (rules, &monitoring));
        assert!(ingress.iter().all(|rule| rule["from"].is_array()), "without it everybody may: {ingress:?}");
    }
    for from in ["", ", from: []", ", from: null"] {
        let values = format!("networkPolicy: {{enabled: true{from}}}");
        let said = tried(&values).expect_err(&values);
        assert!(
            said.contains("networkPolicy.from: empty") && said.contains("monitoring"),
            "{values}: {said}"
        );
    }
    taken("networkPolicy: {enabled: false, from: []}");
}

/// The time-outs of all endpoints of a release with a relay, or what helm says.
fn timeouts(monitor: &str) -> Result<BTreeSet<String>, String> {
    let relay = "relay: {enabled: true, zones: [DE], providers: [{name: gb}]}";
    let documents = tried(&format!("{relay}\nmonitor: {monitor}"))?;
    let specs = documents.iter().map(|object| &object["spec"]);
    let lists = specs.flat_map(|spec| [&spec["podMetricsEndpoints"], &spec["endpoints"]]);
    let endpoints: Vec<&Value> = lists.filter_map(Value::as_array).flatten().collect();
    assert_eq!(endpoints.len(), 2, "the nodes' and the relay's");
    Ok(endpoints.iter().map(|endpoint| endpoint["scrapeTimeout"].to_string()).collect())
}

#[test]
fn a_scrape_has_no_more_time_than_there_is_between_two() {
    for kind in ["PodMonitor", "ServiceMonitor"] {
        for (more, timeout) in [
            ("", "10s"),
            (", interval: 1m30s", "10s"),
            (", interval: 10s", "10s"),
            (", interval: 5s", "5s"),
            (", interval: 5s, scrapeTimeout: null", "5s"),
            (", interval: 5s, scrapeTimeout: 3s", "3s"),
            (", interval: 1m, scrapeTimeout: 60s", "60s"),
        ] {
            let found = timeouts(&format!("{{kind: {kind}{more}}}")).expect(more);
            assert_eq!(found, [json!(timeout).to_string()].into(), "{kind}{more}");
        }
        for (more, part) in [
            (", interval: 5s, scrapeTimeout: 10s", "monitor.scrapeTimeout: 10s, with an interval of 5s"),
            (", scrapeTimeout: 1m", "monitor.scrapeTimeout: 1m, with an interval of 30s"),
            (", scrapeTimeout: 0s", "monitor.scrapeTimeout: 0s"),
            (", interval: 0s", "monitor.interval: 0s is no time"),
            (", interval: 0m0s", "monitor.interval: 0m0s is no time"),
        ] {
            let said = timeouts(&format!("{{kind: {kind}{more}}}")).expect_err(more);
            assert!(said.contains(part), "{more}: {said}");
        }
    }
}

#[test]
fn the_right_is_given_to_an_account_that_is_named() {
    for name in ["", ", name: ''", ", name: null"] {
        let values = format!("serviceAccount: {{create: false{name}}}");
        let said = tried(&values).expect_err(&values);
        assert!(said.contains("serviceAccount.name: empty") && said.contains("rbac.create=false"), "{said}");
    }
    for (values, account, bindings) in [
        ("{}", "jp-jouleprint", 1),
        ("serviceAccount: {create: false, name: own}", "own", 1),
        ("{serviceAccount: {create: false}, rbac: {create: false}}", "default", 0),
    ] {
        let documents = taken(values);
        assert_eq!(pod(&documents, "node")["serviceAccountName"], account, "{values}");
        let found = of_kind(&documents, "ClusterRoleBinding");
        assert_eq!(found.len(), bindings, "{values}");
        assert!(found.iter().all(|binding| binding["subjects"][0]["name"] == account), "{values}");
    }
}

/// Everything that has a name of its own, with a Service of each kind.
const NAMED: &str = "\
relay: {enabled: true, zones: [DE], providers: [{name: gb}]}
monitor: {kind: ServiceMonitor}
dashboards: {enabled: true}
prometheusRule: {enabled: true}
";

#[test]
fn names_are_such_as_the_api_server_takes() {
    let is_label = |name: &str| {
        let is_inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let ends = |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        name.bytes().all(is_inside) && name.starts_with(ends) && name.ends_with(ends)
    };
    let dashed = format!("{}--{}", "a".repeat(48), "b".repeat(8));
    for (release, values, name) in [
        ("jp", "", "jp-jouleprint"),
        ("my.rel", "", "my-rel-jouleprint"),
        ("a.jouleprint.b", "", "a-jouleprint-b"),
        ("7even", "fullnameOverride: seven", "seven"),
        ("jp", "nameOverride: energy", "jp-energy"),
        ("jp", &format!("fullnameOverride: {dashed}"), &"a".repeat(48)),
    ] {
        let values = format!("{NAMED}{values}\n");
        let documents = released(release, &values).unwrap_or_else(|error| panic!("{values}: {error}"));
        let services: Vec<&str> = of_kind(&documents, "Service")
            .iter()
            .map(|service| service["metadata"]["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(services.len(), 2, "the nodes' and the relay's");
        assert!(services.iter().all(|service| service.len() <= 63), "{services:?}");
        assert!(
            services.contains(&name) && services.contains(&format!("{name}-relay").as_str()),
            "{services:?}"
        );
        for object in &documents {
            let name = object["metadata"]["name"].as_str().expect("a name");
            assert!(is_label(name), "{release}: {} {name}", object["kind"]);
        }
    }
    for key in ["nameOverride", "fullnameOverride"] {
        for name in ["Foo_Bar", "foo.bar", "-foo", "foo-", "Foo"] {
            let said = tried(&format!("{key}: {name}")).expect_err(name);
            assert!(said.contains(&format!("/{key}")), "{key}: {name}: {said}");
        }
        taken(&format!("{key}: ''"));
    }
    // Only a Service must begin with a letter.
    let said = released("7even", NAMED).expect_err("a digit");
    assert!(said.contains("fullnameOverride: a Service's name begins with a letter"), "{said}");
    released("7even", "{}").expect("no Service");
}

#[test]
fn labels_of_pods_are_added_to_the_charts_own() {
    let gpus = "nvidia: {enabled: true}";
    let documents = taken(&format!("{gpus}\npodLabels: {{team: energy, app.kubernetes.io/tier: node}}"));
    for set in of_kind(&documents, "DaemonSet") {
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        assert_eq!((&labels["team"], &labels["app.kubernetes.io/tier"]), (&json!("energy"), &json!("node")));
        for (key, value) in set["spec"]["selector"]["matchLabels"].as_object().expect("labels") {
            assert_eq!(&labels[key], value, "{key}");
        }
        assert_eq!(labels["jouleprint/serves"], "node");
    }
    for key in [
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
        "app.kubernetes.io/version",
        "helm.sh/chart",
        "jouleprint/serves",
    ] {
        let said = tried(&format!("{gpus}\npodLabels: {{{key}: x}}")).expect_err(key);
        assert!(said.contains(&format!("podLabels: {key} is the chart's own")), "{said}");
    }
}

/// What is said after the install.
fn notes(more: &[&str]) -> String {
    let mut helm = tool("helm");
    helm.args(["install", "jp"]).arg(chart()).args(["--dry-run=client", "--namespace", "energy"]).args(more);
    let output = helm.env("KUBECONFIG", "/dev/null").stdin(Stdio::null()).output().expect("helm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    said.split_once("\nNOTES:\n").expect("notes").1.to_owned()
}

#[test]
fn the_notes_say_where_pods_are_to_be_looked_for() {
    let relay = "relay.enabled=true,relay.zones={DE},relay.providers[0].name=gb";
    for (values, parts) in [
        ("config.zone=DE", vec!["Put in its job\n", "namespaces: {names: [energy]}\n"]),
        (relay, vec!["Put in both its jobs\n", "namespaces: {names: [energy]}\n"]),
        ("nameOverride=joules", vec!["names: [energy]}\n", "label: app.kubernetes.io/name=joules\n"]),
    ] {
        let said = notes(&["--set", values]);
        for part in parts {
            assert!(said.contains(part), "{values}: {said}");
        }
    }
    let said = notes(&["--set", "monitor.kind=PodMonitor"]);
    assert!(!said.contains("names: ["), "the operator looks in the monitor's own: {said}");
}
