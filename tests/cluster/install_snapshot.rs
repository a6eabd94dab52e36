//! What a node and the API hold, line by line, to be compared with what they held before Sotto.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use sotto_tests::kubernetes::whole::Whole;
use sotto_tests::lab::Host;
use sotto_tests::wait;

/// For what the garbage collector, kube-proxy and kubelet clean up by themselves.
const SETTLES_WITHIN: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A node's kernel and files. Left out: indices, lifetimes and counters; random keys, secrets and gauges among the
/// settings, and those of netfilter, which come with its modules; `/run/xtables.lock`, which belongs to every
/// program that calls iptables, and the runtime's folder `/var/lib/cni`, but no file in it.
const NODE: &str = r#"
ip -o link show | sed -E 's/^[0-9]+: /link /; s/@[^:]*//; s/ (qdisc|qlen).*//'
for family in -4 -6; do
  ip $family -o address show | sed -E 's/^[0-9]+: //; s/valid_lft.*//; s/^/address /'
  ip $family route show table all | sed -E 's/ expires [0-9]+sec//; s/^/route /'
  ip $family rule show | sed 's/^/rule /'
done
nft -s list ruleset | sed -E 's/(packets|bytes) [0-9]+/\1/g; s/^/nft /'
find /proc/sys/net -type f -readable ! -path '*/netfilter/*' ! -name '*key*' ! -name '*secret*' ! -name flush |
  while read -r file; do echo "sysctl $file $(tr '\n\t' '  ' <"$file" 2>/dev/null)"; done
find /etc/cni /opt /var/lib/cni /var/lib/sotto* /run/sotto* /run/netns 2>/dev/null ! -type d | sed 's/^/file /'
find /etc /etc/cni /var/lib /run -maxdepth 1 2>/dev/null | grep -vxE '/run/xtables.lock|/var/lib/cni' | sed 's/^/there /'
"#;

/// Object names of every kind that can be listed; left out are heartbeats and what tells of the past.
const API: &str = r#"
kinds=$(kubectl api-resources --verbs=list -o name | grep -vE '^(events|leases|componentstatuses|endpoints$)')
echo "$kinds" | sed 's/^/kind /'
kubectl get "$(echo "$kinds" | paste -sd,)" --all-namespaces --no-headers \
  -o custom-columns=K:.kind,N:.metadata.namespace,A:.metadata.name | sed 's/^/object /'
kubectl get nodes --no-headers -o custom-columns=N:.metadata.name,L:.metadata.labels,A:.metadata.annotations |
  sed 's/^/node /'
"#;

/// Lines, in which any space is one.
pub(crate) type Lines = BTreeSet<String>;

pub(crate) fn of_node(host: &Host) -> Result<Lines> {
    Ok(lines(&host.place()?.shell(NODE)?))
}

pub(crate) fn of_api(cluster: &Whole) -> Result<Lines> {
    Ok(lines(&cluster.shell(API)?))
}

fn lines(text: &str) -> Lines {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

/// Waits until what there is equals what there was.
///
/// # Errors
/// When it does not; the text holds the difference.
pub(crate) fn is_back(what: &str, before: &Lines, look: impl Fn() -> Result<Lines>) -> Result<()> {
    let until = Instant::now() + SETTLES_WITHIN;
    loop {
        let after = look()?;
        if after == *before {
            return Ok(());
        }
        if Instant::now() >= until {
            let more: Vec<_> = after.difference(before).collect();
            let less: Vec<_> = before.difference(&after).collect();
            bail!("{what} is not as before: more {more:#?}, less {less:#?}");
        }
        wait::let_pass(LOOK_EVERY);
    }
}
