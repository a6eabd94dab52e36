//! The ValidatingAdmissionPolicies that keep others from asking in a node's name. They are defence
//! in depth, and whoever takes them away is up to something: nothing is granted without them.

use cluster_api::names::{REQUESTS_POLICY, STATUS_POLICY};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec,
};
use kube::{Api, Client};

use super::DAEMON;

/// Stands for the daemon's account in an expression.
const ACCOUNT: &str = "{{ $daemon }}";

/// What a policy must say. Expressions are compared without regard to white space.
struct Expected {
    name: &'static str,
    group: &'static str,
    resource: &'static str,
    operation: &'static str,
    condition: &'static str,
    validations: &'static [&'static str],
}

/// As the chart has them.
const EXPECTED: [Expected; 2] = [
    Expected {
        name: STATUS_POLICY,
        group: "sotto.dev",
        resource: "*/*",
        operation: "*",
        condition: r#"request.userInfo.username == "{{ $daemon }}""#,
        validations: &[
            r#"request.subResource == "status" && request.operation == "UPDATE""#,
            r#""authentication.kubernetes.io/node-name" in request.userInfo.extra
               && request.userInfo.extra["authentication.kubernetes.io/node-name"] == [request.name]"#,
        ],
    },
    Expected {
        name: REQUESTS_POLICY,
        group: "certificates.k8s.io",
        resource: "certificatesigningrequests",
        operation: "CREATE",
        condition: r#"object.spec.signerName == "sotto.dev/node"
                      || request.userInfo.username == "{{ $daemon }}""#,
        validations: &[
            r#"request.userInfo.username == "{{ $daemon }}""#,
            r#"object.spec.signerName == "sotto.dev/node""#,
            r#""authentication.kubernetes.io/node-name" in request.userInfo.extra
               && "authentication.kubernetes.io/pod-uid" in request.userInfo.extra"#,
        ],
    },
];

/// Looks after the policies.
pub(crate) struct Policies {
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
    account: String,
}

impl Policies {
    /// The policies around the daemons of a namespace.
    pub(crate) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            policies: Api::all(client.clone()),
            bindings: Api::all(client.clone()),
            account: format!("system:serviceaccount:{namespace}:{DAEMON}"),
        }
    }

    /// Looks at all of them; returns the faults, each with its object.
    pub(crate) async fn check(&self) -> Result<Vec<String>, kube::Error> {
        let mut faults = Vec::new();
        for expected in &EXPECTED {
            let policy = self.policies.get_opt(expected.name).await?;
            let spec = policy.and_then(|policy| policy.spec);
            if let Some(fault) = policy_fault(expected, &self.account, spec.as_ref()) {
                faults.push(format!(
                    "ValidatingAdmissionPolicy {}: {fault}",
                    expected.name
                ));
            }
            let binding = self.bindings.get_opt(expected.name).await?;
            let spec = binding.and_then(|binding| binding.spec);
            if let Some(fault) = binding_fault(expected, spec.as_ref()) {
                faults.push(format!(
                    "ValidatingAdmissionPolicyBinding {}: {fault}",
                    expected.name
                ));
            }
        }
        Ok(faults)
    }
}

fn policy_fault(
    expected: &Expected,
    account: &str,
    spec: Option<&ValidatingAdmissionPolicySpec>,
) -> Option<&'static str> {
    let Some(spec) = spec else {
        return Some("it is missing");
    };
    if spec.failure_policy.as_deref() != Some("Fail") {
        return Some("its failurePolicy is not Fail");
    }
    if spec.param_kind.is_some() {
        return Some("it depends on a parameter");
    }
    if !covers(expected, spec) {
        return Some("it does not cover the requests that it is for");
    }
    let conditions = spec.match_conditions.as_deref().unwrap_or_default();
    let is_ours =
        |expression: &str, ours: &str| plain(expression) == plain(&ours.replace(ACCOUNT, account));
    if !conditions
        .iter()
        .all(|one| is_ours(&one.expression, expected.condition))
    {
        return Some("its matchConditions are others");
    }
    let validations = spec.validations.as_deref().unwrap_or_default();
    let is_there = |ours: &&&str| validations.iter().any(|one| is_ours(&one.expression, ours));
    if expected.validations.iter().filter(is_there).count() < expected.validations.len() {
        return Some("one of its validations is missing or another");
    }
    None
}

fn covers(expected: &Expected, spec: &ValidatingAdmissionPolicySpec) -> bool {
    let Some(constraints) = &spec.match_constraints else {
        return false;
    };
    let is_selective = constraints
        .namespace_selector
        .as_ref()
        .is_some_and(|selector| {
            *selector != k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default()
        })
        || constraints
            .object_selector
            .as_ref()
            .is_some_and(|selector| {
                *selector
                    != k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector::default()
            });
    let excludes = constraints
        .exclude_resource_rules
        .as_ref()
        .is_some_and(|it| !it.is_empty());
    let has = |values: &Option<Vec<String>>, wanted: &str| {
        let values = values.as_deref().unwrap_or_default();
        values.iter().any(|value| value == wanted)
    };
    let rules = constraints.resource_rules.as_deref().unwrap_or_default();
    let covered = rules.iter().any(|rule| {
        has(&rule.api_groups, expected.group)
            && has(&rule.resources, expected.resource)
            && has(&rule.operations, expected.operation)
            && has(&rule.api_versions, "*")
            && rule.resource_names.as_ref().is_none_or(Vec::is_empty)
            && rule.scope.as_deref().is_none_or(|scope| scope == "*")
    });
    covered && !is_selective && !excludes
}

fn binding_fault(
    expected: &Expected,
    spec: Option<&ValidatingAdmissionPolicyBindingSpec>,
) -> Option<&'static str> {
    let Some(spec) = spec else {
        return Some("it is missing");
    };
    if spec.policy_name.as_deref() != Some(expected.name) {
        return Some("it binds another policy");
    }
    let actions = spec.validation_actions.as_deref().unwrap_or_default();
    if !actions.iter().any(|action| action == "Deny") {
        return Some("its validationActions lack Deny");
    }
    if spec.match_resources.is_some() || spec.param_ref.is_some() {
        return Some("it binds the policy for some requests only");
    }
    None
}

/// The expression without white space; what stands in quotes stays as it is.
fn plain(expression: &str) -> String {
    let mut quote = None;
    let is_kept = |letter: &char| match quote {
        Some(open) => {
            if *letter == open {
                quote = None;
            }
            true
        }
        None => {
            if matches!(letter, '"' | '\'') {
                quote = Some(*letter);
            }
            !letter.is_whitespace()
        }
    };
    expression.chars().filter(is_kept).collect()
}

#[cfg(test)]
mod tests;
