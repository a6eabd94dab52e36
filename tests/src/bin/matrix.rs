//! Prints every case of the fault matrix with the tests that cover it: `matrix MATRIX.md TESTS`.
//!
//! Both come from files: the matrix as people read it, and the list that `cargo test -- --list`
//! printed. It fails when a case that is due has no test.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mut file = |what: &str| -> Result<String> {
        let path = arguments.next().with_context(|| format!("name {what}"))?;
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let cases = cases(&file("the matrix")?);
    let covered = covered(&file("the list of tests")?);
    let mut lacking = Vec::new();
    let mut found = 0;
    for case in &cases {
        let tests = covered.get(&key(&case.name)).map_or(&[][..], Vec::as_slice);
        found += usize::from(!tests.is_empty());
        let mark = match (tests.is_empty(), case.due) {
            (true, true) => {
                lacking.push(case.name.as_str());
                "MISSING"
            }
            (true, false) => "later",
            (false, _) => "",
        };
        println!("{:6} {:8} {}", case.name, mark, case.fault);
        for test in tests {
            println!("                  {test}");
        }
    }
    println!("\n{found} of {} cases have tests", cases.len());
    if lacking.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("due and without a test: {}", lacking.join(", "));
    Ok(ExitCode::FAILURE)
}

struct Case {
    name: String,
    fault: String,
    due: bool,
}

fn cases(matrix: &str) -> Vec<Case> {
    matrix.lines().filter_map(case).collect()
}

fn case(line: &str) -> Option<Case> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let [_, name, fault, _, _, due, _] = cells.as_slice() else {
        return None;
    };
    name.ends_with(|last: char| last.is_ascii_digit())
        .then(|| Case {
            name: (*name).to_owned(),
            fault: (*fault).to_owned(),
            due: *due == "now",
        })
}

/// `DP-02` as test names begin: `dp02`.
fn key(case: &str) -> String {
    case.replace('-', "").to_lowercase()
}

/// The tests by the cases that their names begin with; a name may begin with several.
fn covered(list: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    for test in tests {
        let name = test.rsplit([':', ' ']).next().unwrap_or(test);
        for part in name.split('_') {
            let digits = part.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
            let letters = part.len() - digits.len();
            if !(1..=2).contains(&letters) || digits.parse::<u8>().is_err() {
                break;
            }
            let tests = found.entry(part.to_owned()).or_default();
            tests.push(test.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_covers_the_cases_that_its_name_begins_with() {
        let list =
            "lane::dp01_all_reach_all: test\n[needs root] dp02_i1_killed: test\nother: test\n";

        let covered = covered(list);

        assert_eq!(covered["dp01"], ["lane::dp01_all_reach_all"]);
        assert_eq!(covered["dp02"], covered["i1"]);
        assert_eq!(covered.len(), 3);
    }

    #[test]
    fn the_matrix_holds_all_197_cases_once() {
        let cases = cases(include_str!("../../MATRIX.md"));
        let names: std::collections::BTreeSet<&str> =
            cases.iter().map(|case| case.name.as_str()).collect();

        assert_eq!(names.len(), cases.len(), "a case stands twice");
        let of_faults = names.iter().filter(|name| name.contains('-')).count();
        assert_eq!(of_faults, 197);
        assert_eq!(key("DP-02"), "dp02");
        assert!(cases.iter().any(|case| case.due));
    }
}
