//! The API server as this program uses it: whole lists in pages, bounded, with each object that is
//! not of its kind's form put aside by name instead of spoiling the list.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cluster_client::{Access, Lenient, connect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, GetParams, ListParams};
use kube::core::{ApiResource, ObjectList, Request};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

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
pub(crate) trait Kind: Resource<DynamicType = ()> + DeserializeOwned {}
impl<K: Resource<DynamicType = ()> + DeserializeOwned> Kind for K {}

/// How much of an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Metadata,
}

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

    /// The cluster behind a client.
    #[cfg(test)]
    pub(crate) fn of(client: Client) -> Self {
        Self {
            client,
            namespace: crate::names::NAMESPACE.to_owned(),
        }
    }

    /// The client itself, for verbs that write.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Lists a kind in the whole cluster.
    ///
    /// # Errors
    /// When the API server does not answer, refuses, or has more than is sane.
    pub(crate) async fn list<K: Kind>(&self, parameters: ListParams) -> Result<Listed<K>> {
        let kind = ApiResource::erase::<K>(&());
        let mut listed = Listed {
            objects: Vec::new(),
            malformed: Vec::new(),
        };
        for object in self.all(&kind, Part::Whole, parameters).await? {
            let name = name(&object);
            match serde_json::from_value::<K>(object) {
                Ok(object) => listed.objects.push(object),
                Err(error) => listed.malformed.push((name, error.to_string())),
            }
        }
        Ok(listed)
    }

    /// The UIDs of all objects of a kind.
    ///
    /// # Errors
    /// As those of [`Cluster::list`].
    pub(crate) async fn uids(&self, kind: &ApiResource) -> Result<BTreeSet<String>> {
        let all = self.all(kind, Part::Metadata, ListParams::default());
        let uid = |object: &Value| Some(object.pointer("/metadata/uid")?.as_str()?.to_owned());
        Ok(all.await?.iter().filter_map(uid).collect())
    }

    async fn all(
        &self,
        kind: &ApiResource,
        part: Part,
        mut parameters: ListParams,
    ) -> Result<Vec<Value>> {
        let request = Request::new(DynamicObject::url_path(kind, None));
        let mut all = Vec::new();
        parameters = parameters.limit(PAGE);
        loop {
            let sent = match part {
                Part::Whole => request.list(&parameters),
                Part::Metadata => request.list_metadata(&parameters),
            };
            let sent = sent.map_err(kube::Error::BuildRequest)?;
            let page = self.client.request::<ObjectList<Lenient<Value>>>(sent);
            let page = patiently(&kind.plural, page).await?;
            all.extend(page.items.into_iter().filter_map(|object| object.0.ok()));
            if all.len() > MOST {
                bail!(
                    "list {}: there are more than {MOST}, somebody fills the cluster",
                    kind.plural
                );
            }
            match page.metadata.continue_ {
                Some(next) if !next.is_empty() => parameters = parameters.continue_token(&next),
                Some(_) | None => return Ok(all),
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
        let found = self.one(&kind, namespace, name, Part::Whole).await?;
        let read = |object| serde_json::from_value(object);
        let read = found.map(read).transpose();
        read.with_context(|| format!("read {} {name}", kind.plural))
    }

    /// Reads one object, without its status where that is not of its kind's form: then why.
    ///
    /// # Errors
    /// As those of [`Cluster::find`], if it is not the status.
    pub(crate) async fn find_readable<K: Kind>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<(K, Option<String>)>> {
        let kind = ApiResource::erase::<K>(&());
        let found = self.one(&kind, namespace, name, Part::Whole).await?;
        let Some(mut object) = found else {
            return Ok(None);
        };
        let error = match serde_json::from_value::<K>(object.clone()) {
            Ok(whole) => return Ok(Some((whole, None))),
            Err(error) => error,
        };
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        let read = serde_json::from_value(object);
        let read = read.map(|rest| Some((rest, Some(error.to_string()))));
        read.with_context(|| format!("read {} {name}", kind.plural))
    }

    /// Reads who and how old one object is, without its content. `None`: there is none.
    ///
    /// # Errors
    /// As those of [`Cluster::find`].
    pub(crate) async fn find_metadata(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<ObjectMeta>> {
        let found = self.one(kind, namespace, name, Part::Metadata).await?;
        let metadata = |mut object: Value| object.get_mut("metadata").map(Value::take);
        let read = |object| serde_json::from_value(metadata(object).unwrap_or_default());
        let read = found.map(read).transpose();
        read.with_context(|| format!("read {} {name}", kind.plural))
    }

    async fn one(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        part: Part,
    ) -> Result<Option<Value>> {
        let request = Request::new(DynamicObject::url_path(kind, namespace));
        let sent = match part {
            Part::Whole => request.get(name, &GetParams::default()),
            Part::Metadata => request.get_metadata(name, &GetParams::default()),
        };
        let sent = sent.map_err(kube::Error::BuildRequest)?;
        let found = async {
            match self.client.request::<Lenient<Value>>(sent).await {
                Ok(object) => Ok(object.0.ok()),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error),
            }
        };
        patiently(&format!("{} {name}", kind.plural), found).await
    }

    /// A kind by its name alone.
    pub(crate) fn dynamic(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
    ) -> Api<Lenient<DynamicObject>> {
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, kind),
            None => Api::all_with(self.client(), kind),
        }
    }
}

/// What an object calls itself, whatever else it is.
fn name(object: &Value) -> String {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
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
    in_time(what, request)
        .await?
        .map_err(|error| explain(what, error))
}

/// Waits for an answer of the API server, which may be a refusal, not for ever.
///
/// # Errors
/// When there is none.
pub(crate) async fn in_time<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<kube::Result<T>> {
    let answer = tokio::time::timeout(PATIENCE, request).await;
    answer.map_err(|_| {
        anyhow!(
            "ask for {what}: no answer in {} s; is this the right cluster, and does it run?",
            PATIENCE.as_secs()
        )
    })
}

/// What a refusal of the API server means.
pub(crate) fn explain(what: &str, error: kube::Error) -> anyhow::Error {
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

#[cfg(test)]
mod tests;
