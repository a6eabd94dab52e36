//! One task for each kind that is watched: it lists once, follows the changes, fills a [`Shelf`]
//! and wakes whoever waits. A change costs no list.
//!
//! When it breaks off, the watch goes on from where it was; when the server no longer knows that
//! place (410), or not yet (`versions.rs`), the kind is listed anew, with growing pauses; what was
//! listed stays until the new list is complete. A watch that falls silent without an end (a connection that swallows
//! everything) is noticed: the server is told to end each watch after [`WATCH_LIFE`], and 5 s
//! after an end that did not come the stream is dropped (kube's watcher does that). Then a new
//! connection has to answer within the limit of `patience.rs`: within a minute in all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cluster_client::Lenient;
use futures_util::StreamExt;
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use super::lock;
use super::patience::chance_of;
use super::shelf::{Found, Kept, Shelf};
use super::versions::Versions;
use crate::StoreChanges;
use crate::error::StoreError;
use crate::published::Refusal;

/// How long the server lets a watch run, in seconds as the API wants it. Bookmarks come each
/// minute at best, so a shorter silence says nothing.
const WATCH_LIFE: u32 = 40;
/// Objects of one page. The largest objects that etcd takes have 1.5 MB, so a page has at most
/// 75 MB for a moment, whoever wrote it.
pub(super) const PAGE: u32 = 50;
/// How long a reader waits for the first list (a guess: some 10 000 objects from a busy server).
const FIRST_LIST_LIMIT: Duration = Duration::from_secs(20);
/// The least time between two lists for what was left out (a guess: whoever floods the API can
/// cause one each time).
const LIST_PACE: Duration = Duration::from_secs(300);
/// The first pause after an error; it doubles up to the longest. (Guesses: a rolling restart of
/// the API server is over in 30 s.)
const FIRST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So long without an error, and the next pause is the first again. Longer than the longest, or
/// an error that comes back after each list would be met with short pauses.
const CALM: Duration = Duration::from_secs(120);
/// An error-free time of this length shows that a watch works, for one that brings nothing says nothing
/// (longer than an answer and the longest pause take together).
const PROVEN: Duration = Duration::from_secs(60);
/// A watch that has been broken for so long is not the API server's restart (a guess).
const STALE_AFTER: Duration = Duration::from_secs(180);
/// How long changes are gathered before somebody is woken (a guess: what nobody notices).
const GATHER: Duration = Duration::from_millis(100);

/// An object that can be watched.
pub(super) trait Object:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static
{
}

impl<T> Object for T where
    T: Resource<DynamicType = ()> + Clone + DeserializeOwned + fmt::Debug + Send + 'static
{
}

/// The watches of a store.
pub(super) struct Watches {
    pub(super) tasks: JoinSet<()>,
    /// Where they tell that something changed.
    pub(super) wake: watch::Sender<()>,
    versions: Versions,
}

impl Watches {
    /// None yet. Watches that are begun later are begun anew when this server goes back.
    pub(super) fn of(client: &kube::Client) -> Self {
        let (mut tasks, versions) = (JoinSet::new(), Versions::new());
        tasks.spawn(versions.clone().keep_looking(client.clone()));
        Self {
            tasks,
            wake: watch::Sender::new(()),
            versions,
        }
    }

    /// Begins to watch a kind. `shelf` is filled; `read` says what of an object is kept.
    pub(super) fn begin<T: Object, E: Kept>(
        &mut self,
        api: Api<T>,
        config: watcher::Config,
        shelf: Shelf<E>,
        read: fn(T) -> Found<E>,
    ) -> Arc<Watched<E>> {
        let watched = Arc::new(Watched {
            shelf: Mutex::new(shelf),
            is_complete: watch::Sender::new(false),
            trouble: Mutex::default(),
            limit: Instant::now() + FIRST_LIST_LIMIT,
        });
        let following = Following {
            watched: Arc::clone(&watched),
            wake: self.wake.clone(),
            versions: self.versions.clone(),
            read,
        };
        self.tasks.spawn(following.follow(api, config));
        watched
    }
}

/// What every watch asks for.
pub(super) fn watch_config() -> watcher::Config {
    watcher::Config::default()
        .timeout(WATCH_LIFE)
        .page_size(PAGE)
}

/// The objects of one kind, kept up to date.
#[derive(Debug)]
pub(super) struct Watched<E> {
    shelf: Mutex<Shelf<E>>,
    is_complete: watch::Sender<bool>,
    trouble: Mutex<Option<Trouble>>,
    limit: Instant,
}

/// A watch that does not work.
#[derive(Debug)]
struct Trouble {
    text: String,
    since: Instant,
}

impl<E: Kept> Watched<E> {
    /// The objects. Waits for the first list to be complete.
    ///
    /// # Errors
    /// [`StoreError::NotListed`] when it still is not, some time after the start.
    pub(super) async fn listed(&self) -> Result<MutexGuard<'_, Shelf<E>>, StoreError> {
        let mut complete = self.is_complete.subscribe();
        let limit = self.limit.max(Instant::now());
        let listed = timeout_at(limit, complete.wait_for(|complete| *complete)).await;
        match listed {
            Ok(Ok(_)) => Ok(self.shelf()),
            Ok(Err(_)) | Err(_) => Err(StoreError::NotListed {
                kind: E::KIND,
                waited: FIRST_LIST_LIMIT,
                cure: lock(&self.trouble).as_ref().map_or_else(
                    || "is the API server reachable?".to_owned(),
                    |trouble| trouble.text.clone(),
                ),
            }),
        }
    }

    /// The objects as far as they are known.
    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf<E>> {
        lock(&self.shelf)
    }

    pub(super) fn is_complete(&self) -> bool {
        *self.is_complete.borrow()
    }

    /// [`StoreError::Stale`] when the watch has been broken for long.
    pub(super) fn stale(&self) -> Option<StoreError> {
        let trouble = lock(&self.trouble);
        let trouble = trouble.as_ref()?;
        (trouble.since.elapsed() >= STALE_AFTER).then(|| StoreError::Stale {
            kind: E::KIND,
            cure: trouble.text.clone(),
        })
    }

    fn is_in_trouble(&self) -> bool {
        lock(&self.trouble).is_some()
    }

    fn trouble_begins(&self, error: &watcher::Error) {
        let text = error.to_string();
        let mut trouble = lock(&self.trouble);
        if let Some(known) = &mut *trouble {
            debug!(kind = E::KIND, %error, "Watch still broken");
            known.text = text;
        } else {
            warn!(kind = E::KIND, %error, "Watch broken, what was listed is kept");
            let since = Instant::now();
            *trouble = Some(Trouble { text, since });
        }
    }

    fn trouble_ends(&self) {
        if lock(&self.trouble).take().is_some() {
            info!(kind = E::KIND, "Watch works again");
        }
    }
}

/// The pauses after errors. Those of kube's streams begin anew with every event, even with the one
/// that says that a list begins, and so would let each error cause another list at once.
struct Pauses {
    next: Duration,
    last_error: Option<Instant>,
}

impl Pauses {
    const FIRST: Self = Self {
        next: FIRST_PAUSE,
        last_error: None,
    };

    /// How long to wait after an error: half of it for certain, the other half by chance, so that
    /// nodes that were thrown out together do not come back together.
    fn after_error(&mut self) -> Duration {
        let now = Instant::now();
        if self.last_error.is_none_or(|last| now - last >= CALM) {
            self.next = FIRST_PAUSE;
        }
        self.last_error = Some(now);
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        pause / 2 + chance_of(pause / 2)
    }
}

/// What one task works with.
struct Following<T, E> {
    watched: Arc<Watched<E>>,
    wake: watch::Sender<()>,
    versions: Versions,
    read: fn(T) -> Found<E>,
}

impl<T: Object, E: Kept> Following<T, E> {
    async fn follow(self, api: Api<T>, config: watcher::Config) {
        let mut gone_back = self.versions.gone_back();
        let mut pauses = Pauses::FIRST;
        loop {
            let mut events = std::pin::pin!(watcher(api.clone(), config.clone()));
            let next_list = Instant::now() + LIST_PACE;
            loop {
                let wants_list = self.watched.shelf().wants_list();
                let proven = pauses.last_error.map(|last| last + PROVEN);
                let event = tokio::select! {
                    event = events.next() => event,
                    () = sleep_until(next_list), if wants_list => None,
                    () = sleep_until(proven.unwrap_or(next_list)), if self.watched.is_in_trouble() => {
                        self.watched.trouble_ends();
                        continue;
                    }
                    _ = gone_back.changed() => None,
                };
                match event {
                    Some(Ok(event)) => {
                        if !matches!(event, watcher::Event::Init) {
                            self.watched.trouble_ends();
                        }
                        if self.take_in(event) {
                            self.wake.send_replace(());
                        }
                    }
                    Some(Err(error)) => {
                        self.watched.trouble_begins(&error);
                        sleep(pauses.after_error()).await;
                    }
                    None => break,
                }
            }
        }
    }

    /// Takes in what the watch brings; true if that changes anything.
    fn take_in(&self, event: watcher::Event<T>) -> bool {
        let mut shelf = self.watched.shelf();
        match event {
            watcher::Event::Init => {
                shelf.begin();
                false
            }
            watcher::Event::InitApply(object) | watcher::Event::Apply(object) => {
                self.versions.saw(&object);
                let name = object.name_any();
                shelf.put(&name, (self.read)(object))
            }
            watcher::Event::Delete(object) => {
                self.versions.saw(&object);
                shelf.remove(&object.name_any())
            }
            watcher::Event::InitDone => {
                let changed = shelf.complete();
                drop(shelf);
                !self.watched.is_complete.send_replace(true) || changed
            }
        }
    }
}

/// Reads an object that may be malformed.
pub(super) fn guarded<K, E>(object: Lenient<K>, read: impl FnOnce(K) -> Found<E>) -> Found<E> {
    match object.0 {
        Ok(object) => read(object),
        Err(_) => Found::refused(Refusal::Malformed),
    }
}

/// Changes of a [`KubernetesStore`](super::KubernetesStore).
pub struct KubernetesChanges {
    wakes: watch::Receiver<()>,
    /// Woken, and still gathering: a cancelled wait must not lose that.
    woken: bool,
    poll: Duration,
    /// The watches end with the last that needs them.
    _tasks: Arc<JoinSet<()>>,
}

impl KubernetesChanges {
    pub(super) fn new(wakes: watch::Receiver<()>, poll: Duration, tasks: Arc<JoinSet<()>>) -> Self {
        Self {
            wakes,
            woken: false,
            poll,
            _tasks: tasks,
        }
    }
}

impl StoreChanges for KubernetesChanges {
    async fn changed(&mut self) {
        if !self.woken {
            tokio::select! {
                told = self.wakes.changed() => if told.is_err() {
                    sleep(self.poll).await;
                    return;
                },
                () = sleep(self.poll) => return,
            }
            self.woken = true;
        }
        sleep(GATHER).await;
        self.wakes.mark_unchanged();
        self.woken = false;
    }
}

impl fmt::Debug for KubernetesChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesChanges").finish_non_exhaustive()
    }
}
