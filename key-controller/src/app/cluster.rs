//! A controller in Kubernetes. It steps only while it leads and refuses to grant while the policies
//! around it do not stand; it never depends on the network that it makes possible.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster_api::names::ROOT_SECRET;
use cluster_client::{Access, connect};
use cluster_store::kubernetes::{ControllerScope, KubernetesStore};
use cluster_store::{ClusterStore, StoreChanges};
use kube::Client;
use rand_core::Rng;
use service_log::chain;
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};
use tracing::{error, info};

use super::pace::{Pace, RETRY_AFTER, Stepped};
use super::{Ended, check_against, now, random};
use crate::config::{InKubernetes, Settings};
use crate::http::{self, Source};
use crate::kubernetes::{Campaign, DAEMON, Policies, SecretLedger, Standing, lost, open_root};
use crate::ledger::{Ledger, LedgerHome};
use crate::reconcile::{Controller, Signing};
use crate::signer::Signer;
use crate::tally::Tally;

/// How often the policies are looked at: their loss is to be noticed within a minute.
const POLICIES_EVERY: Duration = Duration::from_secs(20);

/// How long that may take.
const POLICIES_LIMIT: Duration = Duration::from_secs(15);

/// How often it is said that they do not stand.
const ALARM_EVERY: Duration = Duration::from_secs(60);

pub(super) async fn serve(settings: Settings, home: &InKubernetes, mut ended: Ended) -> Result<()> {
    let access = Access {
        kubeconfig: home.kubeconfig.clone(),
        context: None,
    };
    let client = connect(&access).await?;
    let tally = Tally::default();
    let (mut campaign, standing) = Campaign::new(
        &client,
        &home.namespace,
        std::env::var("POD_NAME").ok(),
        random().next_u64(),
    );
    let source = Source {
        tally: tally.clone(),
        standing: Some(standing.clone()),
    };
    let pages = match settings.http_address {
        Some(address) => Some(loopback_http::open(address).await?),
        None => None,
    };
    let pages = async {
        match pages {
            Some(listener) => http::serve(listener, source).await,
            None => std::future::pending().await,
        }
    };
    let leading = async {
        let (signer, ledger) = open(&client, home, &settings).await?;
        let signing = watch::channel(Signing::Withheld);
        let policies = Policies::new(&client, &home.namespace);
        tokio::select! {
            () = campaign.run() => Ok(()),
            () = look_after(&policies, &signing.0, &tally) => Ok(()),
            led = lead(&client, home, settings, (signer, ledger), standing, signing.1, &tally) => led,
        }
    };
    let led = tokio::select! {
        led = leading => led,
        () = pages => Ok(()),
        () = ended.wait() => Ok(()),
    };
    campaign.resign().await;
    led
}

/// Reads root and ledger and checks that they belong together and to the settings. Waits for an API
/// server that does not answer; what is missing or damaged ends the controller.
async fn open(
    client: &Client,
    home: &InKubernetes,
    settings: &Settings,
) -> Result<(Signer, SecretLedger)> {
    let signer = match &home.root_directory {
        Some(folder) => Signer::open(folder)?,
        None => loop {
            match open_root(client, &home.namespace).await {
                Err(error) if error.may_pass() => retry(&error).await,
                opened => break opened?,
            }
        },
    };
    let root = signer.root();
    let empty = Ledger::empty(root.trust_domain().clone(), root.pin());
    let home_of_ledger = SecretLedger::new(client, &home.namespace, empty);
    let ledger = loop {
        let previous = home.previous_root;
        match home_of_ledger
            .take_over(root.pin(), previous, now()?, &mut random())
            .await
        {
            Err(error) if error.may_pass() => retry(&error).await,
            read => break read?,
        }
    };
    let secret = format!("Secret {ROOT_SECRET}");
    let place = home.root_directory.as_deref();
    let place = place.unwrap_or(Path::new(&secret));
    signer.check_is_of(place, &ledger.pin, &ledger.trust_domain)?;
    check_against(settings, &ledger)?;
    info!(pin = %ledger.pin, nodes = ledger.nodes.len(), "Controller started");
    Ok((signer, home_of_ledger))
}

async fn retry(error: &(dyn std::error::Error + 'static)) {
    error!(error = %chain(error), "Root or ledger not read, trying again");
    sleep(RETRY_AFTER).await;
}

/// Steps while it leads.
async fn lead(
    client: &Client,
    home: &InKubernetes,
    settings: Settings,
    (signer, ledger): (Signer, SecretLedger),
    mut standing: watch::Receiver<Standing>,
    mut policies: watch::Receiver<Signing>,
    tally: &Tally,
) -> Result<()> {
    let scope = ControllerScope {
        namespace: home.namespace.clone(),
        daemon_set: DAEMON.to_owned(),
        external_addresses: home.external_addresses,
    };
    let pins = [signer.root().pin()];
    let store = KubernetesStore::for_controller(client.clone(), scope, &pins);
    let mut changes = store.watch().context("watch the API server")?;
    let ledger = LedgerHome::Secret(Box::new(ledger));
    let mut controller = Controller::new(store, ledger, settings, signer, tally.clone());
    let mut pace = Pace::default();
    loop {
        let leads = |standing: &Standing| standing.leads(Instant::now());
        if standing.wait_for(leads).await.is_err() {
            return Ok(());
        }
        let signing = *policies.borrow_and_update();
        let stepped = tokio::select! {
            // A step that is left in the middle is a crash: the next leader takes it up.
            () = lost(standing.clone()) => continue,
            stepped = pace.step(&mut controller, signing, tally) => stepped?,
        };
        sleep(pace.pause(stepped)).await;
        if stepped == Stepped::Unfinished {
            continue;
        }
        tokio::select! {
            () = changes.changed() => {}
            _ = policies.changed() => {}
            () = Pace::until_asking(&controller) => {}
            () = lost(standing.clone()) => {}
        }
    }
}

/// Looks at the policies again and again and says when they do not stand.
async fn look_after(policies: &Policies, signing: &watch::Sender<Signing>, tally: &Tally) {
    let mut alarmed: Option<Instant> = None;
    let mut pace = interval(POLICIES_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let faults = match timeout(POLICIES_LIMIT, policies.check()).await {
            Ok(Ok(faults)) => faults.join("; "),
            Ok(Err(error)) => format!("not looked at: {}", chain(&error)),
            Err(_) => "not looked at in time".to_owned(),
        };
        let now = if faults.is_empty() {
            Signing::Allowed
        } else {
            Signing::Withheld
        };
        tally.change(|counts| counts.policies_missing = now == Signing::Withheld);
        signing.send_if_modified(|before| std::mem::replace(before, now) != now);
        if faults.is_empty() {
            if alarmed.take().is_some() {
                info!("Admission policies stand, requests are decided again");
            }
        } else if alarmed.is_none_or(|last| last.elapsed() >= ALARM_EVERY) {
            alarmed = Some(Instant::now());
            error!(
                faults,
                "Nothing is granted: an admission policy of Sotto's is missing or changed; who did \
                 that? Apply the manifest again"
            );
        }
    }
}
