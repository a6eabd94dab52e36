//! Looks every ten seconds whether everything is installed, and puts back what is not; more often while
//! something is in the way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::place::Look;
use super::{InstallError, Installed, Phase, Place};
use crate::config::Config;

/// How often is looked: what somebody removed is back before a person has noticed (a guess).
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often is tried what failed: somebody waits for the node (a guess).
const TRY_EVERY: Duration = Duration::from_secs(2);

/// The control task's end.
#[derive(Debug)]
pub(crate) struct Supervised {
    phase: watch::Sender<Phase>,
    standing: watch::Receiver<Standing>,
    told: Option<Arc<str>>,
}

/// What the last look found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Standing {
    /// There was none yet.
    #[default]
    Unknown,
    /// This is installed.
    Installed(Installed),
    /// This is in the way.
    Obstacle(Arc<str>),
}

impl Supervised {
    /// Tells how far the daemon is.
    pub(crate) fn tell(&self, phase: Phase) {
        self.phase.send_if_modified(|told| {
            let is_new = *told != phase;
            *told = phase;
            is_new
        });
    }

    /// What is missing on the node for pods to be attached by Sotto.
    pub(crate) fn missing(&self) -> Option<String> {
        if self.standing.has_changed().is_err() {
            return Some(
                "the installation, which nobody looks after: restart the daemon".to_owned(),
            );
        }
        match &*self.standing.borrow() {
            Standing::Unknown => Some("the plugins".to_owned()),
            Standing::Installed(Installed::Plugins) => Some("the network configuration".to_owned()),
            Standing::Installed(Installed::Everything { .. }) => None,
            Standing::Obstacle(obstacle) => Some(format!("the installation: {obstacle}")),
        }
    }

    /// An obstacle that was not taken yet.
    pub(crate) fn take_obstacle(&mut self) -> Option<Arc<str>> {
        let obstacle = match &*self.standing.borrow() {
            Standing::Unknown | Standing::Installed(_) => None,
            Standing::Obstacle(obstacle) => Some(Arc::clone(obstacle)),
        };
        let is_new = obstacle != self.told;
        self.told.clone_from(&obstacle);
        obstacle.filter(|_| is_new)
    }
}

/// Starts looking, where the settings say that anything is to be installed.
pub(crate) fn supervise(config: &Config, tasks: &mut JoinSet<()>) -> Option<Supervised> {
    let place = Place::new(config.cni.clone()?, &config.runtime_directory);
    let (phase, phases) = watch::channel(Phase::default());
    let (standings, standing) = watch::channel(Standing::default());
    tasks.spawn(run(place, phases, standings));
    Some(Supervised {
        phase,
        standing,
        told: None,
    })
}

async fn run(
    mut place: Place,
    mut phases: watch::Receiver<Phase>,
    standings: watch::Sender<Standing>,
) {
    loop {
        let phase = *phases.borrow_and_update();
        let look = move || {
            let look = place.look(phase);
            (place, look)
        };
        let Ok((back, look)) = spawn_blocking(look).await else {
            // The daemon stops, or the look panicked, which the panic hook has told.
            return;
        };
        place = back;
        let found = say(look, &standings.borrow());
        let pause = match &found {
            Standing::Installed(_) => LOOK_EVERY,
            Standing::Unknown | Standing::Obstacle(_) => TRY_EVERY,
        };
        standings.send_replace(found);
        tokio::select! {
            () = sleep(pause) => {}
            changed = phases.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

/// What a look found, said where it is news.
fn say(look: Result<Look, InstallError>, last: &Standing) -> Standing {
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            let obstacle: Arc<str> = service_log::chain(&error).into();
            let found = Standing::Obstacle(Arc::clone(&obstacle));
            if found != *last {
                error!(%obstacle, "Sotto is not installed on this node, it is tried again");
            }
            return found;
        }
    };
    let is_repair = matches!(last, Standing::Installed(Installed::Everything { .. }));
    for file in &look.written {
        let file = file.display();
        if is_repair {
            warn!(%file, "Installed file was gone or altered and has been put back");
        } else {
            info!(%file, "File installed");
        }
    }
    let found = Standing::Installed(look.installed);
    if let Standing::Installed(Installed::Everything { ignored }) = &found
        && found != *last
    {
        info!("Sotto is installed, the runtime starts pods with it");
        if !ignored.is_empty() {
            warn!(
                ?ignored,
                "Network configurations of others sort after ours: should ours go, the runtime takes the first of them; move them out of the folder"
            );
        }
    }
    found
}
