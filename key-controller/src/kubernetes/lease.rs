//! Which of several controllers leads, by a Lease. A lease counts as expired only when it stayed
//! unchanged for its duration on this machine's own clock; what its holder wrote of its clock is not
//! read. That two lead for a moment is harmless: the ledger is compared and swapped.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use node_identity::NodeName;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::{CONTROLLER, LEASE, is_conflict};

/// How long a lease is good for, the others' patience with a leader that is gone.
const DURATION: Duration = Duration::from_secs(15);

/// How long a leader acts on a renewal: well below [`DURATION`], for clocks that run differently.
const ACT: Duration = Duration::from_secs(10);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// How long one look may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The longest duration that is believed of a lease that somebody else wrote.
const LONGEST: Duration = Duration::from_secs(60);

/// How long nobody is seen to lead before it is looked who does (a guess: four leases long).
const VACANT: Duration = Duration::from_secs(60);

/// Longest part of a holder's name that is named.
const MOST_OF_HOLDER: usize = 128;

/// How this controller stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Until when it leads.
    pub(crate) leads_until: Option<Instant>,
    /// When the API last answered.
    pub(crate) answered: Option<Instant>,
    /// Neither it nor any other controller leads, and that has been so for a while.
    pub(crate) vacant: bool,
}

impl Standing {
    /// Whether it leads.
    pub(crate) fn leads(&self, now: Instant) -> bool {
        self.leads_until.is_some_and(|until| now < until)
    }
}

/// What is seen of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    version: String,
    holder: String,
    duration: Duration,
}

/// Judges whether a lease can be taken. Pure.
#[derive(Debug, Default)]
struct Judge {
    unchanged: Option<(String, Instant)>,
}

impl Judge {
    /// Whether nobody holds it, or its holder has been silent for its duration since it was seen
    /// first as it is.
    fn is_free(&mut self, seen: &Seen, now: Instant) -> bool {
        let since = match &self.unchanged {
            Some((version, since)) if *version == seen.version => *since,
            Some(_) | None => {
                self.unchanged = Some((seen.version.clone(), now));
                now
            }
        };
        seen.holder.is_empty() || now.duration_since(since) >= seen.duration
    }
}

/// Judges when it is to be looked who leads. Pure.
#[derive(Debug, Default)]
struct Vacancy {
    since: Option<Instant>,
    lasts: bool,
}

impl Vacancy {
    /// Whether nobody was seen to lead for too long.
    fn is_due(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        now.duration_since(since) >= VACANT
    }

    /// Notes whether somebody leads.
    fn note(&mut self, is_led: bool, now: Instant) {
        self.since = Some(now);
        self.lasts = !is_led;
    }
}

/// A controller that wants to lead.
pub(crate) struct Campaign {
    leases: Api<Lease>,
    pods: Api<Pod>,
    /// The Pod that it runs in.
    pod: Option<String>,
    name: String,
    /// Who held the lease when it was looked at last.
    holder: String,
    judge: Judge,
    vacancy: Vacancy,
    standing: watch::Sender<Standing>,
}

impl Campaign {
    /// Names the lease of a namespace. `tail` makes of the Pod's name one that no other controller
    /// has, and no earlier one in the same Pod.
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        pod: Option<String>,
        tail: u64,
    ) -> (Self, watch::Receiver<Standing>) {
        let (standing, seen) = watch::channel(Standing::default());
        let campaign = Self {
            leases: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            name: format!("{}_{tail:016x}", pod.as_deref().unwrap_or(CONTROLLER)),
            pod,
            holder: String::new(),
            judge: Judge::default(),
            vacancy: Vacancy::default(),
            standing,
        };
        (campaign, seen)
    }

    /// Takes and renews the lease until dropped.
    pub(crate) async fn run(&mut self) {
        loop {
            let started = Instant::now();
            match timeout(LIMIT, self.attempt(started)).await {
                Ok(Ok(holds)) => self.stand(holds.then(|| started + ACT)),
                Ok(Err(error)) => {
                    let error = service_log::chain(&error);
                    warn!(%error, "Lease not looked at, trying again");
                }
                Err(_) => warn!("Lease not looked at in time, trying again"),
            }
            self.look_for_leader().await;
            sleep(PAUSE).await;
        }
    }

    /// Gives the lease back, so that another controller need not wait.
    pub(crate) async fn resign(self) {
        if self.standing.borrow().leads_until.is_none() {
            return;
        }
        let given_back = timeout(LIMIT, async {
            let lease = self.leases.get(LEASE).await?;
            if holder(&lease) == self.name {
                self.write(lease, "").await?;
            }
            Ok::<_, kube::Error>(())
        });
        if let Ok(Err(error)) = given_back.await {
            let error = service_log::chain(&error);
            warn!(%error, "Lease not given back, the next leader waits for its end");
        }
    }

    fn stand(&self, leads_until: Option<Instant>) {
        let leads = leads_until.is_some();
        if leads != self.standing.borrow().leads_until.is_some() {
            info!(leads, name = self.name, "Leadership changed");
        }
        self.standing.send_modify(|standing| {
            standing.leads_until = leads_until;
            standing.answered = Some(Instant::now());
        });
    }

    /// Says each minute that no controller leads: whoever keeps writing the lease keeps all out.
    async fn look_for_leader(&mut self) {
        let now = Instant::now();
        if self.standing.borrow().leads(now) {
            self.vacancy.note(true, now);
        } else if self.vacancy.is_due(now) {
            // An API that does not answer was warned of, and says nothing about a leader.
            let Ok(Ok(is_led)) = timeout(LIMIT, self.is_led()).await else {
                return;
            };
            self.vacancy.note(is_led, now);
            if !is_led {
                let holder: String = self.holder.chars().take(MOST_OF_HOLDER).collect();
                error!(
                    ?holder,
                    lease = LEASE,
                    "No controller leads: the Lease is held by nobody who is one, and does not \
                     expire; who writes to it? Take update of leases in this namespace from them"
                );
            }
        }
        let vacant = self.vacancy.lasts;
        self.standing
            .send_if_modified(|standing| std::mem::replace(&mut standing.vacant, vacant) != vacant);
    }

    /// Whether the holder of the lease can be a controller: another Pod of theirs. Where controllers
    /// are no Pods that cannot be told.
    async fn is_led(&self) -> Result<bool, kube::Error> {
        let Some(own) = &self.pod else {
            return Ok(true);
        };
        let pod = self.holder.rsplit_once('_').map(|(pod, _)| pod);
        // Parsed, since it becomes part of a path.
        let pod: Option<NodeName> = pod.and_then(|pod| pod.parse().ok());
        let Some(pod) = pod.filter(|pod| pod.as_str() != own) else {
            return Ok(false);
        };
        let found = self.pods.get_opt(pod.as_str()).await?;
        let account = found.and_then(|pod| pod.spec?.service_account_name);
        Ok(account.as_deref() == Some(CONTROLLER))
    }

    /// Whether the lease is ours now.
    async fn attempt(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let lease = match self.leases.get_opt(LEASE).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return self.create().await,
            Err(kube::Error::SerdeError(error)) => {
                warn!(%error, "Lease cannot be read, it is made free: who writes to it?");
                return self.make_free().await;
            }
            Err(error) => return Err(error),
        };
        holder(&lease).clone_into(&mut self.holder);
        let is_ours = self.holder == self.name;
        if !is_ours && !self.judge.is_free(&seen(&lease), now) {
            return Ok(false);
        }
        let name = self.name.clone();
        self.write(lease, &name).await
    }

    /// Takes out what cannot be read, such as a time beyond the calendar. Nobody can renew a lease
    /// that nobody can read, so no leader loses anything by it.
    async fn make_free(&self) -> Result<bool, kube::Error> {
        let patch = json!({
            "metadata": { "managedFields": [{}] },
            "spec": { "holderIdentity": "", "acquireTime": null, "renewTime": null },
        });
        let patch = Patch::Merge(&patch);
        let parameters = PatchParams::default();
        self.leases.patch(LEASE, &parameters, &patch).await?;
        Ok(false)
    }

    async fn create(&self) -> Result<bool, kube::Error> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec::default()),
        };
        let lease = held_by(lease, &self.name);
        taken(self.leases.create(&PostParams::default(), &lease).await)
    }

    async fn write(&self, lease: Lease, holder: &str) -> Result<bool, kube::Error> {
        let lease = held_by(lease, holder);
        taken(
            self.leases
                .replace(LEASE, &PostParams::default(), &lease)
                .await,
        )
    }
}

/// Waits until the controller leads no more.
pub(crate) async fn lost(mut standing: watch::Receiver<Standing>) {
    loop {
        let until = standing.borrow_and_update().leads_until;
        let Some(until) = until.filter(|until| Instant::now() < *until) else {
            return;
        };
        tokio::select! {
            () = sleep_until(until.into()) => {}
            changed = standing.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

/// Whoever was faster has it.
fn taken(written: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn holder(lease: &Lease) -> &str {
    let holder = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref());
    holder.unwrap_or_default()
}

fn seen(lease: &Lease) -> Seen {
    let seconds = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: holder(lease).to_owned(),
        duration: seconds
            .map_or(DURATION, Duration::from_secs)
            .clamp(PAUSE, LONGEST),
    }
}

fn held_by(mut lease: Lease, name: &str) -> Lease {
    let is_new = holder(&lease) != name;
    let spec = lease.spec.get_or_insert_default();
    let now = MicroTime(Timestamp::now());
    if is_new {
        spec.acquire_time = Some(now.clone());
        let transitions = spec.lease_transitions.unwrap_or_default().max(0);
        spec.lease_transitions = Some(transitions.saturating_add(1));
    }
    spec.holder_identity = Some(name.to_owned());
    spec.lease_duration_seconds = Some(i32::try_from(DURATION.as_secs()).unwrap_or(i32::MAX));
    spec.renew_time = Some(now);
    lease
}

#[cfg(test)]
mod tests;
