//! What an object's status says. Pure.

use serde_json::{Value, json};

use super::judge::Verdict;

/// The status that the object should have; `None` if it has it.
pub(super) fn status(verdict: &Verdict, now: &str) -> Option<Value> {
    let generation = verdict.object.generation;
    let accepted = verdict.problems.is_empty();
    let mut message = verdict.problems.join("\n");
    if verdict.earlier {
        message += "\nIts last good version stays in force.";
    }
    let mut condition = json!({
        "type": "Accepted",
        "status": if accepted { "True" } else { "False" },
        "reason": if accepted { "Accepted" } else { "Refused" },
        "message": message,
        "observedGeneration": generation,
    });
    let before = &verdict.object.status["conditions"][0];
    let same = ["type", "status", "reason", "message", "observedGeneration"]
        .iter()
        .all(|field| before[*field] == condition[*field]);
    if same {
        return None;
    }
    let turned = before["status"] != condition["status"];
    let since = if turned { json!(now) } else { before["lastTransitionTime"].clone() };
    condition["lastTransitionTime"] = since;
    Some(json!({ "observedGeneration": generation, "conditions": [condition] }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstem_kubernetes::custom::{CustomName, CustomObject};
    use pretty_assertions::assert_eq;

    const THEN: &str = "2026-01-01T00:00:00Z";
    const NOW: &str = "2026-02-02T00:00:00Z";

    fn verdict(generation: i64, status: Value, problems: &[&str]) -> Verdict {
        let name = CustomName { namespace: "shop".to_owned(), name: "p".to_owned() };
        Verdict {
            object: CustomObject { name, generation, spec: Value::Null, status },
            problems: problems.iter().map(|text| (*text).to_owned()).collect(),
            earlier: false,
        }
    }

    #[test]
    fn a_status_is_written_when_something_changed_and_its_time_when_it_turned() {
        let first = status(&verdict(1, Value::Null, &[]), THEN).unwrap();
        let expected = json!({ "observedGeneration": 1, "conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "observedGeneration": 1, "lastTransitionTime": THEN,
        }]});
        assert_eq!(first, expected);
        assert_eq!(status(&verdict(1, first.clone(), &[]), NOW), None);
        let second = status(&verdict(2, first.clone(), &[]), NOW).unwrap();
        assert_eq!(second["conditions"][0]["lastTransitionTime"], THEN);
        let refused = status(&verdict(3, second, &["why", "and why"]), NOW).unwrap();
        let condition = json!({
            "type": "Accepted", "status": "False", "reason": "Refused", "message": "why\nand why",
            "observedGeneration": 3, "lastTransitionTime": NOW,
        });
        assert_eq!(refused, json!({ "observedGeneration": 3, "conditions": [condition] }));
    }
}
