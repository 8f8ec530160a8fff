//! What is known of the electricity: who is asked on whose word, and where that is left for the sampler.

use super::keeping::Keeping;
use crate::carbon::kept;
use crate::carbon::poll::{self, Setting};
use crate::clock;
use crate::config::Settings;
use crate::model::grid::Grid;
use crate::sampler::wake::Wake;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Until it is known where the machine is, it is looked so often whether it is: for 30 s at the most.
const LOOK: Duration = Duration::from_millis(50);

/// Everything that has to do with the grid before it is asked about.
pub(super) struct GridDesk {
    /// Where what is known is left.
    pub(super) outlet: Arc<ArcSwapOption<Grid>>,
    wish: watch::Sender<Setting>,
    has_store: bool,
}

impl GridDesk {
    /// With what is known without asking anybody.
    pub(super) fn open(settings: &Settings, keeping: &Keeping) -> GridDesk {
        let has_store = matches!(keeping, Keeping::Store(..));
        let setting = setting(settings, has_store);
        let grid = poll::at_start(&setting, clock::now().wall).map(Arc::new);
        GridDesk { outlet: Arc::new(ArcSwapOption::new(grid)), wish: watch::channel(setting).0, has_store }
    }

    /// Asks until `stop`. Ticks that wait for a place are accounted for as soon as there is one.
    pub(super) fn asking(
        &self,
        stop: watch::Receiver<bool>,
        wake: Option<Arc<Wake>>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (wish, outlet) = (self.wish.subscribe(), Arc::clone(&self.outlet));
        async move {
            let settling = async {
                while outlet.load().is_none() {
                    tokio::time::sleep(LOOK).await;
                }
            };
            let asking = poll::run(wish, Arc::clone(&outlet), stop);
            tokio::pin!(asking);
            if outlet.load().is_none() {
                tokio::select! {
                    () = &mut asking => return,
                    () = settling => {}
                }
                if let Some(wake) = wake {
                    wake.ask(None);
                }
            }
            asking.await;
        }
    }

    /// Goes on by these settings. The same ones are a reason to look again too: a key's file may have been
    /// mended. Who answers is not asked oftener for it.
    pub(super) fn take_up(&self, settings: &Settings) {
        self.wish.send_replace(setting(settings, self.has_store));
    }
}

fn setting(settings: &Settings, has_store: bool) -> Setting {
    Setting {
        choice: settings.carbon.clone(),
        pue: settings.pue,
        wishes: settings.grid.clone(),
        kept: settings.store.as_ref().filter(|_| has_store).map(|folder| folder.join(kept::FILE)),
    }
}
