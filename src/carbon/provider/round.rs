//! One round of questions to a provider, and what all providers have in common in it. What is heard of one part
//! stays when another part is refused, and the refusal is told beside it.

use super::asking::Site;
use super::slots::Gathering;
use super::{Ask, Heard, IntensityProvider, Offer, Refusal};
use crate::http_client::Client;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// What is a provider's own: its questions, and how their answers are read.
pub trait Questions: Send {
    /// What it has to say, as far as that is known before it is asked.
    fn offer(&self) -> Offer;

    /// What is asked, in words that stay the same as long as it does, if the user describes it. No secrets.
    fn described(&self, _site: &Site) -> Option<String> {
        None
    }

    /// Asks all that there is to be asked.
    ///
    /// # Errors
    /// One of its questions was refused, and those after it were not asked. What was heard before stays.
    fn hear(
        &mut self,
        client: &Client,
        heard: &mut Gathering<'_>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// A provider at its site.
pub struct Provider<Q> {
    site: Site,
    questions: Q,
    missed: Option<Refusal>,
}

impl<Q: Questions> Provider<Q> {
    /// Nobody is asked yet.
    #[must_use]
    pub const fn new(site: Site, questions: Q) -> Provider<Q> {
        Provider { site, questions, missed: None }
    }
}

impl<Q: Questions> IntensityProvider for Provider<Q> {
    fn source(&self) -> &'static str {
        self.site.source
    }

    fn zone(&self) -> &str {
        &self.site.zone
    }

    fn cadence(&self) -> Duration {
        self.site.cadence
    }

    fn offer(&self) -> Offer {
        self.questions.offer()
    }

    fn mark(&self) -> Option<String> {
        let described = self.questions.described(&self.site)?;
        // Half of the hash is enough to tell a handful apart.
        Some(format!("{:08x}", xxh3_64(described.as_bytes()) >> 32))
    }

    fn missed(&self) -> Option<&Refusal> {
        self.missed.as_ref()
    }

    fn fetch<'a>(&'a mut self, client: &'a Client, ask: Ask) -> Heard<'a> {
        Box::pin(async move {
            let mut heard = Gathering::new(&self.site, ask);
            if let Err(refusal) = self.questions.hear(client, &mut heard).await {
                heard.miss(refusal);
            }
            let missed = heard.missed().cloned();
            let outcome = heard.finish();
            self.missed = missed.filter(|_| outcome.is_ok());
            outcome
        })
    }
}
