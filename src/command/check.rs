//! `jouleprint check`: is the configuration right, and what does it amount to?

use super::grid;
use crate::carbon;
use crate::config::flags::Flags;
use crate::config::{ConfigError, Settings, socket_addresses};
use crate::daemon::StartError;
use crate::http_client::bare;
use crate::job::grouping::Kind;
use crate::model::quantity::Pue;
use crate::output::access::Access;
use crate::output::otlp::Push;
use crate::output::otlp::attributes::Machine;

/// Prints what is in force.
///
/// # Errors
/// The first thing that is wrong.
pub fn run(flags: &Flags) -> Result<(), StartError> {
    let settings = Settings::load(flags)?;
    for address in &settings.listen {
        socket_addresses(address)?;
    }
    Access::load(settings.web_config.as_deref())?;
    grid::check(&settings)?;
    let factor = carbon::resolve(&settings.carbon, settings.pue.unwrap_or(Pue::ONE))
        .map_err(|error| ConfigError::Flag { name: "zone", message: error.to_string() })?;
    match &flags.config_file {
        Some(path) => println!("{} is valid", path.display()),
        None => println!("no configuration file: the defaults are in force"),
    }
    println!("host       {}", settings.host_label());
    println!(
        "grid       {}: {} g/kWh ({}, {} {})",
        factor.zone, factor.intensity, factor.basis, factor.source, factor.year
    );
    println!("pue        {}", factor.pue);
    println!("tick       {} s", settings.interval.as_seconds());
    println!("idle       {:?}", settings.idle);
    println!(
        "jobs       {:?}, {} rules, {} at most",
        settings.jobs.kinds,
        settings.jobs.rules.len(),
        settings.jobs.max
    );
    for line in names(&settings) {
        println!("names      {line}");
    }
    let kinds: Vec<String> = settings.grouping.kinds().iter().map(Kind::describe).collect();
    println!("groups     {}", kinds.join("; "));
    println!("listen     {}", settings.listen.join(", "));
    println!(
        "paths      {}, {}, {}",
        settings.procfs.display(),
        settings.sysfs.display(),
        settings.cgroupfs.display()
    );
    match &settings.store {
        Some(folder) => println!("store      {}", folder.display()),
        None => println!("store      none"),
    }
    match &settings.runtime {
        Some(folder) => println!("runtime    {}", folder.display()),
        None => println!("runtime    none"),
    }
    match &settings.otlp {
        Some(push) => {
            Push::open(push, &Machine::default(), Vec::new()).map_err(StartError::Push)?;
            println!(
                "push       {}: {}, {}, every {:?}",
                bare(&push.endpoint),
                push.transport.as_str(),
                push.temporality.as_str(),
                push.interval
            );
        }
        None => println!("push       none"),
    }
    Ok(())
}

/// Where names of jobs are looked for on this machine.
fn names(settings: &Settings) -> Vec<String> {
    let wishes = settings.jobs.names(&settings.grouping);
    let mut lines = Vec::new();
    let places = [("pods", &wishes.pod_logs), ("pods", &wishes.pod_resources)];
    lines.extend(
        places.iter().filter_map(|(what, place)| Some(format!("{what}: {}", place.as_ref()?.display()))),
    );
    lines.extend(wishes.kubelet.iter().map(|kubelet| {
        format!(
            "pods: {}/pods, token {}, labels {}",
            kubelet.url,
            kubelet.token.display(),
            kubelet.labels.join(" ")
        )
    }));
    lines.extend(wishes.containers.iter().map(|places| {
        let storage = places.storage.iter().chain(&places.runc).map(|place| place.display().to_string());
        let storage: Vec<String> = storage.collect();
        format!(
            "containers: {}, {}, {}",
            places.docker.display(),
            places.containerd.display(),
            storage.join(", ")
        )
    }));
    lines.extend(wishes.scontrol.iter().map(|slurm| {
        let cluster = slurm.cluster.as_deref().unwrap_or("without a name");
        format!("slurm: {} of cluster {cluster}", slurm.program.display())
    }));
    if wishes.environment {
        lines.push("slurm: the environment of the jobs' processes".to_owned());
    }
    let service = if wishes.users.asks_service { ", then the name service" } else { "" };
    lines.push(format!("users: {}{service}", wishes.users.passwd.display()));
    lines
}
