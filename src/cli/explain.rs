//! `explain` and `why-not`.

use clap::Args;

use super::Ask;
use crate::api::{Carriers, Explanation, Outcome, Step, Verdict};

/// How wide a line is at most.
const WIDTH: usize = 100;
/// Where reasons begin.
const INDENT: usize = 26;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The service's host name
    host: String,
    /// An address, perhaps with a port; without it, all endpoints
    endpoint: Option<String>,
    /// As this proxy sees it: a node id, or `name.namespace` where that is unique
    #[arg(long, value_name = "ID")]
    proxy: Option<String>,
    /// Only the service of this namespace
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
pub(super) struct WhyNot {
    /// The service's host name
    host: String,
    /// An address, perhaps with a port
    endpoint: String,
    /// The proxy: a node id, or `name.namespace` where that is unique
    #[arg(long, value_name = "ID")]
    proxy: String,
    /// Only the service of this namespace
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

impl Explain {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let query = [
            ("host", Some(&*self.host)),
            ("endpoint", self.endpoint.as_deref()),
            ("proxy", self.proxy.as_deref()),
            ("namespace", self.namespace.as_deref()),
        ];
        self.ask.show("explain", &query, explanation).await
    }
}

impl WhyNot {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let query = [
            ("host", Some(&*self.host)),
            ("endpoint", Some(&*self.endpoint)),
            ("proxy", Some(&*self.proxy)),
            ("namespace", self.namespace.as_deref()),
        ];
        self.ask.show("why-not", &query, why_not).await
    }
}

fn why_not(explanation: &Explanation) -> String {
    format!("{}{}", outcome(&explanation.outcome), steps(&explanation.steps))
}

fn explanation(of: &Explanation) -> String {
    let mut text = why_not(of);
    for origin in &of.origins {
        let line = format!("{} {} at revision {}", origin.kind, origin.name, origin.revision);
        text += &wrapped("defined by", &format!("{}: {line}", origin.registry));
    }
    for endpoint in &of.endpoints {
        let address = endpoint.addresses.first().map_or("", String::as_str);
        let from = endpoint.origins.iter().map(|origin| {
            format!("{}: {} {} at {}", origin.registry, origin.kind, origin.name, origin.revision)
        });
        let from = from.collect::<Vec<_>>().join("; ");
        let text_of =
            format!("{address} port {}, {}; {from}", endpoint.target_port, endpoint.health);
        text += &wrapped("endpoint", &text_of);
    }
    for resource in &of.resources {
        text += &wrapped(&format!("resource {}", resource.kind), &resource.name);
    }
    text + &carriers(&of.carriers)
}

fn outcome(outcome: &Outcome) -> String {
    let what = match outcome.verdict {
        Verdict::Passed => "there",
        Verdict::Idle => "there, idle",
        Verdict::Removed => "removed",
    };
    let step = outcome.step.as_ref().map(|step| format!("{step}: ")).unwrap_or_default();
    wrapped(what, &format!("{step}{}", outcome.because)) + "\n"
}

fn steps(steps: &[Step]) -> String {
    let line = |step: &Step| {
        let verdict = match step.verdict {
            Verdict::Passed => "passed",
            Verdict::Idle => "idle",
            Verdict::Removed => "removed",
        };
        wrapped(&format!("{:<15}{verdict}", step.name), &step.because)
    };
    steps.iter().map(line).collect()
}

fn carriers(carriers: &Carriers) -> String {
    let Carriers { total, acked, first } = carriers;
    let mut text = wrapped("carried by", &format!("{total} proxies, accepted by {acked}"));
    for carrier in first {
        text += &wrapped(&format!("  {}", carrier.state), &carrier.proxy);
    }
    text
}

/// A line of two columns; the second is broken between words.
fn wrapped(head: &str, text: &str) -> String {
    let mut all = format!("{head:<INDENT$}");
    let mut used = all.chars().count();
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > INDENT && used + 1 + length > WIDTH {
            all = format!("{}\n{:INDENT$}", all.trim_end(), "");
            used = INDENT;
        }
        all += word;
        all.push(' ');
        used += length + 1;
    }
    format!("{}\n", all.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let because = "a reason of many words ".repeat(20);
        let step = Step { name: "subscribed".to_owned(), verdict: Verdict::Removed, because };
        let text = steps(std::slice::from_ref(&step));
        assert!(text.lines().count() > 3);
        assert_eq!(text.lines().find(|line| line.len() > WIDTH), None);
        assert!(text.starts_with("subscribed     removed    a reason of"));
    }
}
