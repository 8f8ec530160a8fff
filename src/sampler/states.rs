//! What is said of each source beside its values: whether it can be read, since when, and why not.

use crate::model::gpu::Sight;
use crate::model::identity::Name;
use crate::model::reading::{Domain, Fault, Finding, Value};
use crate::model::snapshot::SourceState;
use crate::model::time::Moment;
use crate::source::Sources;
use std::collections::BTreeSet;

/// The states of all sources.
#[derive(Debug)]
pub(super) struct States {
    // One for each domain that is read, in its order.
    domains: Vec<SourceState>,
    others: Vec<SourceState>,
    // Sources that have told of troubles as a whole.
    troubled: BTreeSet<Name>,
}

impl States {
    /// As discovery found them.
    pub(super) fn new<'a>(domains: &[Domain], findings: impl Iterator<Item = &'a Finding>) -> States {
        let mut others: Vec<SourceState> = findings.map(of_finding).collect();
        let domains = domains.iter().map(|domain| take(&mut others, domain)).collect();
        States { domains, others, troubled: BTreeSet::new() }
    }

    /// Everything there is to say.
    pub(super) fn all(&self) -> impl Iterator<Item = &SourceState> {
        self.domains.iter().chain(&self.others)
    }

    /// Takes in what the meters gave. Returns all of them if there are more than before.
    pub(super) fn note_meters(
        &mut self,
        sources: &Sources,
        outcomes: &[Result<Value, Fault>],
        at: &Moment,
    ) -> Option<Vec<Domain>> {
        let known = self.domains.len();
        let domains = (outcomes.len() > known).then(|| sources.domains());
        for domain in domains.iter().flatten().skip(known) {
            let state = take(&mut self.others, domain);
            tracing::info!(source = &*domain.source, hw_id = &*domain.id, "found");
            self.domains.push(state);
        }
        for (state, outcome) in self.domains.iter_mut().zip(outcomes) {
            note(state, outcome.as_ref().err().copied(), at);
        }
        let mut troubled: BTreeSet<Name> = BTreeSet::new();
        for finding in sources.conditions() {
            troubled.insert(finding.source.clone());
            let is_it = |state: &SourceState| state.source == finding.source && state.hw_id == finding.hw_id;
            let place = self.others.iter().position(is_it).unwrap_or_else(|| {
                self.others.push(SourceState { errors: Vec::new(), ..of_finding(&finding) });
                self.others.len() - 1
            });
            let state = &mut self.others[place];
            state.detail.clone_from(&finding.detail);
            note(state, finding.fault, at);
        }
        // Of one that is well nothing is told.
        for source in self.troubled.difference(&troubled) {
            let is_it = |state: &&mut SourceState| state.source == *source && state.hw_id.is_empty();
            if let Some(state) = self.others.iter_mut().find(is_it) {
                state.detail = "".into();
                note(state, None, at);
            }
        }
        self.troubled = troubled;
        domains
    }

    /// That of a source that has no domains, or of one as a whole.
    pub(super) fn get_mut(&mut self, source: &str) -> Option<&mut SourceState> {
        self.others.iter_mut().find(|state| *state.source == *source)
    }
}

/// Accelerators as they were last seen.
pub(super) fn gpus(sources: &Sources) -> Vec<Sight> {
    sources.gpus().cloned().collect()
}

fn of_finding(finding: &Finding) -> SourceState {
    SourceState {
        source: finding.source.clone(),
        hw_id: finding.hw_id.clone(),
        fault: finding.fault,
        last_success: None,
        errors: finding.fault.map(|fault| (fault, 1)).into_iter().collect(),
        detail: finding.detail.clone(),
    }
}

/// The state of a domain, with what was found of it.
fn take(others: &mut Vec<SourceState>, domain: &Domain) -> SourceState {
    let is_it = |state: &SourceState| state.source == domain.source && state.hw_id == domain.id;
    let found = others.iter().find(|state| is_it(state)).cloned();
    others.retain(|state| !is_it(state));
    found.unwrap_or_else(|| SourceState {
        source: domain.source.clone(),
        hw_id: domain.id.clone(),
        fault: None,
        last_success: None,
        errors: Vec::new(),
        detail: "".into(),
    })
}

/// Books the outcome of a reading, with one line in the log for each change.
pub(super) fn note(state: &mut SourceState, fault: Option<Fault>, at: &Moment) {
    if state.fault != fault {
        match fault {
            Some(fault) => {
                tracing::warn!(source = &*state.source, hw_id = &*state.hw_id, "cannot be read: {fault}");
            }
            None => tracing::info!(source = &*state.source, hw_id = &*state.hw_id, "can be read again"),
        }
    }
    state.fault = fault;
    match fault {
        None => state.last_success = Some(at.wall),
        Some(fault) => match state.errors.iter_mut().find(|(known, _)| *known == fault) {
            Some((_, count)) => *count += 1,
            None => state.errors.push((fault, 1)),
        },
    }
}
