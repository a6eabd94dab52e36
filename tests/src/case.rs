//! A test of real programs: a function that is handed an empty lab, and how a target runs them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::isolation;
use crate::lab::{Lab, Wires};

/// A test: its name as a sentence, its wires, and what it does.
#[derive(Debug)]
pub struct Case {
    /// Name, after the case of the fault matrix that it covers.
    pub name: &'static str,
    /// The wires of its lab.
    pub wires: Wires,
    /// The test itself.
    pub body: fn(&Lab) -> Result<()>,
}

/// Lists test functions as [`Case`]s on ordinary wires, each named after its function.
#[macro_export]
macro_rules! cases {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::case::Case {
            name: stringify!($test),
            wires: $crate::lab::Wires::default(),
            body: $test,
        }),*]
    };
}

/// The `main` of a target: isolates the process, then runs its modules' tests, three at a time
/// unless told otherwise. Labs and API servers are mostly waiting; more at a time would starve
/// timers on a machine of two cores.
pub fn run(modules: impl IntoIterator<Item = Vec<Case>>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if !arguments.list
        && isolation::refusal().is_none()
        && let Err(error) = isolation::enter()
    {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    arguments.test_threads = arguments.test_threads.or(Some(3));
    let cases = modules.into_iter().flatten();
    let trials = cases.map(Case::into_trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Case {
    /// The test as the harness knows it: ignored, with the reason, where no lab can be built,
    /// but failed in CI, where that would hide that nothing was tested.
    fn into_trial(self) -> Trial {
        let refusal = isolation::refusal();
        let ci = std::env::var_os("CI").is_some();
        let name = self.name;
        let trial = Trial::test(name, move || match refusal {
            Some(reason) => Err(Failed::from(format!("no lab can be built: {reason}"))),
            None => self.run(),
        });
        match refusal {
            Some(reason) if !ci => trial.with_kind(reason).with_ignored_flag(true),
            Some(_) | None => trial,
        }
    }

    fn run(&self) -> Result<(), Failed> {
        let started = Instant::now();
        let lab = Lab::with_wires(self.wires).map_err(|error| format!("{error:#}"))?;
        let result = catch_unwind(AssertUnwindSafe(|| (self.body)(&lab)));
        let fault = match result {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(cause) => Some(text_of(cause.as_ref())),
        };
        let seconds = started.elapsed().as_secs_f64();
        let verdict = if fault.is_none() { "ok" } else { "FAILED" };
        eprintln!("  {seconds:6.1} s  {verdict}  {}", self.name);
        match fault {
            None => Ok(()),
            Some(fault) => {
                lab.end();
                let kept = keep(&lab, self.name)
                    .unwrap_or_else(|error| format!("nothing was kept: {error:#}"));
                // The reason last: of a long output people see the end.
                Err(format!("{}{kept}{fault}", lab.report()).into())
            }
        }
    }
}

fn text_of(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
    text.unwrap_or("panicked").to_owned()
}

/// Copies logs and captures of a failed test to a folder that outlives the program, and says where.
///
/// # Errors
/// When they cannot be copied.
pub fn keep(lab: &Lab, name: &str) -> Result<String> {
    let program = std::env::current_exe()?;
    let build = program.ancestors().nth(2).context("no build folder")?;
    let target = build.join("failed-labs").join(name);
    let _ = std::fs::remove_dir_all(&target);
    std::fs::create_dir_all(&target)?;
    let mut folders = vec![lab.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let kind = path.extension().and_then(|kind| kind.to_str());
            let depth = path.strip_prefix(lab.folder())?.components().count();
            if path.is_dir() && depth == 1 {
                folders.push(path);
            } else if matches!(kind, Some("log" | "pcap")) {
                let file = path.file_name().context("a file without a name")?;
                std::fs::copy(&path, target.join(file))?;
            }
        }
    }
    Ok(format!("logs and captures: {}\n", target.display()))
}
