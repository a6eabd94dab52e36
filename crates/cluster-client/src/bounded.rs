//! Answers of bounded size: whoever answers in the API server's place must not fill this program's
//! memory, nor keep it waiting for the rest of an answer that has begun.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use tokio::time::timeout;

/// Most bytes of one answer, or of what one watch brings in its life. The largest answer asked for is a
/// page of 50 objects of 1.5 MB, the most that etcd takes.
const MOST_BYTES: usize = 80 << 20;
/// How long an answer that has begun may take, a watch apart (a guess, as for its beginning).
const WHOLE_LIMIT: Duration = Duration::from_secs(30);

/// An answer without an end.
#[derive(Debug, thiserror::Error)]
enum Endless {
    #[error("the answer has more than {} MiB or breaks off", MOST_BYTES >> 20)]
    Bytes(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer is not complete after {0:?}")]
    Time(Duration),
}

/// The same client, with bounds.
pub(crate) fn bounded(client: Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request| {
        let client = client.clone();
        async move { send(&client, request).await }
    });
    Client::new(service, namespace)
}

async fn send(
    client: &Client,
    request: Request<Body>,
) -> Result<Response<Limited<Body>>, kube::Error> {
    let is_watch = request.uri().query().is_some_and(is_watch);
    let (parts, body) = client.send(request).await?.into_parts();
    let body = Limited::new(body, MOST_BYTES);
    if is_watch {
        return Ok(Response::from_parts(parts, body));
    }
    let whole = match timeout(WHOLE_LIMIT, body.collect()).await {
        Ok(Ok(whole)) => whole.to_bytes(),
        Ok(Err(error)) => return Err(kube::Error::Service(Box::new(Endless::Bytes(error)))),
        Err(_) => return Err(kube::Error::Service(Box::new(Endless::Time(WHOLE_LIMIT)))),
    };
    let body = Limited::new(Body::from(whole), MOST_BYTES);
    Ok(Response::from_parts(parts, body))
}

/// Whether a query asks for a watch.
pub fn is_watch(query: &str) -> bool {
    query.split('&').any(|part| part == "watch=true")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::ListParams;

    use super::*;

    /// A server whose every answer goes on and on.
    fn endless(pause: Duration) -> Client {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let megabyte = || http_body::Frame::data(vec![b' '; 1 << 20].into());
            let frames = futures_util::stream::unfold((), move |()| async move {
                tokio::time::sleep(pause).await;
                Some((Ok::<_, Infallible>(megabyte()), ()))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
        });
        bounded(Client::new(service, "default"))
    }

    async fn list(client: Client) -> String {
        let listed = Api::<ConfigMap>::default_namespaced(client);
        let error = listed.list(&ListParams::default()).await.unwrap_err();
        format!("{error:?}")
    }

    #[tokio::test]
    async fn an_answer_without_end_is_given_up() {
        assert!(list(endless(Duration::ZERO)).await.contains("Bytes"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_dribbles_is_given_up() {
        let slow = endless(Duration::from_secs(1));

        assert!(list(slow).await.contains("Time"));
    }
}
