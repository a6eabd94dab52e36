//! [`Lenient`]. The API server takes a time of the year 10000 in `metadata.managedFields` of any
//! object, and in a kind without a schema whatever nests a hundred deep; neither can be read as what
//! it should be.
//! So who wrote which field is passed over unread, and so is what lies too deep, and what is too many.

use std::borrow::Cow;
use std::fmt;

use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess,
    SeqAccess, Visitor,
};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// How deep is read (a guess: a Pod, the deepest kind that is read, has a dozen levels). The JSON
/// reader itself gives up at 128.
const DEPTH: u8 = 32;

/// Most elements of a list or map that are read (a guess: a node of the largest kind has some hundred
/// annotations). Anybody can write a quarter of a million finalizers, which would take ten times their
/// text in memory.
const BREADTH: usize = 1_024;

/// Who wrote which field and when; large, deep, and of no use here.
const PASSED_OVER: &str = "managedFields";

/// An object as anybody may have written it, or as much of its metadata as tells which one it is.
/// Reading one never fails, so that one that is malformed takes no list and no watch with it: use
/// `Api<Lenient<K>>` for `Api<K>`. Its `managedFields` are not read. It is written as the object that
/// it is; one that could not be read cannot be written.
#[derive(Debug, Clone)]
pub struct Lenient<K>(pub Result<K, ObjectMeta>);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Lenient<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Shallow::ROOT.deserialize(deserializer)?;
        let which = which(&object);
        Ok(Self(serde_json::from_value(object).map_err(|_| which)))
    }
}

impl<K: Serialize> Serialize for Lenient<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(object) => object.serialize(serializer),
            Err(_) => Err(S::Error::custom("it could not be read")),
        }
    }
}

/// What is needed to name an object, and to remove it.
fn which(object: &Value) -> ObjectMeta {
    let text = |field: &str| {
        let found = object.get("metadata")?.get(field)?;
        found.as_str().map(str::to_owned)
    };
    let finalizers = object.pointer("/metadata/finalizers");
    let finalizers = finalizers.and_then(Value::as_array);
    ObjectMeta {
        name: text("name"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        finalizers: finalizers.map(|all| {
            let texts = all.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        }),
        ..ObjectMeta::default()
    }
}

impl<K: Resource> Resource for Lenient<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &K::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &K::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &K::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn plural(kind: &K::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|meta| meta, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|meta| meta, K::meta_mut)
    }
}

/// A value of so many levels; what lies deeper is read as nothing.
struct Shallow {
    levels: u8,
    is_metadata: bool,
}

impl Shallow {
    const ROOT: Self = Self {
        levels: DEPTH,
        is_metadata: false,
    };

    /// What lies in it under this name.
    fn below(&self, name: &str) -> Self {
        Self {
            levels: self.levels - 1,
            is_metadata: self.levels == DEPTH && name == "metadata",
        }
    }
}

impl<'de> DeserializeSeed<'de> for Shallow {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.levels == 0 {
            IgnoredAny::deserialize(deserializer)?;
            return Ok(Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shallow {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while all.len() < BREADTH
            && let Some(item) = items.next_element_seed(self.below(""))?
        {
            all.push(item);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while all.len() < BREADTH
            && let Some(name) = fields.next_key::<String>()?
        {
            if self.is_metadata && name == PASSED_OVER {
                fields.next_value::<IgnoredAny>()?;
            } else {
                let value = fields.next_value_seed(self.below(&name))?;
                all.insert(name, value);
            }
        }
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::ResourceExt;
    use kube::core::ObjectList;

    use super::*;

    /// A list with this object between two that are well.
    fn listed(object: &str) -> Vec<Lenient<ConfigMap>> {
        let well = |name: &str| {
            format!(r#"{{"metadata": {{"name": "{name}"}}, "data": {{"key": "{name}"}}}}"#)
        };
        let text = format!(
            r#"{{"kind": "List", "apiVersion": "v1", "metadata": {{}}, "items": [{}, {object}, {}]}}"#,
            well("one"),
            well("two")
        );
        let list: ObjectList<Lenient<ConfigMap>> = serde_json::from_str(&text).unwrap();
        list.items
    }

    #[test]
    fn aw08_a_time_beyond_the_calendar_takes_no_list_with_it() {
        let object = r#"{"metadata": {"name": "late", "managedFields": [{"time": "10000-01-01T00:00:00Z"}]},
            "data": {"key": "late"}}"#;

        let found = listed(object);

        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|object| object.0.is_ok()));
        assert!(found[1].managed_fields().is_empty());
    }

    #[test]
    fn what_is_read_is_written_as_it_was() {
        let object = r#"{"metadata": {"name": "a", "labels": {"managedFields": "kept"}},
            "data": {"managedFields": "kept"}}"#;
        let [_, read, _] = &listed(object)[..] else {
            panic!("three are listed");
        };

        let written = serde_json::to_value(read).unwrap();

        assert_eq!(written["metadata"]["labels"]["managedFields"], "kept");
        assert_eq!(written["data"]["managedFields"], "kept");
        let unread = listed(r#"{"metadata": {"name": "a"}, "data": []}"#);
        assert!(serde_json::to_value(&unread[1]).is_err());
    }

    #[test]
    fn aw08_what_nests_without_end_takes_no_list_with_it() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let fields = format!(r#""managedFields": [{{"fieldsV1": {deep}}}]"#);
        for object in [
            format!(r#"{{"metadata": {{"name": "deep"}}, "data": {deep}}}"#),
            format!(r#"{{"metadata": {{"name": "deep", {fields}}}, "data": []}}"#),
            format!(r#"{{"metadata": {{"name": "deep", "labels": {deep}}}, "data": {{}}}}"#),
        ] {
            let found = listed(&object);

            assert_eq!(found.len(), 3);
            assert!(found[1].0.is_err());
            assert_eq!(found[1].name_any(), "deep");
        }
    }

    #[test]
    fn aw08_a_malformed_object_still_says_which_one_it_is() {
        let object = r#"{"metadata": {"name": "bad", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "10000-01-01T00:00:00Z", "finalizers": ["held.example/up", 7]}}"#;

        let found = listed(object).swap_remove(1);

        assert!(found.0.is_err());
        assert_eq!(found.uid().as_deref(), Some("u"));
        assert_eq!(found.resource_version().as_deref(), Some("7"));
        assert_eq!(found.finalizers(), ["held.example/up"]);
    }

    #[test]
    fn of_a_quarter_of_a_million_finalizers_a_thousand_are_read() {
        let finalizers = vec!["a/a"; 230_000];
        let labels: Map<String, Value> = (0..5_000)
            .map(|number| (format!("label{number}"), Value::Null))
            .collect();
        let object = serde_json::json!({
            "metadata": { "name": "fat", "finalizers": finalizers, "annotations": labels },
            "data": { "key": "read" },
        });

        let Lenient(read) =
            serde_json::from_str::<Lenient<ConfigMap>>(&object.to_string()).unwrap();

        // Annotations have texts, so this one is not of its kind; which one it is, is known.
        let which = read.unwrap_err();
        assert_eq!(which.name.as_deref(), Some("fat"));
        assert_eq!(which.finalizers.unwrap().len(), BREADTH);
    }
}
