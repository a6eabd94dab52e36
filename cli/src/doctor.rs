//! `sotto doctor`: everything that Sotto needs, checked, with the cure of what is wrong.

mod checks;
mod facts;
pub(crate) mod machine;

use anyhow::Result;
use serde::Serialize;

use crate::cluster::Cluster;
use crate::output::{Answer, Output, Verdict, render};
use crate::table::table;
use crate::times::now;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Outcome {
    /// As it should be.
    Ok,
    /// Odd, or not to be seen with this user's rights.
    Warn,
    /// Broken.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) outcome: Outcome,
    /// What was found, and the cure.
    pub(crate) found: String,
}

impl Check {
    pub(crate) fn new(what: &str, outcome: Outcome, found: &str) -> Self {
        Self {
            what: what.to_owned(),
            outcome,
            found: found.to_owned(),
        }
    }
}

/// Examines a cluster.
///
/// # Errors
/// When the answer cannot be printed; what cannot be looked up is a check of its own.
pub(crate) async fn run(cluster: &Cluster, output: Output) -> Result<Answer> {
    let reachable = facts::version(cluster).await;
    let mut found = vec![checks::version(&reachable)];
    // Behind an API server that does not answer, every other check would fail alike.
    if reachable.is_ok() {
        let facts = facts::look(cluster).await;
        if facts.show_nothing() {
            let cure = "it is not installed: `sotto install --new-root`";
            found.push(Check::new("Sotto", Outcome::Fail, cure));
        } else {
            found.extend(checks::all(&facts, now()));
        }
    }
    answer(found, output)
}

/// Prints the checks; wrong if one failed.
fn answer(checks: Vec<Check>, output: Output) -> Result<Answer> {
    let failed = checks.iter().any(|check| check.outcome == Outcome::Fail);
    let verdict = if failed {
        Verdict::Wrong
    } else {
        Verdict::Fine
    };
    let text = render(&checks, output, |checks| {
        let mut rows = vec![["", "CHECK", "FOUND"].map(str::to_owned).to_vec()];
        rows.extend(checks.iter().map(|check| {
            let mark = match check.outcome {
                Outcome::Ok => "ok",
                Outcome::Warn => "WARN",
                Outcome::Fail => "FAIL",
            };
            vec![mark.to_owned(), check.what.clone(), check.found.clone()]
        }));
        table(&rows)
    })?;
    Ok(Answer { text, verdict })
}
