//! A container runtime on a node that a daemon has left.

use std::collections::BTreeSet;
use std::process::Output;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sotto_tests::bare_node;
pub(super) use sotto_tests::bare_node::{POOL, node_state};
use sotto_tests::lab::{Lab, Node, program};

/// A node with guard and tun but without a daemon, and the runtime on it.
pub(super) struct Runtime {
    pub(super) node: Node,
    pub(super) config: Value,
}

/// A call of the plugin; what is not set is as a runtime sets it.
pub(super) struct Call<'a> {
    pub(super) verb: &'a str,
    pub(super) container: &'a str,
    pub(super) netns: &'a str,
    pub(super) interface: &'a str,
    pub(super) arguments: &'a str,
    pub(super) input: String,
}

/// What the plugin answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) succeeded: bool,
    pub(super) value: Value,
    pub(super) log: String,
}

impl Runtime {
    /// A node as `sotto-node` leaves it when it dies: its guard's table, its tun, its `node.json`.
    pub(super) fn new(lab: &Lab) -> Result<Self> {
        Self::with_ranges(lab, &["10.244.1.0/24", "fd00:10:244:1::/64"])
    }

    pub(super) fn with_ranges(lab: &Lab, ranges: &[&str]) -> Result<Self> {
        let runtime = Self {
            node: lab.node("alice")?,
            config: bare_node::configuration(),
        };
        bare_node::prepare(&runtime.node, ranges)?;
        Ok(runtime)
    }

    pub(super) fn write_node_state(&self, state: &Value) -> Result<()> {
        self.node.write("/run/sotto/node.json", state.to_string())
    }

    /// Makes a pod's namespace, as the runtime does before ADD.
    pub(super) fn sandbox(&self, name: &str) -> Result<()> {
        self.node.shell(&format!("ip netns add {name}")).map(drop)
    }

    /// Removes a pod's namespace.
    pub(super) fn remove_sandbox(&self, name: &str) -> Result<()> {
        self.node.shell(&format!("ip netns del {name}")).map(drop)
    }

    /// A call as a runtime makes it: container and namespace of one name.
    pub(super) fn call<'a>(&self, verb: &'a str, pod: &'a str) -> Call<'a> {
        Call {
            verb,
            container: pod,
            netns: pod,
            interface: "eth0",
            arguments: "",
            input: self.config.to_string(),
        }
    }

    pub(super) fn execute(&self, call: &Call<'_>) -> Result<Answer> {
        let output = self.output(call)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).with_context(|| format!("not JSON: {text:?}"))?
        };
        Ok(Answer {
            succeeded: output.status.success(),
            value,
            log: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn output(&self, call: &Call<'_>) -> Result<Output> {
        let netns = match call.netns {
            "" => String::new(),
            name => format!("/run/netns/{name}"),
        };
        let environment = [
            ("CNI_COMMAND", call.verb),
            ("CNI_CONTAINERID", call.container),
            ("CNI_NETNS", netns.as_str()),
            ("CNI_IFNAME", call.interface),
            ("CNI_ARGS", call.arguments),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        let plugin = program("sotto-cni")?;
        self.node.output(&plugin, &[], &environment, &call.input)
    }

    /// Makes a sandbox and attaches it; the result.
    pub(super) fn attach(&self, pod: &str) -> Result<Value> {
        self.sandbox(pod)?;
        self.add(pod)
    }

    pub(super) fn add(&self, pod: &str) -> Result<Value> {
        self.execute(&self.call("ADD", pod))?.success()
    }

    pub(super) fn del(&self, pod: &str) -> Result<()> {
        let value = self.execute(&self.call("DEL", pod))?.success()?;
        ensure!(value.is_null(), "DEL printed {value}");
        Ok(())
    }

    /// A call that carries the result of the ADD.
    pub(super) fn with_previous<'a>(
        &self,
        verb: &'a str,
        pod: &'a str,
        previous: &Value,
    ) -> Call<'a> {
        let mut config = self.config.clone();
        config["prevResult"] = previous.clone();
        Call {
            input: config.to_string(),
            ..self.call(verb, pod)
        }
    }

    pub(super) fn status(&self) -> Result<Answer> {
        self.execute(&Call {
            container: "",
            netns: "",
            interface: "",
            ..self.call("STATUS", "")
        })
    }

    /// Names of the reservations.
    pub(super) fn held(&self) -> Result<BTreeSet<String>> {
        self.names(&format!("ls -A {POOL}/held 2>/dev/null || true"))
    }

    /// Names of the pods' links on the node.
    pub(super) fn links(&self) -> Result<BTreeSet<String>> {
        self.names("ip -o link show group 21331 | sed 's/^[0-9]*: //;s/[@:].*//'")
    }

    fn names(&self, line: &str) -> Result<BTreeSet<String>> {
        let text = self.node.shell(line)?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Everything that an ADD may change, for comparing before and after.
    pub(super) fn state(&self) -> Result<String> {
        self.node.shell(&format!(
            "ip -o link | sed 's/<.*>//;s/ state .*//'; ip route; ip -6 route
            ip neigh show nud permanent; ip -6 neigh show nud permanent
            for file in $(find {POOL}/held {POOL}/resting -type f 2>/dev/null | sort)
            do echo $file; cat $file; echo; done"
        ))
    }
}

impl Answer {
    /// The result, or what the plugin said instead.
    pub(super) fn success(self) -> Result<Value> {
        if self.succeeded {
            return Ok(self.value);
        }
        bail!("refused: {} {}", self.value, self.log)
    }

    /// Makes sure that the call failed with a code and a text that holds `part`.
    pub(super) fn failed(&self, code: u64, part: &str) -> Result<()> {
        ensure!(!self.succeeded, "succeeded: {}", self.value);
        let text = format!("{} {}", self.value["msg"], self.value["details"]);
        ensure!(
            self.value["code"] == code,
            "not code {code}: {}",
            self.value
        );
        ensure!(text.contains(part), "lacks {part:?}: {}", self.value);
        ensure!(!self.log.contains("panicked"), "panicked: {}", self.log);
        Ok(())
    }
}

/// The addresses of a result, without their lengths.
pub(super) fn addresses(result: &Value) -> Vec<String> {
    let entries = result["ips"].as_array().into_iter().flatten();
    let texts = entries.filter_map(|entry| entry["address"].as_str());
    texts
        .filter_map(|text| text.split_once('/'))
        .map(|(address, _)| address.to_owned())
        .collect()
}

/// The name of the node's end in a result.
pub(super) fn node_end(result: &Value) -> Result<&str> {
    let name = result["interfaces"][0]["name"].as_str();
    name.with_context(|| format!("no interface in {result}"))
}
