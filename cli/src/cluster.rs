//! The API server as this program uses it: whole lists in pages, bounded, with each object that is
//! not of its kind's form put aside by name instead of spoiling the list.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cluster_client::{Access, connect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;

use crate::arguments::Place;

/// Objects a page: with the largest NodeIdentity some 17 MB.
const PAGE: u32 = 500;
/// More than the largest cluster that Kubernetes supports (5 000 nodes) has of any of our kinds.
const MOST: usize = 20_000;
/// An API server that has not answered by then hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection with the rights of the kubeconfig's user.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    /// Where Sotto is installed.
    pub(crate) namespace: String,
}

/// A whole list.
#[derive(Debug)]
pub(crate) struct Listed<K> {
    /// What is of the kind's form.
    pub(crate) objects: Vec<K>,
    /// The names of what is not, with the reason.
    pub(crate) malformed: Vec<(String, String)>,
}

/// Something that was looked up, or why it could not be.
pub(crate) type Seen<T> = Result<T, String>;

/// What any kind must be to be read here.
pub(crate) trait Kind:
    Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug
{
}
impl<K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug> Kind for K {}

impl Cluster {
    /// Connects. Nothing is asked yet.
    ///
    /// # Errors
    /// When there is no usable kubeconfig.
    pub(crate) async fn connect(place: &Place) -> Result<Self> {
        let access = Access {
            kubeconfig: place.kubeconfig.clone().or_else(kubeconfig_variable),
            context: place.context.clone(),
        };
        let client = connect(&access).await.context(
            "connect to the cluster (for this machine's daemon, give --runtime-directory)",
        )?;
        Ok(Self {
            client,
            namespace: place.namespace.clone(),
        })
    }

    /// The client itself, for verbs that write.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Lists a kind in the whole cluster.
    ///
    /// # Errors
    /// When the API server does not answer, refuses, or has more than is sane.
    pub(crate) async fn list<K: Kind>(&self, mut parameters: ListParams) -> Result<Listed<K>> {
        let kind = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client(), &kind);
        let mut listed = Listed {
            objects: Vec::new(),
            malformed: Vec::new(),
        };
        parameters = parameters.limit(PAGE);
        loop {
            let page = patiently(&kind.plural, api.list(&parameters)).await?;
            for mut object in page.items {
                // As kubectl does: who wrote which field is of no interest to a reader.
                object.metadata.managed_fields = None;
                let name = object.metadata.name.clone().unwrap_or_default();
                match object.try_parse::<K>() {
                    Ok(object) => listed.objects.push(object),
                    Err(error) => listed.malformed.push((name, error.to_string())),
                }
            }
            if listed.objects.len() + listed.malformed.len() > MOST {
                bail!(
                    "list {}: there are more than {MOST}, somebody fills the cluster",
                    kind.plural
                );
            }
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters = parameters.continue_token(&next),
                Some(_) | None => return Ok(listed),
            }
        }
    }

    /// Reads one object, in a namespace or of the whole cluster. `None`: there is none.
    ///
    /// # Errors
    /// When the API server does not answer or refuses, or the object is not of its kind's form.
    pub(crate) async fn find<K: Kind>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<K>> {
        let kind = ApiResource::erase::<K>(&());
        let api = self.dynamic(&kind, namespace);
        let what = format!("{} {name}", kind.plural);
        let found = patiently(&what, api.get_opt(name)).await?;
        found
            .map(|mut object| {
                object.metadata.managed_fields = None;
                object
                    .try_parse::<K>()
                    .with_context(|| format!("read {what}"))
            })
            .transpose()
    }

    /// Reads who and how old one object is, without its content. `None`: there is none.
    ///
    /// # Errors
    /// When the API server does not answer or refuses.
    pub(crate) async fn find_metadata(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<ObjectMeta>> {
        let api = self.dynamic(kind, namespace);
        let what = format!("{} {name}", kind.plural);
        let found = patiently(&what, api.get_metadata_opt(name)).await?;
        Ok(found.map(|object| object.metadata))
    }

    /// A kind by its name alone.
    pub(crate) fn dynamic(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
    ) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, kind),
            None => Api::all_with(self.client(), kind),
        }
    }
}

/// $KUBECONFIG where it is one file; a list of files is left to the client.
fn kubeconfig_variable() -> Option<std::path::PathBuf> {
    let value = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty())?;
    let mut paths = std::env::split_paths(&value);
    let first = paths.next()?;
    paths.next().is_none().then_some(first)
}

/// Waits for an answer of the API server, not for ever, and says what its refusal means.
///
/// # Errors
/// As above.
pub(crate) async fn patiently<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(explain(what, error)),
        Err(_) => bail!(
            "ask for {what}: no answer in {} s; is this the right cluster, and does it run?",
            PATIENCE.as_secs()
        ),
    }
}

fn explain(what: &str, error: kube::Error) -> anyhow::Error {
    if let kube::Error::Api(status) = &error {
        let cure = match status.code {
            401 => "log in to the cluster anew",
            403 => "this user may not: ask an administrator, or take another --context",
            404 => "is Sotto installed? see `sotto install`",
            409 => "somebody changed it at the same time: try again",
            429 | 503 => "the API server is too busy: try again",
            _ => "the API server refused",
        };
        let message = if status.message.is_empty() {
            &status.reason
        } else {
            &status.message
        };
        return anyhow!("ask for {what}: {cure} ({message})");
    }
    anyhow::Error::new(error).context(format!(
        "ask for {what}: is the cluster of the kubeconfig reachable? (for this machine's daemon, give --runtime-directory)"
    ))
}

/// Keeps why something could not be looked up as one line.
pub(crate) fn seen<T>(result: Result<T>) -> Seen<T> {
    result.map_err(|error| format!("{error:#}"))
}
