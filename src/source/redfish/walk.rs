//! From the service's root to the resource that shows the node's power. What a BMC has differs from maker
//! to maker and from version to version, so it is looked for once, in order of preference, remembered, and
//! looked for again when it is gone.

use super::Trouble;
use super::session::Session;
use super::shape::{self, MAX_MEMBERS, Shown};
use serde_json::Value;

/// Where everything begins.
const ROOT: &str = "/redfish/v1/";

/// Pages of a collection.
const MAX_PAGES: usize = 4;

/// Power supplies of one chassis.
const MAX_SUPPLIES: usize = 16;

/// One chassis, and where its power is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chassis {
    /// Its name.
    pub name: String,
    way: Way,
}

/// Where power is shown, the best first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// EnvironmentMetrics.
    Environment(String),
    /// PowerSubsystem: the metrics of each supply.
    Supplies(Vec<String>),
    /// Power, older than the others.
    Control(String),
}

impl Chassis {
    /// The kind of resource, for people.
    #[must_use]
    pub const fn resource(&self) -> &'static str {
        match &self.way {
            Way::Environment(_) => "EnvironmentMetrics",
            Way::Supplies(_) => "PowerSubsystem",
            Way::Control(_) => "PowerControl",
        }
    }
}

/// The chassis that make the node: those that are `wanted`, else the only one that shows power.
///
/// # Errors
/// There is none, or there are several and nobody said which.
pub async fn find(session: &mut Session, wanted: &[String]) -> Result<Vec<Chassis>, Trouble> {
    let root = session.get(ROOT).await?;
    let collection = shape::link(&root, "Chassis").unwrap_or_else(|| format!("{ROOT}Chassis"));
    let (mut found, mut there) = (Vec::new(), Vec::new());
    for path in members(session, collection).await? {
        let chassis = match session.get(&path).await {
            Err(Trouble::Missing(_) | Trouble::Malformed(_)) => continue,
            chassis => chassis?,
        };
        let name = shape::name(&chassis, &path);
        there.push(name.clone());
        let is_wanted = wanted.is_empty() || wanted.contains(&name);
        if is_wanted && let Some(way) = way(session, &chassis).await? {
            found.push(Chassis { name, way });
        }
    }
    let there = there.join(", ");
    if let Some(missing) = wanted.iter().find(|name| !found.iter().any(|chassis| chassis.name == **name)) {
        return Err(Trouble::NoChassis { missing: missing.clone(), there });
    }
    if found.is_empty() {
        return Err(Trouble::NoPower { there });
    }
    if wanted.is_empty() && found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|chassis| chassis.name.as_str()).collect();
        return Err(Trouble::SeveralChassis { names: names.join(", ") });
    }
    Ok(found)
}

/// What a chassis shows now.
///
/// # Errors
/// It shows nothing, or the resource is gone.
pub async fn read(session: &mut Session, chassis: &Chassis) -> Result<Vec<Shown>, Trouble> {
    match &chassis.way {
        Way::Environment(path) => Ok(vec![shown(session, path, shape::environment).await?]),
        Way::Control(path) => Ok(vec![shown(session, path, shape::control).await?]),
        Way::Supplies(paths) => {
            let mut all = Vec::new();
            for path in paths {
                all.push(shown(session, path, shape::supply).await?);
            }
            Ok(all)
        }
    }
}

async fn shown(
    session: &mut Session,
    path: &str,
    shape: fn(&Value) -> Option<Shown>,
) -> Result<Shown, Trouble> {
    let resource = session.get(path).await?;
    shape(&resource).ok_or_else(|| Trouble::Malformed(path.to_owned()))
}

async fn members(session: &mut Session, collection: String) -> Result<Vec<String>, Trouble> {
    let mut all = Vec::new();
    let mut page = Some(collection);
    for _ in 0..MAX_PAGES {
        let Some(path) = page else { break };
        let (paths, more) = shape::members(&session.get(&path).await?);
        all.extend(paths);
        page = more;
    }
    all.truncate(MAX_MEMBERS);
    Ok(all)
}

/// The first way that shows power in this chassis.
async fn way(session: &mut Session, chassis: &Value) -> Result<Option<Way>, Trouble> {
    if let Some(path) = shape::link(chassis, "EnvironmentMetrics")
        && has_power(shown(session, &path, shape::environment).await)?
    {
        return Ok(Some(Way::Environment(path)));
    }
    if let Some(path) = shape::link(chassis, "PowerSubsystem")
        && let Some(paths) = passable(supplies(session, &path).await)?
        && !paths.is_empty()
    {
        return Ok(Some(Way::Supplies(paths)));
    }
    if let Some(path) = shape::link(chassis, "Power")
        && has_power(shown(session, &path, shape::control).await)?
    {
        return Ok(Some(Way::Control(path)));
    }
    Ok(None)
}

/// Whether a resource is there and shows power.
fn has_power(found: Result<Shown, Trouble>) -> Result<bool, Trouble> {
    Ok(passable(found)?.is_some_and(|shown| shown.watts > 0.0))
}

/// A resource that is broken is passed over for the next way; a BMC that is gone is another matter.
fn passable<T>(found: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Trouble::Missing(_) | Trouble::Malformed(_) | Trouble::Status(_)) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// The metrics of all power supplies: of all that are there, since a sum of some is no power.
async fn supplies(session: &mut Session, subsystem: &str) -> Result<Vec<String>, Trouble> {
    let subsystem = session.get(subsystem).await?;
    let Some(collection) = shape::link(&subsystem, "PowerSupplies") else { return Ok(Vec::new()) };
    let all = members(session, collection).await?;
    if all.len() > MAX_SUPPLIES {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for path in all {
        let supply = session.get(&path).await?;
        if shape::is_absent(&supply) {
            continue;
        }
        let Some(metrics) = shape::link(&supply, "Metrics") else { return Ok(Vec::new()) };
        shown(session, &metrics, shape::supply).await?;
        paths.push(metrics);
    }
    Ok(paths)
}
