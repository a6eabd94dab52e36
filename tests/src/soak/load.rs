//! Traffic whose amount changes, and pods that come and go.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::kubernetes::whole::{Space, TOOLS};
use crate::wait;

/// Small requests through a Service, one after the other, once it is there; each that fails is a line.
const ASKING: &str =
    "until curl -sf -m 1 http://server:8080/hostname >/dev/null; do sleep 0.1; done
  n=0; while :; do
  curl -sf -m 10 http://server:8080/echo?msg=$n >/dev/null || echo FAILED $n with $? at $(date +%T)
  n=$((n+1)); echo $n >/tmp/requests; sleep 0.05; done";

/// Downloads at rates from slow to as fast as it goes, cut off after ten seconds each.
const PULLING: &str = "m=0; while :; do for rate in 200K 20M 1M 10G 5M; do
  bytes=$(curl -s -m 10 --limit-rate $rate -o /dev/null -w '%{size_download}' http://pages/zero || true)
  m=$((m + ${bytes:-0})); echo $m >/tmp/bytes; done; done";

/// How long a Job may take; some seconds on two cores.
const JOB_LIMIT: Duration = Duration::from_secs(120);

/// Jobs' sizes, one after the other.
const CROWDS: [usize; 4] = [3, 12, 1, 6];

pub(super) struct Load<'a> {
    space: &'a Space<'a>,
    jobs: usize,
    pods: usize,
    /// Requests and bytes at the last look.
    last: (usize, usize),
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
            last: (0, 0),
        })
    }

    /// Makes sure that traffic went on and that the last Job's pods each had their answer; starts the next.
    pub(super) fn churn(&mut self) -> Result<()> {
        if self.jobs > 0 {
            self.goes_on()?;
            self.finish_job()?;
        }
        let count = crowd(self.jobs);
        let container = json!({
            "name": "main", "image": TOOLS,
            "command": ["bash", "-c", "curl -sf -m 20 http://server:8080/hostname"],
        });
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": format!("crowd-{}", self.jobs)},
            "spec": {
                "completions": count, "parallelism": count, "backoffLimit": 0,
                "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
            },
        });
        self.space.create(&job.to_string())?;
        self.jobs += 1;
        Ok(())
    }

    fn goes_on(&mut self) -> Result<()> {
        let (requests, _, bytes) = self.count()?;
        ensure!(requests > self.last.0, "no request since {requests}");
        ensure!(bytes > self.last.1, "nothing pulled since byte {bytes}");
        self.last = (requests, bytes);
        Ok(())
    }

    /// Waits until each pod of the last Job has succeeded, and removes it.
    fn finish_job(&mut self) -> Result<()> {
        let name = format!("crowd-{}", self.jobs - 1);
        let job = ["job", name.as_str()];
        let mut succeeded = 0;
        wait::until(&format!("{name} to end"), JOB_LIMIT, || {
            let Ok(job) = self.space.read(&job) else {
                return false;
            };
            let count = |of: &str| job.pointer(of).and_then(serde_json::Value::as_u64);
            succeeded = count("/status/succeeded").unwrap_or(0);
            count("/status/failed").is_some() || count("/spec/completions") == Some(succeeded)
        })?;
        let wanted = crowd(self.jobs - 1);
        ensure!(
            usize::try_from(succeeded)? == wanted,
            "{succeeded} of {wanted} pods of {name} had an answer"
        );
        self.pods += wanted;
        self.space
            .kubectl(&["delete", "job", &name, "--wait=false"])
            .map(drop)
    }

    /// Pods that came and went so far.
    pub(super) fn pods(&self) -> usize {
        self.pods
    }

    /// Requests, what is said of those that failed, and bytes in bulk.
    pub(super) fn count(&self) -> Result<(usize, Vec<String>, usize)> {
        // A file that is just being written is empty.
        let number = |file| format!("until grep . /tmp/{file}; do sleep 0.1; done");
        let requests = self.space.shell("asking", &number("requests"))?;
        let failed = self.space.kubectl(&["logs", "asking", "--tail=-1"])?;
        let bytes = self.space.shell("pulling", &number("bytes"))?;
        let failed = failed.lines().filter(|line| line.starts_with("FAILED"));
        let failed = failed.map(str::to_owned).collect();
        Ok((requests.trim().parse()?, failed, bytes.trim().parse()?))
    }
}

fn crowd(job: usize) -> usize {
    CROWDS.get(job % CROWDS.len()).copied().unwrap_or(1)
}
