use std::convert::Infallible;

use http::{Request, Response, StatusCode};
use kube::client::Body;

use super::*;

fn held(version: &str, seconds: u64) -> Seen {
    Seen {
        version: version.to_owned(),
        holder: "other".to_owned(),
        duration: Duration::from_secs(seconds),
    }
}

#[test]
fn cp05_a_lease_expires_only_when_it_stays_unchanged_on_our_own_clock() {
    let (mut judge, start) = (Judge::default(), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);

    assert!(
        !judge.is_free(&held("1", 15), start),
        "seen for the first time"
    );
    assert!(!judge.is_free(&held("1", 15), after(14)));
    assert!(!judge.is_free(&held("2", 15), after(16)), "it was renewed");
    assert!(!judge.is_free(&held("2", 15), after(30)));
    assert!(judge.is_free(&held("2", 15), after(31)));
}

#[test]
fn a_lease_that_was_given_back_is_free_at_once() {
    let given_back = Seen {
        holder: String::new(),
        ..held("1", 15)
    };

    assert!(Judge::default().is_free(&given_back, Instant::now()));
}

#[test]
fn a_lease_of_an_absurd_duration_keeps_nobody_out_for_long() {
    let duration = |seconds| {
        let spec = LeaseSpec {
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        };
        let spec = Some(spec);
        seen(&Lease {
            spec,
            ..Lease::default()
        })
        .duration
    };

    assert_eq!(duration(i32::MAX), LONGEST);
    assert_eq!((duration(0), duration(-1)), (PAUSE, DURATION));
}

#[tokio::test]
async fn who_leads_has_lost_when_nothing_renews_it() {
    let until = |seconds| Standing {
        leads_until: Some(Instant::now() + Duration::from_millis(seconds)),
        ..Standing::default()
    };
    let (sender, standing) = watch::channel(until(50));

    lost(standing.clone()).await;
    sender.send_replace(until(10_000));

    let waits = lost(standing);
    tokio::pin!(waits);
    assert!(futures_pending(&mut waits).await, "it leads again");
    sender.send_replace(Standing::default());
    waits.await;
}

async fn futures_pending(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    let soon = timeout(Duration::from_millis(1), future);
    soon.await.is_err()
}

#[test]
fn cp05_that_nobody_leads_is_noticed_after_a_minute_and_each_minute() {
    let (mut vacancy, start) = (Vacancy::default(), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);

    assert!(!vacancy.is_due(start) && !vacancy.is_due(after(59)));
    assert!(vacancy.is_due(after(60)));
    vacancy.note(false, after(60));
    assert!(vacancy.lasts && !vacancy.is_due(after(119)));
    assert!(vacancy.is_due(after(120)));
    vacancy.note(true, after(120));
    assert!(!vacancy.lasts && !vacancy.is_due(after(179)));
}

/// A campaign of Pod `one` in a namespace with a Pod of each of two accounts.
fn campaign(pod: Option<&str>) -> (Campaign, watch::Receiver<Standing>) {
    let service = tower::service_fn(|request: Request<Body>| async move {
        let name = request.uri().path().rsplit('/').next().unwrap();
        let account = match name {
            "one" | "two" => Some("sotto-controller"),
            "daemon" => Some("sotto-node"),
            _ => None,
        };
        let status = json!({"kind": "Status", "code": 404, "message": "no", "reason": "NotFound"});
        let pod = account.map(|account| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                "spec": {"serviceAccountName": account, "containers": []}})
        });
        let code = pod
            .as_ref()
            .map_or(StatusCode::NOT_FOUND, |_| StatusCode::OK);
        let body = serde_json::to_vec(&pod.unwrap_or(status)).unwrap();
        let response = Response::builder().status(code).body(Body::from(body));
        Ok::<_, Infallible>(response.unwrap())
    });
    let client = Client::new(service, "sotto-system");
    Campaign::new(&client, "sotto-system", pod.map(str::to_owned), 7)
}

#[tokio::test]
async fn cp05_whoever_writes_the_lease_and_is_no_controller_leaves_it_vacant() {
    let (mut campaign, standing) = campaign(Some("one"));
    for (holder, vacant) in [
        ("two_0000000000000008", false),
        ("mallory", true),
        ("gone_0000000000000008", true),
        ("daemon_0000000000000008", true),
        ("one_0000000000000008", true),
        ("../../secrets/sotto-root_8", true),
        ("two_0000000000000009", false),
    ] {
        holder.clone_into(&mut campaign.holder);
        campaign.vacancy.since = Instant::now().checked_sub(VACANT);

        campaign.look_for_leader().await;

        assert_eq!(standing.borrow().vacant, vacant, "{holder}");
    }
    "mallory".clone_into(&mut campaign.holder);
    campaign.vacancy.since = Instant::now().checked_sub(VACANT);
    campaign.stand(Some(Instant::now() + ACT));
    campaign.look_for_leader().await;
    assert!(!standing.borrow().vacant, "it leads itself");
}

#[tokio::test]
async fn controllers_that_are_no_pods_cannot_tell_who_leads() {
    let (mut campaign, standing) = campaign(None);
    campaign.vacancy.since = Instant::now().checked_sub(VACANT);

    campaign.look_for_leader().await;

    assert!(!standing.borrow().vacant);
}
