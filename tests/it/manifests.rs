//! What is shipped beside the program fits it: configurations, the chart's schema, links and versions.

use jouleprint::config::Settings;
use jouleprint::config::flags::Flags;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn schema() -> Value {
    serde_json::from_str(&text("deploy/helm/jouleprint/values.schema.json")).expect("JSON")
}

#[test]
fn every_configuration_that_is_shipped_is_one() {
    for path in [
        "deploy/kustomize/base/jouleprint.yaml",
        "deploy/kustomize/overlays/vm/jouleprint.yaml",
        "deploy/systemd/jouleprint.yaml",
    ] {
        let settings = Settings::parse(&text(path), path, &Flags::default());
        assert!(settings.is_ok(), "{path}: {settings:?}");
    }
}

/// The dotted keys of a schema's object, those that hold others among them.
fn keys(schema: &Value, prefix: &str, found: &mut BTreeSet<String>) {
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        found.insert(key.clone());
        keys(value, &key, found);
        for choice in value["oneOf"].as_array().into_iter().flatten() {
            keys(choice, &key, found);
        }
    }
}

/// The keys in the first column of the configuration's table: `a.b`, and `.c` for a.c behind it.
fn documented() -> BTreeSet<String> {
    let docs = text("docs/configuration.md");
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")).map(|row| {
        let (cell, _) = row.split_once(" |").expect("columns");
        format!("`{cell}")
    });
    let mut found = BTreeSet::new();
    for cell in rows.filter(|cell| !cell.contains("--")) {
        let mut folder = String::new();
        for word in cell.split('`').filter(|word| !word.trim_matches([' ', ',']).is_empty()) {
            let key = word.strip_prefix('.').map_or(word.to_owned(), |last| format!("{folder}.{last}"));
            folder = key.rsplit_once('.').map(|(folder, _)| folder.to_owned()).unwrap_or_default();
            found.insert(key);
        }
    }
    assert!(found.len() > 50, "{found:?}");
    found
}

#[test]
fn the_chart_knows_every_key_of_the_configuration_and_no_other() {
    let mut known = BTreeSet::new();
    keys(&schema()["properties"]["config"], "", &mut known);
    let documented = documented();
    let missing: Vec<&String> = documented.iter().filter(|key| !known.contains(*key)).collect();
    assert!(missing.is_empty(), "values.schema.json lacks {missing:?} of docs/configuration.md");
    // What stands deeper is documented where its section is.
    let is_told = |key: &&String| {
        documented.iter().any(|told| {
            told == *key || told.starts_with(&format!("{key}.")) || key.starts_with(&format!("{told}."))
        })
    };
    let unknown: Vec<&String> = known.iter().filter(|key| !is_told(key)).collect();
    assert!(unknown.is_empty(), "docs/configuration.md lacks {unknown:?} of values.schema.json");
}

/// Every object of a schema says what it may hold.
fn check_closed(schema: &Value, place: &str) {
    if schema["type"] == "object" {
        let extra = &schema["additionalProperties"];
        let is_closed = *extra == Value::Bool(false) || extra.is_object();
        // What Kubernetes, or a table of ours, checks by itself is handed on as it is.
        let is_others = place == "/global"
            || place.ends_with("Affinity")
            || place.ends_with("Selector")
            || place.ends_with("/ipBlock")
            || place.ends_with("/valueFrom")
            || place.ends_with("/hwmon/[]");
        assert!(is_closed || is_others, "{place} takes any key");
    }
    for (name, value) in schema["properties"].as_object().into_iter().flatten() {
        check_closed(value, &format!("{place}/{name}"));
    }
    if schema["items"].is_object() {
        check_closed(&schema["items"], &format!("{place}/[]"));
    }
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        check_closed(choice, place);
    }
}

#[test]
fn no_misspelt_value_gets_past_the_schema() {
    check_closed(&schema(), "");
    let values: Value = serde_saphyr::from_str(&text("deploy/helm/jouleprint/values.yaml")).expect("YAML");
    let schema = schema();
    let names =
        |value: &Value| -> BTreeSet<String> { value.as_object().expect("keys").keys().cloned().collect() };
    let mut known = names(&schema["properties"]);
    known.remove("global");
    assert_eq!(names(&values), known, "every value has a default, and its place in the schema");
}

#[test]
fn the_chart_holds_no_copies_but_links_to_what_is_shipped() {
    for (link, target) in [
        ("recording.yaml", "deploy/prometheus/recording.yaml"),
        ("alerts.yaml", "deploy/prometheus/alerts.yaml"),
        ("dashboards", "grafana"),
    ] {
        let link = at("deploy/helm/jouleprint/files").join(link);
        assert!(link.symlink_metadata().expect("there").is_symlink(), "{}", link.display());
        let found = link.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", link.display()));
        assert_eq!(found, at(target).canonicalize().expect("shipped"));
    }
}

#[test]
fn one_version_stands_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    for (path, line) in [
        ("deploy/helm/jouleprint/Chart.yaml", format!("appVersion: {version}")),
        ("deploy/kustomize/base/node/kustomization.yaml", format!("newTag: {version}")),
        ("deploy/kustomize/overlays/sidecar/component/kustomization.yaml", format!("newTag: {version}")),
        ("deploy/container/Containerfile", format!("image.version=\"{version}\"")),
    ] {
        assert!(text(path).contains(&line), "{path} lacks {line}");
    }
    // The builder is the compiler that the program asks for.
    let rust = env!("CARGO_PKG_RUST_VERSION");
    assert!(text("deploy/container/Containerfile").contains(&format!("library/rust:{rust}.")));
}

/// The Rust files below a folder.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            rust_files(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

#[test]
fn what_the_program_includes_is_copied_to_where_its_image_is_built() {
    let container = text("deploy/container/Containerfile");
    let copied: Vec<&str> = container
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ").filter(|line| !line.starts_with("--")))
        .flat_map(|line| line.rsplit_once(' ').expect("to where").0.split(' '))
        .collect();
    let root = at("").canonicalize().expect("it is there");
    let mut sources = Vec::new();
    rust_files(&root.join("src"), &mut sources);
    let mut included = 0;
    for source in sources {
        let code = std::fs::read_to_string(&source).expect("UTF-8");
        for part in ["include_str!(\"", "include_bytes!(\""].iter().flat_map(|call| code.split(call).skip(1))
        {
            let (path, _) = part.split_once('"').expect("it ends");
            let file = source.parent().expect("a folder").join(path);
            let file = file.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let file = file.strip_prefix(&root).expect("of this repository");
            let is_there = copied.iter().any(|folder| file.starts_with(folder));
            assert!(is_there, "{} includes {}, which no COPY copies", source.display(), file.display());
            included += 1;
        }
    }
    assert!(included > 5, "{included}");
}

/// The lines of a unit that set a key, without it.
fn set<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let prefix = format!("{key}=");
    unit.lines().filter_map(|line| line.strip_prefix(prefix.as_str())).collect()
}

#[test]
fn a_unit_waits_for_the_drivers_of_its_devices_and_needs_no_key() {
    let unit = text("deploy/systemd/jouleprint.service");
    for key in ["Wants", "After"] {
        for module in ["ipmi_si", "ipmi_devintf", "nvidia"] {
            let wanted = format!("modprobe@{module}.service");
            assert!(set(&unit, key).iter().any(|line| line.contains(&wanted)), "{key} {wanted}");
        }
    }
    assert!(set(&unit, "Requires").is_empty(), "a module that is missing fails nothing");
    let rights: BTreeSet<&str> = set(&unit, "CapabilityBoundingSet")[0].split(' ').collect();
    assert_eq!(rights, ["CAP_DAC_READ_SEARCH", "CAP_PERFMON", "CAP_SYS_PTRACE"].into());
    // systemd.exec(5): what is set stands in for what cannot be loaded, which then is not fatal.
    let relay = text("deploy/systemd/jouleprint-relay.service");
    for loaded in set(&relay, "LoadCredential") {
        let (name, _) = loaded.split_once(':').expect("a name and a file");
        let stands_in = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
        assert!(
            set(&relay, "SetCredential").iter().any(stands_in),
            "{loaded} fails the unit if it is missing"
        );
    }
}

/// The expression by which the names of a sidecar's series are kept.
fn kept(rules: &Value) -> &str {
    let rules = rules.as_array().expect("rules");
    let rule = rules.iter().find(|rule| rule["action"] == "keep").expect("one that keeps");
    rule["regex"].as_str().expect("an expression")
}

#[test]
fn of_a_sidecar_only_jobs_are_kept_since_each_shows_the_whole_node() {
    let scrape: Value =
        serde_saphyr::from_str(&text("deploy/prometheus/scrape-sidecars.yaml")).expect("YAML");
    let monitor: Value =
        serde_saphyr::from_str(&text("deploy/kustomize/overlays/sidecar/podmonitor.yaml")).expect("YAML");
    let kept = [
        kept(&scrape["scrape_configs"][0]["metric_relabel_configs"]),
        kept(&monitor["spec"]["podMetricsEndpoints"][0]["metricRelabelings"]),
    ];
    assert_eq!(kept[0], kept[1], "with the operator and without");
    let kept = regex_lite::Regex::new(&format!("^(?:{})$", kept[0])).expect("an expression");
    let docs = text("docs/metrics.md");
    let names: BTreeSet<&str> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        let is_own = name.starts_with("jouleprint_job_") || name.starts_with("process_");
        assert_eq!(kept.is_match(name), is_own || name == "jouleprint_build_info", "{name}");
    }
}
