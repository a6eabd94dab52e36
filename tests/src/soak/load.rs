//! Traffic whose amount changes, and pods that come and go.

use anyhow::Result;
use serde_json::json;

use crate::kubernetes::whole::{Space, TOOLS};

/// Small requests through a Service, one after the other, once it is there; each that fails is a line.
const ASKING: &str =
    "until curl -sf -m 1 http://server:8080/hostname >/dev/null; do sleep 0.1; done
  n=0; while :; do
  curl -sf -m 10 http://server:8080/echo?msg=$n >/dev/null || echo FAILED $n with $? at $(date +%T)
  n=$((n+1)); echo $n >/tmp/requests; sleep 0.05; done";

/// Downloads at rates from slow to as fast as it goes, ten seconds each.
const PULLING: &str = "m=0; while :; do for rate in 200K 20M 1M 10G 5M; do
  bytes=$(curl -s -m 10 --limit-rate $rate -o /dev/null -w '%{size_download}' http://pages/zero || true)
  m=$((m + ${bytes:-0} / 1000000)); echo $m >/tmp/megabytes; done; done";

/// Jobs' sizes, one after the other.
const CROWDS: [usize; 4] = [3, 12, 1, 6];

pub(super) struct Load<'a> {
    space: &'a Space<'a>,
    jobs: usize,
    pods: usize,
}

impl<'a> Load<'a> {
    pub(super) fn start(space: &'a Space<'a>) -> Result<Self> {
        space.server("server", "alice")?;
        let pages = "dd if=/dev/zero of=/var/www/html/zero bs=1M count=300 status=none; exec nginx -g 'daemon off;'";
        let shell = |line: &str| json!({"image": TOOLS, "command": ["bash", "-c", line]});
        space.pod("pages", "bob", &shell(pages), &json!({}))?;
        space.kubectl(&["expose", "pod", "server", "--port=8080"])?;
        space.kubectl(&["expose", "pod", "pages", "--port=80"])?;
        space.pod("asking", "bob", &shell(ASKING), &json!({}))?;
        space.pod("pulling", "alice", &shell(PULLING), &json!({}))?;
        Ok(Self {
            space,
            jobs: 0,
            pods: 0,
        })
    }

    /// Starts a Job whose pods each ask the server once and end; the one before is removed.
    pub(super) fn churn(&mut self) -> Result<()> {
        let count = CROWDS.get(self.jobs % CROWDS.len()).copied().unwrap_or(1);
        let container = json!({
            "name": "main", "image": TOOLS,
            "command": ["bash", "-c", "curl -sf -m 20 http://server:8080/hostname"],
        });
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": format!("crowd-{}", self.jobs)},
            "spec": {
                "completions": count, "parallelism": count, "ttlSecondsAfterFinished": 5,
                "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
            },
        });
        self.space.create(&job.to_string())?;
        self.jobs += 1;
        self.pods += count;
        Ok(())
    }

    /// Pods that came and went so far.
    pub(super) fn pods(&self) -> usize {
        self.pods
    }

    /// Requests, what is said of those that failed, and megabytes in bulk.
    pub(super) fn count(&self) -> Result<(usize, Vec<String>, usize)> {
        let requests = self.space.shell("asking", "cat /tmp/requests")?;
        let failed = self.space.kubectl(&["logs", "asking", "--tail=-1"])?;
        let megabytes = self.space.shell("pulling", "cat /tmp/megabytes")?;
        let failed = failed.lines().filter(|line| line.starts_with("FAILED"));
        let failed = failed.map(str::to_owned).collect();
        Ok((requests.trim().parse()?, failed, megabytes.trim().parse()?))
    }
}
