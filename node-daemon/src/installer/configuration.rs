//! Network configurations as container runtimes read them: ours, and what others' say.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{CHAIN, LOOPBACK, MAIN_PLUGIN, NETWORK};

/// Our configuration for these plugins, in a runtime directory.
pub(super) fn ours(runtime_directory: &str, plugins: &[&str]) -> String {
    let of = |plugin: &str| match plugin {
        "sotto-portmap" => {
            json!({"type": plugin, "capabilities": {"portMappings": true}, "snat": true})
        }
        "sotto-bandwidth" => json!({"type": plugin, "capabilities": {"bandwidth": true}}),
        main => json!({"type": main, "runtimeDirectory": runtime_directory}),
    };
    let chain = CHAIN.iter().filter(|plugin| plugins.contains(plugin));
    let whole = json!({
        // Older runtimes read this one and refuse what is newer; the others take the best of the list.
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": NETWORK,
        // Else whatever file lies in a folder "sotto" beside this one joins the chain.
        "loadOnlyInlinedPlugins": true,
        "plugins": chain.map(|plugin| of(plugin)).collect::<Vec<Value>>(),
    });
    format!("{whole:#}\n")
}

/// What a configuration is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Network {
    /// Its name; empty if it has none.
    pub(super) name: String,
    /// Its plugins.
    pub(super) plugins: Vec<String>,
}

impl Network {
    /// Whether it has our plugin.
    pub(super) fn is_ours(&self) -> bool {
        self.plugins.iter().any(|plugin| plugin == MAIN_PLUGIN)
    }

    /// Whether it connects nobody to anybody.
    pub(super) fn is_loopback(&self) -> bool {
        self.plugins.iter().all(|plugin| plugin == LOOPBACK)
    }
}

#[derive(Deserialize)]
struct Plugin {
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    name: String,
    plugins: Vec<Plugin>,
}

/// Whether a runtime looks at a file of this name.
pub(super) fn is_read(name: &str) -> bool {
    [".conf", ".conflist", ".json"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Reads a configuration as runtimes do: a list, or a single plugin, by the file's name.
///
/// # Errors
/// Why a runtime could not read it.
pub(super) fn read(name: &str, bytes: &[u8]) -> Result<Network, String> {
    let fault = |error: serde_json::Error| error.to_string();
    if name.ends_with(".conflist") {
        let list: List = serde_json::from_slice(bytes).map_err(fault)?;
        if list.plugins.is_empty() {
            return Err("it lists no plugin".to_owned());
        }
        let plugins = list.plugins.into_iter().map(|plugin| plugin.kind);
        return Ok(Network {
            name: list.name,
            plugins: plugins.collect(),
        });
    }
    let plugin: Plugin = serde_json::from_slice(bytes).map_err(fault)?;
    Ok(Network {
        name: plugin.name,
        plugins: vec![plugin.kind],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_alone_is_what_is_installed_by_hand() {
        let shipped = include_str!("../../../deploy/cni/00-sotto.conflist");
        let shipped: Value = serde_json::from_str(shipped).unwrap();

        let alone: Value = serde_json::from_str(&ours("/run/sotto", &[MAIN_PLUGIN])).unwrap();

        assert_eq!(alone, shipped);
    }

    #[test]
    fn ours_chains_what_there_is_in_its_order() {
        let order = |plugins: &[&str]| {
            read("00-sotto.conflist", ours("/run/sotto", plugins).as_bytes()).unwrap()
        };

        let all = order(&["sotto-bandwidth", "sotto-portmap", "sotto-cni"]);

        assert_eq!(all.plugins, CHAIN);
        assert!(all.is_ours() && !all.is_loopback());
        let without = order(&["sotto-cni", "sotto-bandwidth"]);
        assert_eq!(without.plugins, ["sotto-cni", "sotto-bandwidth"]);
    }

    #[test]
    fn a_runtime_reads_three_endings() {
        for name in ["10-a.conf", "10-a.conflist", "10-a.json", ".conf"] {
            assert!(is_read(name), "{name}");
        }
        for name in [
            "00-sotto.conflist.new",
            "10-a.conf.bak",
            "conf",
            ".sotto-reload",
        ] {
            assert!(!is_read(name), "{name}");
        }
    }

    #[test]
    fn what_no_runtime_could_read_has_a_reason() {
        let single = br#"{"name": "a", "type": "bridge"}"#;
        let list = br#"{"name": "a", "plugins": [{"type": "bridge"}]}"#;

        assert_eq!(read("a.conf", single).unwrap().plugins, ["bridge"]);
        assert_eq!(read("a.conflist", list).unwrap().plugins, ["bridge"]);
        let faults: [(&str, &[u8]); 6] = [
            ("a.conf", list),
            ("a.json", list),
            ("a.conflist", single),
            ("a.conflist", br#"{"name": "a", "plugins": []}"#),
            ("a.conf", b""),
            ("a.conflist", b"\xff\xfe{"),
        ];
        for (name, bytes) in faults {
            assert!(!read(name, bytes).unwrap_err().is_empty(), "{name}");
        }
    }
}
