//! `jouleprint check`: is the configuration right, and what does it amount to?

use crate::carbon;
use crate::config::flags::Flags;
use crate::config::{ConfigError, Settings, socket_addresses};
use crate::daemon::StartError;
use crate::http_client::bare;
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
    let factor = carbon::resolve(&settings.carbon, settings.pue)
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
