//! The manners of a store towards its API server: each request is answered within a limit or has
//! failed; while the server asks for quiet nobody of this store asks anything; a watch that ends
//! at once is not started again at once.
//!
//! A watch that has gone silent is another matter: see `watches.rs`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_client::is_watch;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use kube::Client;
use kube::client::Body;
use tokio::time::{Instant, sleep_until, timeout};

use super::lock;

/// How long the head of an answer may take. Lists are read in small pages, so that none takes
/// longer (a guess: the API server itself gives up after 60 s, but a dead connection must be left
/// early enough to try a second one within a minute).
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How often a request is sent again because the server wants quiet (a guess: with pauses that
/// double it spans the longest rollout of a single server).
const RETRIES: u32 = 5;
/// The first pause when the server names none; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause that is granted to a server, so that a broken proxy cannot silence a node.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// Most pages of one list: more than twice what any shelf takes.
const MOST_PAGES: u32 = 1_000;
/// The least time between two starts of one watch (a guess: a fortieth of its usual life).
const WATCH_PACE: Duration = Duration::from_secs(1);

/// The API server did not answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
pub(super) struct NoAnswer(Duration);

/// The API server names another page, again and again.
#[derive(Debug, thiserror::Error)]
#[error("the list has more than {0} pages")]
struct Endless(u32);

/// What all requests of a store share.
#[derive(Debug, Default)]
struct Manners {
    quiet_until: Option<Instant>,
    next_watch: HashMap<String, Instant>,
    /// How many pages of a list were asked for, by its path.
    pages: HashMap<String, u32>,
}

/// The same client, with manners.
pub(super) fn patient(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let manners = Arc::<Mutex<Manners>>::default();
    let service = tower::service_fn(move |request| {
        let (client, manners) = (client.clone(), Arc::clone(&manners));
        async move { send(&client, &manners, request).await }
    });
    Client::new(service, namespace)
}

async fn send(
    client: &Client,
    manners: &Mutex<Manners>,
    request: Request<Body>,
) -> Result<Response<Body>, kube::Error> {
    let (parts, body) = request.into_parts();
    let mut pause = FIRST_PAUSE;
    if let Some(query) = parts.uri.query() {
        if is_watch(query) {
            await_turn(manners, parts.uri.path()).await;
        }
        count_page(manners, parts.uri.path(), query)?;
    }
    for _ in 0..RETRIES {
        let Some(copy) = body.try_clone() else {
            break;
        };
        await_quiet(manners).await;
        let response = ask(client, Request::from_parts(parts.clone(), copy)).await?;
        let Some(wanted) = quiet_wanted(&response, pause) else {
            return Ok(response);
        };
        keep_quiet(manners, wanted);
        pause *= 2;
    }
    await_quiet(manners).await;
    let response = ask(client, Request::from_parts(parts, body)).await?;
    if let Some(wanted) = quiet_wanted(&response, pause) {
        keep_quiet(manners, wanted);
    }
    Ok(response)
}

async fn ask(client: &Client, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
    match timeout(ANSWER_LIMIT, client.send(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(kube::Error::Service(Box::new(NoAnswer(ANSWER_LIMIT)))),
    }
}

/// Counts the pages of a list since its first.
fn count_page(manners: &Mutex<Manners>, path: &str, query: &str) -> Result<(), kube::Error> {
    let mut manners = lock(manners);
    if !query.split('&').any(|part| part.starts_with("continue=")) {
        manners.pages.remove(path);
        return Ok(());
    }
    let pages = manners.pages.entry(path.to_owned()).or_default();
    *pages += 1;
    if *pages > MOST_PAGES {
        return Err(kube::Error::Service(Box::new(Endless(MOST_PAGES))));
    }
    Ok(())
}

/// How long the server wants quiet: what it says, or `unless_said` if it is merely too busy.
fn quiet_wanted(response: &Response<Body>, unless_said: Duration) -> Option<Duration> {
    let status = response.status();
    let said = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    match said {
        Some(said) if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Some(said.min(LONGEST_PAUSE))
        }
        None if status == StatusCode::TOO_MANY_REQUESTS => Some(unless_said),
        Some(_) | None => None,
    }
}

/// Spread by up to half, so that nodes that were sent away together do not come back together.
fn keep_quiet(manners: &Mutex<Manners>, wanted: Duration) {
    let until = Instant::now() + wanted + chance_of(wanted / 2);
    let mut manners = lock(manners);
    manners.quiet_until = manners.quiet_until.max(Some(until));
}

/// A time between none and `most`, by chance. Nothing secret hangs on it.
pub(super) fn chance_of(most: Duration) -> Duration {
    let parts = RandomState::new().hash_one(0_u8) % 1024;
    most * u32::try_from(parts).unwrap_or_default() / 1024
}

async fn await_quiet(manners: &Mutex<Manners>) {
    loop {
        let until = lock(manners).quiet_until;
        match until {
            Some(until) if until > Instant::now() => sleep_until(until).await,
            Some(_) | None => return,
        }
    }
}

async fn await_turn(manners: &Mutex<Manners>, path: &str) {
    let now = Instant::now();
    let turn = {
        let mut manners = lock(manners);
        let next = manners.next_watch.entry(path.to_owned()).or_insert(now);
        let turn = (*next).max(now);
        *next = turn + WATCH_PACE;
        turn
    };
    sleep_until(turn).await;
}
