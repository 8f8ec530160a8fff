//! Which meters are counted. Meters contain one another: a node's stands around its processors, a
//! module's around its chip. Totals add the roots of one cut through that tree and jobs share its leaves;
//! every other meter is shown beside and never added. An estimate never runs inside a measured root.

use crate::model::identity::{HwType, Name, Origin};
use crate::model::reading::{Domain, Place};
use std::collections::BTreeSet;

/// What a meter stands around, as its source knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// What [`Domain::place`] says.
    Own,
    /// The same, and it is known inside which socket's module, if there are such: a GPU.
    OnSocket(u32),
    /// The whole machine.
    Node,
    /// The whole machine, at times: a root around what else is measured, and nothing to rely on alone.
    NodeAtTimes,
    /// One socket's module: processor, its rails, perhaps a GPU.
    Module,
    /// Processors or memory that another source may measure as well: used only where no better one does.
    Spare,
}

/// Chooses the cut among domains in order of preference: the first meter of the node is the root, else
/// the modules are; a spare is counted where its kind of hardware has no meter of its own.
pub fn choose(domains: &mut [(Domain, Scope)]) {
    let is_counted = |domain: &Domain| domain.place == Place::Counted && domain.origin == Origin::Measured;
    for index in 0..domains.len() {
        if domains[index].1 == Scope::Spare {
            let spare = &domains[index].0;
            let has_better = domains.iter().enumerate().any(|(place, (other, scope))| {
                let is_better = match scope {
                    Scope::Own | Scope::OnSocket(_) => true,
                    Scope::Spare => place < index && other.source != spare.source,
                    Scope::Node | Scope::NodeAtTimes | Scope::Module => false,
                };
                is_better && is_counted(other) && other.hw_type == spare.hw_type
            });
            domains[index].0.place = if has_better { Place::Beside } else { Place::Counted };
        }
    }
    let modules: BTreeSet<Option<u32>> = domains
        .iter()
        .filter(|(_, scope)| *scope == Scope::Module)
        .map(|(domain, _)| domain.socket)
        .collect();
    let is_leaf = |domain: &Domain, scope: &Scope| {
        matches!(scope, Scope::Own | Scope::OnSocket(_) | Scope::Spare) && is_counted(domain)
    };
    let socket = |domain: &Domain, scope: &Scope| match scope {
        Scope::OnSocket(socket) => Some(*socket),
        // A GPU is in the only module that there is.
        _ if domain.hw_type == HwType::Gpu && modules.len() == 1 => *modules.first()?,
        _ => domain.socket,
    };
    let leaves: Vec<(Name, Option<u32>)> = domains
        .iter()
        .filter(|(domain, scope)| is_leaf(domain, scope))
        .map(|(domain, scope)| (domain.id.clone(), socket(domain, scope)))
        .collect();
    // In one of several modules, and it is not known in which: none of them can be counted around it.
    let is_astray = domains.iter().any(|(domain, scope)| {
        is_leaf(domain, scope) && domain.hw_type == HwType::Gpu && socket(domain, scope).is_none()
    });
    let is_astray = is_astray && modules.len() > 1;
    let mut node: Option<Name> = None;
    for (domain, scope) in domains.iter_mut() {
        let is_alone = leaves.is_empty();
        if *scope == Scope::NodeAtTimes && (is_alone || node.is_some()) {
            domain.place = Place::Beside;
        } else if matches!(scope, Scope::Node | Scope::NodeAtTimes) {
            domain.place = match node {
                Some(_) => Place::Beside,
                None => around(leaves.iter().map(|(id, _)| id)),
            };
            node.get_or_insert_with(|| domain.id.clone());
        }
    }
    let mut taken: BTreeSet<Option<u32>> = BTreeSet::new();
    for (domain, scope) in domains.iter_mut() {
        if *scope == Scope::Module {
            let own = leaves.iter().filter(|(_, socket)| *socket == domain.socket).map(|(id, _)| id);
            domain.place = match &node {
                Some(node) => Place::Inside(node.clone()),
                // Two meters of one module: the first is counted.
                None if is_astray || !taken.insert(domain.socket) => Place::Beside,
                None => around(own),
            };
        }
    }
}

/// Adds a meter that has come later. What is counted stays so, for jobs have been charged with it: a root stands
/// around the new one too, and what is measured whole contains it.
pub fn join(domains: &mut Vec<Domain>, (mut new, scope): (Domain, Scope)) {
    let is_leaf =
        matches!(scope, Scope::Own | Scope::OnSocket(_) | Scope::Spare) && new.place == Place::Counted;
    match around_late(domains, &new, &scope) {
        _ if !is_leaf => new.place = Place::Beside,
        Around::Nothing => {}
        Around::One(index) => match &mut domains[index].place {
            Place::Around(parts) => parts.push(new.id.clone()),
            Place::Counted | Place::Inside(_) | Place::Beside => {
                new.place = Place::Inside(domains[index].id.clone());
            }
        },
        Around::SomeOfSeveral => new.place = Place::Beside,
    }
    domains.push(new);
}

/// What is counted around a meter that comes late.
enum Around {
    Nothing,
    One(usize),
    SomeOfSeveral,
}

fn around_late(domains: &[Domain], new: &Domain, scope: &Scope) -> Around {
    let is_counted = |domain: &Domain| {
        domain.hw_type == HwType::Other && domain.origin == Origin::Measured && domain.is_leaf()
    };
    let roots = domains.iter().enumerate().filter(|(_, domain)| is_counted(domain));
    let (nodes, modules): (Vec<_>, Vec<_>) = roots.partition(|(_, domain)| domain.socket.is_none());
    if let Some((index, _)) = nodes.first() {
        return Around::One(*index);
    }
    let own = modules.iter().find(|(_, module)| match scope {
        Scope::OnSocket(socket) => module.socket == Some(*socket),
        _ => modules.len() == 1,
    });
    match own {
        _ if new.hw_type != HwType::Gpu || modules.is_empty() => Around::Nothing,
        Some((index, _)) => Around::One(*index),
        None => Around::SomeOfSeveral,
    }
}

/// Around something it is a root; alone it is all there is, and jobs share it.
fn around<'a>(parts: impl Iterator<Item = &'a Name>) -> Place {
    let parts: Vec<Name> = parts.cloned().collect();
    if parts.is_empty() { Place::Counted } else { Place::Around(parts) }
}

/// Whether this kind of hardware is inside something measured, so that nothing is to be estimated for it.
#[must_use]
pub fn covers(domains: &[Domain], hw_type: HwType) -> bool {
    domains.iter().any(|domain| {
        let is_of_kind = match &domain.place {
            // A meter of the platform covers processors and memory both.
            Place::Counted => domain.hw_type == hw_type || domain.hw_type == HwType::Other,
            Place::Around(_) => true,
            Place::Inside(_) | Place::Beside => false,
        };
        domain.origin == Origin::Measured && is_of_kind
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::MicroWatts;
    use crate::model::reading::Measurement;

    /// `source id hw_type socket scope`, a line each; gives `id place`.
    fn check(meters: &str, expected: &str) {
        let mut domains: Vec<(Domain, Scope)> = meters.split(", ").map(domain).collect();
        choose(&mut domains);
        let domains: Vec<Domain> = domains.into_iter().map(|(domain, _)| domain).collect();
        assert_eq!(places(&domains), expected, "{meters}");
    }

    fn places(domains: &[Domain]) -> String {
        let place = |domain: &Domain| match &domain.place {
            Place::Counted => format!("{} counted", domain.id),
            Place::Inside(parent) => format!("{} in {parent}", domain.id),
            Place::Beside => format!("{} beside", domain.id),
            Place::Around(parts) => format!("{} around {}", domain.id, parts.join("+")),
        };
        domains.iter().map(place).collect::<Vec<_>>().join(", ")
    }

    fn domain(text: &str) -> (Domain, Scope) {
        let words: Vec<&str> = text.split(' ').collect();
        let scope = match words[3] {
            "on" => Scope::OnSocket(words[4].parse().expect("a socket")),
            "own" => Scope::Own,
            "node" => Scope::Node,
            "module" => Scope::Module,
            "spare" => Scope::Spare,
            "times" => Scope::NodeAtTimes,
            other => panic!("{other}"),
        };
        let domain = Domain {
            id: words[1].into(),
            hw_type: match words[2] {
                "cpu" => HwType::Cpu,
                "memory" => HwType::Memory,
                "gpu" => HwType::Gpu,
                _ => HwType::Other,
            },
            origin: Origin::Measured,
            gpu: "".into(),
            source: words[0].into(),
            place: Place::Counted,
            socket: words.get(4).filter(|_| words[3] != "on").and_then(|socket| socket.parse().ok()),
            measurement: Measurement::MeanPower { ceiling: MicroWatts::from_watts(1) },
            floor: None,
            uncertainty_ppm: 0,
        };
        (domain, scope)
    }

    #[test]
    fn cuts() {
        for (meters, expected) in [
            ("rapl p0 cpu own 0, rapl d0 memory own 0", "p0 counted, d0 counted"),
            ("rapl p0 cpu own 0, ipmi bmc other node", "p0 counted, bmc around p0"),
            (
                "rapl p0 cpu own 0, redfish a other node, ipmi b other node",
                "p0 counted, a around p0, b beside",
            ),
            ("ipmi bmc other node", "bmc counted"),
            // Grace: a module around each chip.
            (
                "hwmon c0 cpu own 0, hwmon c1 cpu own 1, hwmon m0 other module 0, hwmon m1 other module 1",
                "c0 counted, c1 counted, m0 around c0, m1 around c1",
            ),
            (
                "hwmon c0 cpu own 0, hwmon m0 other module 0, ipmi bmc other node",
                "c0 counted, m0 in bmc, bmc around c0",
            ),
            ("hwmon m0 other module 0", "m0 counted"),
            // Grace Hopper: its GPU is in the module, whether or not it is known where.
            (
                "nvml g gpu own, hwmon c0 cpu own 0, hwmon m0 other module 0",
                "g counted, c0 counted, m0 around g+c0",
            ),
            (
                "nvml g0 gpu on 0, nvml g1 gpu on 1, hwmon c0 cpu own 0, hwmon m0 other module 0, \
                 hwmon m1 other module 1",
                "g0 counted, g1 counted, c0 counted, m0 around g0+c0, m1 around g1",
            ),
            (
                "nvml g0 gpu own, hwmon c0 cpu own 0, hwmon m0 other module 0, hwmon m1 other module 1",
                "g0 counted, c0 counted, m0 beside, m1 beside",
            ),
            // The driver's own meter of the module, and the kernel's.
            (
                "nvml g gpu module 0, hwmon c0 cpu own 0, hwmon m0 other module 0",
                "g around c0, c0 counted, m0 beside",
            ),
            // A GPU in a slot is in no module, and not in the processor.
            ("nvml g gpu on 0, rapl p0 cpu own 0", "g counted, p0 counted"),
            ("nvml g gpu own, pm a gpu spare, pm node other node", "g counted, a beside, node around g"),
            ("hwmon m0 other module 0, ipmi bmc other node", "m0 in bmc, bmc counted"),
            // Cray: its own readings of processors and memory fill what RAPL leaves open.
            (
                "rapl p0 cpu own 0, pm node other node, pm c cpu spare, pm m memory spare",
                "p0 counted, node around p0+m, c beside, m counted",
            ),
            (
                "pm node other node, pm c cpu spare, pm m memory spare",
                "node around c+m, c counted, m counted",
            ),
            ("rapl p0 cpu own 0, battery b other times", "p0 counted, b around p0"),
            ("battery b other times", "b beside"),
            ("hwmon s cpu spare, pm c cpu spare", "s counted, c beside"),
            ("hwmon s cpu spare, hwmon t cpu spare", "s counted, t counted"),
        ] {
            check(meters, expected);
        }
    }

    #[test]
    fn what_comes_later_joins_what_is_counted() {
        for (meters, late, expected) in [
            ("rapl p0 cpu own 0", "nvml g0 gpu own", "p0 counted, g0 counted"),
            (
                "rapl p0 cpu own 0, ipmi bmc other node",
                "nvml g0 gpu own",
                "p0 counted, bmc around p0+g0, g0 counted",
            ),
            (
                "hwmon c0 cpu own 0, hwmon m0 other module 0",
                "nvml g0 gpu own",
                "c0 counted, m0 around c0+g0, g0 counted",
            ),
            (
                "hwmon c0 cpu own 0, hwmon c1 cpu own 1, hwmon m0 other module 0, hwmon m1 other module 1",
                "nvml g0 gpu own",
                "c0 counted, c1 counted, m0 around c0, m1 around c1, g0 beside",
            ),
            // It has been charged whole, and goes on so.
            ("ipmi bmc other node", "nvml g0 gpu own", "bmc counted, g0 in bmc"),
            ("rapl p0 cpu own 0", "ipmi bmc other node", "p0 counted, bmc beside"),
        ] {
            let mut domains: Vec<(Domain, Scope)> = meters.split(", ").map(domain).collect();
            choose(&mut domains);
            let mut domains: Vec<Domain> = domains.into_iter().map(|(domain, _)| domain).collect();
            join(&mut domains, domain(late));
            assert_eq!(places(&domains), expected, "{meters}, then {late}");
        }
    }

    #[test]
    fn nothing_is_estimated_inside_what_is_measured() {
        let places = |meters: &str| -> Vec<Domain> {
            let mut domains: Vec<(Domain, Scope)> = meters.split(", ").map(domain).collect();
            choose(&mut domains);
            domains.into_iter().map(|(domain, _)| domain).collect()
        };
        for (meters, cpu, memory) in [
            ("rapl p0 cpu own 0", true, false),
            ("rapl p0 cpu own 0, ipmi bmc other node", true, true),
            ("ipmi bmc other node", true, true),
            ("hwmon d0 memory own 0", false, true),
        ] {
            let domains = places(meters);
            assert_eq!((covers(&domains, HwType::Cpu), covers(&domains, HwType::Memory)), (cpu, memory));
        }
    }
}
