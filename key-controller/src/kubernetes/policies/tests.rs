use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, Validation,
};

use super::*;

const ACCOUNT_NAME: &str = "system:serviceaccount:sotto-system:sotto-node";

fn texts(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| (*text).to_owned()).collect())
}

fn good(expected: &Expected) -> ValidatingAdmissionPolicySpec {
    let expression = |text: &&str| Validation {
        expression: text.replace(ACCOUNT, ACCOUNT_NAME),
        ..Validation::default()
    };
    ValidatingAdmissionPolicySpec {
        failure_policy: Some("Fail".to_owned()),
        match_constraints: Some(MatchResources {
            resource_rules: Some(vec![NamedRuleWithOperations {
                api_groups: texts(&[expected.group]),
                api_versions: texts(&["*"]),
                operations: texts(&[expected.operation]),
                resources: texts(&[expected.resource]),
                scope: Some("*".to_owned()),
                ..NamedRuleWithOperations::default()
            }]),
            namespace_selector: Some(Default::default()),
            ..MatchResources::default()
        }),
        match_conditions: Some(vec![MatchCondition {
            name: "from-a-daemon".to_owned(),
            expression: expected.condition.replace(ACCOUNT, ACCOUNT_NAME),
        }]),
        validations: Some(expected.validations.iter().map(expression).collect()),
        ..ValidatingAdmissionPolicySpec::default()
    }
}

#[test]
fn cp15_a_policy_that_is_gone_or_says_something_else_is_a_fault() {
    for expected in &EXPECTED {
        type Change = fn(&mut ValidatingAdmissionPolicySpec);
        let changes: [Change; 8] = [
            |spec| spec.failure_policy = Some("Ignore".to_owned()),
            |spec| spec.match_constraints = None,
            |spec| drop(spec.validations.as_mut().unwrap().pop()),
            |spec| spec.validations.as_mut().unwrap()[0].expression = "true".to_owned(),
            // White space in a literal makes it another.
            |spec| {
                let condition = &mut spec.match_conditions.as_mut().unwrap()[0].expression;
                *condition = condition.replace(ACCOUNT_NAME, &ACCOUNT_NAME.replace(':', ": "));
            },
            |spec| {
                let never = MatchCondition {
                    name: "never".to_owned(),
                    expression: "false".to_owned(),
                };
                spec.match_conditions.as_mut().unwrap().push(never);
            },
            |spec| {
                let rules = &mut spec.match_constraints.as_mut().unwrap().resource_rules;
                rules.as_mut().unwrap()[0].resource_names = texts(&["nobody"]);
            },
            |spec| {
                let constraints = spec.match_constraints.as_mut().unwrap();
                let rules = constraints.resource_rules.clone();
                constraints.exclude_resource_rules = rules;
            },
        ];
        let fault = |spec: Option<&_>| policy_fault(expected, ACCOUNT_NAME, spec);
        assert_eq!(fault(Some(&good(expected))), None);
        assert!(fault(None).is_some());
        for (number, change) in changes.iter().enumerate() {
            let mut spec = good(expected);
            change(&mut spec);
            assert!(
                fault(Some(&spec)).is_some(),
                "{}: change {number}",
                expected.name
            );
        }
        let elsewhere = policy_fault(
            expected,
            "system:serviceaccount:other:sotto-node",
            Some(&good(expected)),
        );
        assert!(elsewhere.is_some());
    }
}

#[test]
fn cp15_a_binding_that_is_gone_or_denies_nothing_is_a_fault() {
    let expected = &EXPECTED[0];
    let good = ValidatingAdmissionPolicyBindingSpec {
        policy_name: Some(expected.name.to_owned()),
        validation_actions: texts(&["Deny"]),
        ..ValidatingAdmissionPolicyBindingSpec::default()
    };
    let changed = |change: fn(&mut ValidatingAdmissionPolicyBindingSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        binding_fault(expected, Some(&spec))
    };

    assert_eq!(binding_fault(expected, Some(&good)), None);
    assert!(binding_fault(expected, None).is_some());
    assert!(changed(|spec| spec.validation_actions = texts(&["Audit"])).is_some());
    assert!(changed(|spec| spec.policy_name = Some("other".to_owned())).is_some());
    assert!(changed(|spec| spec.match_resources = Some(MatchResources::default())).is_some());
}

#[test]
fn the_chart_has_the_policies_that_are_expected() {
    let chart = include_str!("../../../../deploy/chart/templates/admission.yaml");
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    let chart = plain(&chart.replace("{{ $node }}", "authentication.kubernetes.io/node-name"));

    for expected in &EXPECTED {
        for expression in expected.validations.iter().chain([&expected.condition]) {
            assert!(chart.contains(&plain(expression)), "{expression}");
        }
        assert!(chart.contains(&format!("name:{}", expected.name)));
    }
}
