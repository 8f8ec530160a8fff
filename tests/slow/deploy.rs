//! The manifests as their own tools read them: helm, kubectl's kustomize, Kubernetes' schemas, the program's own check
//! of its configuration, and our rules of what a pod of ours may never ask for.

use crate::rig::run;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where it may write; everything else of the host is to be read.
const WRITABLE: [&str; 2] = ["/var/lib/jouleprint", "/run/jouleprint"];

/// What may be mounted of a host, beside folders of /sys that are named one by one.
const MOUNTED: [&str; 5] =
    ["/sys/class", "/sys/devices", "/sys/fs/cgroup", "/var/log/pods", "/var/lib/kubelet/pod-resources"];
const MORE_OF_SYS: [&str; 4] = ["/sys/bus", "/sys/module", "/sys/cray", "/sys/firmware"];

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn tool(name: &str) -> Command {
    let path = repository().join(".cache/kubernetes").join(name);
    assert!(path.exists(), "no {}: run tests/slow/install.sh", path.display());
    let mut command = Command::new(path);
    let home = std::env::temp_dir().join("jouleprint-helm");
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, &home);
    }
    command
}

pub(crate) fn chart() -> PathBuf {
    repository().join("deploy/helm/jouleprint")
}

/// What a tool writes: more than a pipe holds.
fn written(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The chart with these values, as helm writes it.
pub(crate) fn rendered(chart: &Path, arguments: &[&str]) -> String {
    written(tool("helm").args(["template", "jp"]).arg(chart).args(["--namespace", "energy"]).args(arguments))
}

/// An overlay, or the base.
pub(crate) fn built(name: &str) -> String {
    written(tool("kubectl").arg("kustomize").arg(repository().join("deploy/kustomize").join(name)))
}

pub(crate) fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The objects of a kind.
pub(crate) fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["kind"] == kind).collect()
}

/// Every object passes Kubernetes' own schema, and those of prometheus-operator its own types.
fn validate(name: &str, text: &str) {
    let programs = repository().join(".cache/kubernetes-validate/bin");
    assert!(programs.exists(), "no kubernetes-validate: run tests/slow/install.sh");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(format!("{name}.yaml"));
    fs::write(&file, text).expect("written");
    let output = Command::new(programs.join("kubernetes-validate"))
        .arg("--strict")
        .arg(&file)
        .output()
        .expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{name}: {said}");
    for line in said.lines().filter(|line| !line.contains("passed for resource")) {
        assert!(line.contains("api version monitoring.coreos.com"), "{name}: {line}");
    }
    let monitors = said.lines().filter(|line| !line.contains("passed for resource")).count();
    if monitors > 0 {
        let checked = checked_monitors(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(checked.trim(), monitors.to_string(), "{name}: each of them is looked at");
    }
}

/// How many objects of the operator's are in the file, which are all as it knows them.
fn checked_monitors(file: &Path) -> Result<String, String> {
    let python = repository().join(".cache/kubernetes-validate/bin/python");
    let script = repository().join("tests/slow/monitors.py");
    let output = Command::new(python).arg(script).arg(file).output().expect("it runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// What a pod of ours may never ask for; one line for each thing that it does.
fn complaints(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |is_right: bool, what: String| {
        if !is_right {
            found.push(what);
        }
    };
    for key in ["hostPID", "hostNetwork", "hostIPC"] {
        check(pod[key] != true, key.to_owned());
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let containers = [list(&pod["containers"]), list(&pod["initContainers"])].concat();
    let volumes = list(&pod["volumes"]);
    for container in &containers {
        let name = container["name"].as_str().unwrap_or("?");
        let context = &container["securityContext"];
        check(context["privileged"] != true, format!("{name}: privileged"));
        check(context["allowPrivilegeEscalation"] == false, format!("{name}: escalation"));
        check(context["readOnlyRootFilesystem"] == true, format!("{name}: a root that can be written"));
        check(context["capabilities"] == json!({"drop": ["ALL"]}), format!("{name}: capabilities"));
        check(
            list(&container["ports"]).iter().all(|port| port["hostPort"].is_null()),
            format!("{name}: host port"),
        );
        for mount in list(&container["volumeMounts"]) {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let Some(host) = volume.and_then(|volume| volume["hostPath"]["path"].as_str()) else { continue };
            let inside = mount["mountPath"].as_str().unwrap_or_default();
            if WRITABLE.contains(&inside) {
                check(host == inside, format!("{name}: {host} in the place of {inside}"));
                continue;
            }
            let is_known = MOUNTED.contains(&host) || MORE_OF_SYS.contains(&host);
            check(is_known, format!("{name}: mounts {host}"));
            check(inside == format!("/host{host}"), format!("{name}: {host} at {inside}"));
            let is_read_only = mount["readOnly"] == true && mount["recursiveReadOnly"] == "IfPossible";
            check(is_read_only && mount["mountPropagation"].is_null(), format!("{name}: {host} is writable"));
        }
    }
    found
}

/// The pods of all controllers among the objects that are ours.
fn pods(documents: &[Value]) -> Vec<(String, &Value)> {
    let kinds = ["DaemonSet", "Deployment", "StatefulSet", "Job"];
    let owners = documents.iter().filter(|document| kinds.iter().any(|kind| document["kind"] == **kind));
    owners.map(|owner| (owner["metadata"]["name"].to_string(), &owner["spec"]["template"]["spec"])).collect()
}

fn environment(container: &Value) -> BTreeSet<&str> {
    let variables = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    variables.iter().filter_map(|variable| variable["name"].as_str()).collect()
}

/// What holds of everything that is applied.
fn check_objects(name: &str, text: &str) {
    validate(name, text);
    let documents = documents(text);
    let pods = pods(&documents);
    assert!(!pods.is_empty(), "{name} has pods");
    for (owner, pod) in pods {
        assert_eq!(complaints(pod), [""; 0], "{name}: {owner}");
        let context = [&pod["securityContext"], &pod["containers"][0]["securityContext"]];
        let has_seccomp = context.iter().any(|context| context["seccompProfile"]["type"] == "RuntimeDefault");
        assert!(has_seccomp || pod["initContainers"].is_array(), "{name}: {owner} has a seccomp profile");
    }
    for set in of_kind(&documents, "DaemonSet") {
        let spec = &set["spec"];
        let update = &spec["updateStrategy"]["rollingUpdate"];
        assert_eq!(update, &json!({"maxSurge": 0, "maxUnavailable": "10%"}), "{name}");
        assert_eq!(spec["template"]["spec"]["hostUsers"], true, "{name}");
        let variables = environment(&spec["template"]["spec"]["containers"][0]);
        assert!(variables.contains("NODE_NAME") && !variables.contains("POD_UID"), "{name}: {variables:?}");
    }
    for role in of_kind(&documents, "ClusterRole") {
        let rules = json!([{"apiGroups": [""], "resources": ["nodes/pods"], "verbs": ["get"]}]);
        assert_eq!(role["rules"], rules, "{name}");
    }
    for map in of_kind(&documents, "ConfigMap") {
        for (file, text) in map["data"].as_object().into_iter().flatten() {
            let text = text.as_str().expect("a text");
            match file.as_str() {
                "jouleprint.yaml" | "relay.yaml" => check_configuration(text),
                "web.yaml" => assert!(text.contains("cert_file: /etc/jouleprint-tls/tls.crt"), "{text}"),
                dashboard => {
                    let found: Result<Value, _> = serde_json::from_str(text);
                    assert!(found.is_ok(), "{dashboard}: {found:?}");
                }
            }
        }
    }
}

/// The program takes it.
pub(crate) fn check_configuration(text: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jouleprint.yaml");
    fs::write(&file, text).expect("written");
    run(Command::new(env!("CARGO_BIN_EXE_jouleprint")).arg("check").arg("--config.file").arg(&file));
}

#[test]
fn the_chart_is_what_helm_and_kubernetes_expect_with_defaults_and_with_everything() {
    for (name, kinds) in [
        ("default", vec![("DaemonSet", 1), ("Deployment", 0), ("PodMonitor", 0), ("PrometheusRule", 0)]),
        ("full", vec![("DaemonSet", 1), ("Deployment", 1), ("PodMonitor", 2), ("PrometheusRule", 3)]),
        ("gpu", vec![("DaemonSet", 2), ("Deployment", 0), ("ServiceMonitor", 1), ("Service", 1)]),
    ] {
        let values = chart().join(format!("ci/{name}-values.yaml")).display().to_string();
        let arguments = if name == "default" { vec![] } else { vec!["--values", &values] };
        run(tool("helm").args(["lint", "--strict"]).arg(chart()).args(&arguments));
        let text = rendered(&chart(), &arguments);
        check_objects(name, &text);
        let documents = documents(&text);
        for (kind, count) in kinds {
            assert_eq!(of_kind(&documents, kind).len(), count, "{name}: {kind}");
        }
        let is_plain = |document: &Value| {
            let version = document["apiVersion"].as_str().expect("a version");
            !version.contains("monitoring.coreos.com")
        };
        assert_eq!(documents.iter().all(is_plain), name == "default", "{name}: only defaults need no CRDs");
    }
}

#[test]
fn what_the_exporter_is_told_follows_from_the_values() {
    let full = chart().join("ci/full-values.yaml").display().to_string();
    for (arguments, parts) in [
        (vec!["--values", &full], vec!["scrape_interval_hint: 15s", "url: http://jp-jouleprint-relay:14402"]),
        (vec!["--set", "monitor.kind=PodMonitor"], vec!["scrape_interval_hint: 30s", "sysfs: /host/sys"]),
        (vec!["--set", "mounts.sys=false"], vec!["cgroupfs: /host/sys/fs/cgroup"]),
        (vec!["--set", "mounts.podLogs=false,mounts.podResources=false"], vec!["logs: \"off\""]),
        (vec!["--set", "allowWritable=true"], vec!["allow_writable: true"]),
        (vec!["--set-string", "config.zone=NO"], vec!["zone: \"NO\""]),
    ] {
        let text = rendered(&chart(), &arguments);
        check_objects("told", &text);
        let documents = documents(&text);
        let maps = of_kind(&documents, "ConfigMap");
        let told = maps.iter().find_map(|map| map["data"]["jouleprint.yaml"].as_str()).expect("a map");
        for part in parts {
            assert!(told.contains(part), "{arguments:?} gives\n{told}\nwhich lacks {part}");
        }
    }
    let nonroot = rendered(&chart(), &["--set", "profile=nonroot"]);
    let documents = documents(&nonroot);
    let pod = &of_kind(&documents, "DaemonSet")[0]["spec"]["template"]["spec"];
    let context = &pod["containers"][0]["securityContext"];
    assert_eq!((&context["runAsUser"], &context["runAsNonRoot"]), (&json!(65532), &json!(true)));
    // Before 1.30 the field is not known, and kubectl refuses what is not known.
    let old = rendered(&chart(), &["--kube-version", "1.29.0"]);
    assert!(!old.contains("recursiveReadOnly") && old.contains("readOnly: true"));
}

#[test]
fn what_the_schema_does_not_know_is_refused_by_its_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("values.yaml");
    for (values, part) in [
        ("clustr: x", "'clustr'"),
        ("image: {registry: x}", "'registry'"),
        ("config: {zoen: DE}", "'zoen'"),
        ("config: {jobs: {kubernetes: {log: /x}}}", "'log'"),
        ("config: {zone: NO}", "/config/zone"),
        ("config: {tick: soon}", "/config/tick"),
        ("monitor: {kind: Pod}", "/monitor/kind"),
        ("monitor: {interval: soon}", "/monitor/interval"),
        ("profile: privileged", "/profile"),
        ("mounts: {moreOfSys: [kernel]}", "/mounts/moreOfSys/0"),
        ("secrets: [{name: x, mountPath: /etc/jouleprint/x}]", "/secrets/0/mountPath"),
        ("relay: {enabled: true}", "/relay/zones"),
        ("relay: {providers: [{name: rte, keey: 1}]}", "'keey'"),
        ("resources: {request: {cpu: 1}}", "'request'"),
        ("tolerations: [{operator: Exist}]", "/tolerations/0/operator"),
        ("web: {tls: {secret: x}}", "'secret'"),
    ] {
        fs::write(&file, values).expect("written");
        let mut helm = tool("helm");
        helm.args(["template", "jp"]).arg(chart()).arg("--values").arg(&file);
        let output = helm.stdin(Stdio::null()).output().expect("helm runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(part), "{values}: {said}");
    }
}

#[test]
fn a_packed_chart_holds_the_rules_and_dashboards_themselves() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(tool("helm").arg("package").arg(chart()).arg("--destination").arg(folder.path()));
    let archive = folder.path().join("jouleprint-0.1.0.tgz");
    run(Command::new("tar").arg("-C").arg(folder.path()).arg("-xzf").arg(&archive));
    let packed = folder.path().join("jouleprint");
    for name in ["recording", "alerts"] {
        let file = packed.join(format!("files/{name}.yaml"));
        assert!(fs::symlink_metadata(&file).expect("packed").is_file(), "{name} is a file of its own");
        let shipped = repository().join(format!("deploy/prometheus/{name}.yaml"));
        assert_eq!(fs::read_to_string(file).ok(), fs::read_to_string(shipped).ok(), "{name}");
    }
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).expect("a folder").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let shipped = names(&repository().join("grafana")).into_iter().filter(|name| name.ends_with(".json"));
    assert_eq!(names(&packed.join("files/dashboards")), shipped.collect(), "the JSON and nothing else");
    let everything = ["--set", "prometheusRule.enabled=true,dashboards.enabled=true"];
    let (text, direct) = (rendered(&packed, &everything), rendered(&chart(), &everything));
    assert_eq!(text, direct);
    // The rules survive the way through helm's templates, whose own braces they use.
    let documents = documents(&text);
    for rule in of_kind(&documents, "PrometheusRule") {
        let name = rule["metadata"]["name"].as_str().expect("a name").trim_start_matches("jp-jouleprint-");
        let file = repository().join(format!("deploy/prometheus/{name}.yaml"));
        let shipped: Value =
            serde_saphyr::from_str(&fs::read_to_string(file).expect("shipped")).expect("YAML");
        assert_eq!(rule["spec"], shipped, "{name}");
    }
}

/// Of two sets one takes the nodes with a label, the other those without: each node has one of them.
pub(crate) fn check_shares(sets: &[&Value], key: &str) {
    let has_gpus = |set: &&&Value| {
        let labels = &set["spec"]["selector"]["matchLabels"];
        labels["app.kubernetes.io/component"] == "gpu-node"
    };
    let (gpu, others): (Vec<&Value>, Vec<&Value>) = sets.iter().partition(has_gpus);
    assert_eq!((gpu.len(), others.len()), (1, 1), "one for each");
    let pod = |set: &Value| set["spec"]["template"]["spec"].clone();
    let (gpu, others) = (pod(gpu[0]), pod(others[0]));
    let wanted = &gpu["nodeSelector"][key];
    assert!(wanted.is_string(), "the set of nodes with GPUs asks for {key}");
    assert!(gpu["affinity"].is_null(), "and for nothing that speaks against it: {}", gpu["affinity"]);
    let required = &others["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let differs = json!({"key": key, "operator": "NotIn", "values": [wanted]});
    assert_eq!(required["nodeSelectorTerms"], json!([{"matchExpressions": [differs]}]));
    assert!(others["nodeSelector"][key].is_null(), "the others do not ask for it");
}

#[test]
fn kustomize_builds_the_base_and_every_overlay() {
    for (name, sets) in [("base", 1), ("overlays/gpu", 2), ("overlays/vm", 1), ("overlays/sidecar", 0)] {
        let text = built(name);
        check_objects(&name.replace('/', "-"), &text);
        assert_eq!(of_kind(&documents(&text), "DaemonSet").len(), sets, "{name}");
    }
    let gpu = documents(&built("overlays/gpu"));
    let sets = of_kind(&gpu, "DaemonSet");
    let selectors: BTreeSet<String> =
        sets.iter().map(|set| set["spec"]["selector"]["matchLabels"].to_string()).collect();
    assert_eq!(selectors.len(), 2, "neither takes the other's pods: {selectors:?}");
    let pod = &sets.iter().find(|set| set["metadata"]["name"] == "jouleprint-gpu").expect("it")["spec"]["template"]
        ["spec"];
    assert_eq!(
        (&pod["runtimeClassName"], &pod["nodeSelector"]["nvidia.com/gpu.present"]),
        (&json!("nvidia"), &json!("true"))
    );
    let variables = environment(&pod["containers"][0]);
    assert!(variables.is_superset(&["NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"].into()));
    check_shares(&sets, "nvidia.com/gpu.present");
    let vm = built("overlays/vm");
    assert!(!vm.contains("/sys/class") && !vm.contains("/sys/devices"), "there are no meters to mount");
    // The host's processes, and nothing else that the base does not ask for.
    let speaking = documents(&built("overlays/jobsocket"));
    let mut pod = of_kind(&speaking, "DaemonSet")[0]["spec"]["template"]["spec"].clone();
    assert_eq!(complaints(&pod), ["hostPID"]);
    pod.as_object_mut().expect("a pod").remove("hostPID");
    let base = documents(&built("base"));
    assert_eq!(pod, of_kind(&base, "DaemonSet")[0]["spec"]["template"]["spec"]);
    let sidecar = documents(&built("overlays/sidecar"));
    // By the label and the port that sidecars are scraped by.
    let template = &sidecar[0]["spec"]["template"];
    assert_eq!(template["metadata"]["labels"], json!({"app": "worker", "jouleprint/serves": "pod"}));
    assert_eq!(template["spec"]["initContainers"][0]["ports"][0]["name"], "jouleprint");
    let monitor = repository().join("deploy/kustomize/overlays/sidecar/podmonitor.yaml");
    assert_eq!(checked_monitors(&monitor).expect("as the operator knows them").trim(), "1");
    let ours = &sidecar[0]["spec"]["template"]["spec"]["initContainers"][0];
    assert_eq!((&ours["name"], &ours["restartPolicy"]), (&json!("jouleprint"), &json!("Always")));
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert!(ours[probe].is_null(), "the user's pod would depend on our {probe}");
    }
    let variables = environment(ours);
    assert!(variables.contains("POD_UID") && !variables.contains("NODE_NAME"), "{variables:?}");
}

#[test]
fn what_the_operator_does_not_know_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("monitors.yaml");
    let text = rendered(&chart(), &["--set", "monitor.kind=PodMonitor"]);
    for (from, to, part) in [
        ("honorLabels", "honourLabels", "PodMonitor.spec.podMetricsEndpoints.honourLabels"),
        ("scrapeTimeout: 10s", "scrapeTimeout: soon", "scrapeTimeout"),
    ] {
        fs::write(&file, text.replace(from, to)).expect("written");
        let said = checked_monitors(&file).expect_err(to);
        assert!(said.contains(part), "{said}");
    }
}

/// The rules above find what they are there for.
#[test]
fn a_pod_that_asks_for_too_much_is_told_from_one_that_does_not() {
    let text = built("base");
    let documents = documents(&text);
    let good = &of_kind(&documents, "DaemonSet")[0]["spec"]["template"]["spec"];
    assert_eq!(complaints(good), [""; 0]);
    let mount = good["containers"][0]["volumeMounts"]
        .as_array()
        .expect("mounts")
        .iter()
        .position(|mount| mount["name"] == "cgroup");
    let mount = format!("/containers/0/volumeMounts/{}", mount.expect("a mount"));
    let volume =
        good["volumes"].as_array().expect("volumes").iter().position(|volume| volume["name"] == "class");
    let volume = format!("/volumes/{}/hostPath/path", volume.expect("a volume"));
    for (pointer, key, value, part) in [
        ("", "hostPID", json!(true), "hostPID"),
        ("", "hostNetwork", json!(true), "hostNetwork"),
        ("/containers/0/securityContext", "privileged", json!(true), "privileged"),
        ("/containers/0/securityContext", "allowPrivilegeEscalation", json!(true), "escalation"),
        (
            "/containers/0/securityContext",
            "readOnlyRootFilesystem",
            json!(false),
            "a root that can be written",
        ),
        ("/containers/0/securityContext/capabilities", "add", json!(["SYS_ADMIN"]), "capabilities"),
        ("/containers/0/ports/0", "hostPort", json!(14401), "host port"),
        (&mount, "readOnly", json!(false), "/sys/fs/cgroup is writable"),
        (&mount, "recursiveReadOnly", json!(null), "/sys/fs/cgroup is writable"),
        (&mount, "mountPropagation", json!("HostToContainer"), "/sys/fs/cgroup is writable"),
        (&mount, "mountPath", json!("/sys/fs/cgroup"), "/sys/fs/cgroup at /sys/fs/cgroup"),
        (&volume, "", json!("/"), "mounts /"),
    ] {
        let mut bad = good.clone();
        let place = bad.pointer_mut(pointer).expect("it is there");
        let place = if key.is_empty() { place } else { &mut place[key] };
        *place = value;
        let found = complaints(&bad);
        assert!(found.iter().any(|line| line.ends_with(part)), "{pointer} {key}: {found:?}");
    }
}
