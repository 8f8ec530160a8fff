//! Looking for the place again, while providers are asked for the place that is taken until then.

use super::{Found, Lookout, SETTLE, seek};
use crate::clock::Jitter;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Somebody who did not answer for hours is asked this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// One look at a time; it ends with this.
pub(super) struct Search {
    pause: Duration,
    jitter: Jitter,
    open: JoinSet<Found>,
}

impl Search {
    pub(super) fn new(pause: Duration) -> Search {
        Search { pause, jitter: Jitter::new("location"), open: JoinSet::new() }
    }

    /// Looks again after a pause, if that may come to something and is not under way.
    pub(super) fn begin(&mut self, lookout: &Lookout) {
        if !lookout.is_unsure() || !self.open.is_empty() {
            return;
        }
        let wish = lookout.setting().wishes.location.clone();
        let pause = self.pause + self.jitter.within(self.pause / 10);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.open.spawn(async move {
            sleep(pause).await;
            timeout(SETTLE, seek(&wish)).await.unwrap_or_else(|_| Found::too_late(SETTLE))
        });
    }

    /// What it came to; never, if nobody looks.
    pub(super) async fn ended(&mut self) -> Found {
        match self.open.join_next().await {
            Some(Ok(found)) => found,
            Some(Err(_)) | None => std::future::pending().await,
        }
    }
}
