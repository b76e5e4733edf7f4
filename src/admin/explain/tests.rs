//! Planted situations: what is asked in each, and the step that answers.

mod planted;
mod world;

use crate::api::Verdict;
use planted::{IDLE, REMOVED, THERE};
use world::{Situation, World};

fn outcomes(table: &[Situation], verdict: Verdict) {
    let mut wrong = Vec::new();
    for (what, plant, step, reason) in table {
        let mut world = World::new();
        plant(&mut world);
        let found = world.walk();
        let outcome = found.trace.outcome();
        let named = outcome.step.as_deref().unwrap_or_default();
        let said = outcome.because.contains(reason)
            || found.trace.steps.iter().any(|s| s.name == *step && s.because.contains(reason));
        let at = named == *step || verdict == Verdict::Passed;
        if outcome.verdict != verdict || !at || !said {
            wrong.push(format!("{what}: {outcome:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn fifty_six_situations_are_planted() {
    assert_eq!(REMOVED.len() + IDLE.len() + THERE.len(), 56);
}

#[test]
fn what_is_not_there_is_explained_by_the_first_step_that_removed_it() {
    outcomes(REMOVED, Verdict::Removed);
}

#[test]
fn what_takes_no_traffic_is_explained_by_what_keeps_it_idle() {
    outcomes(IDLE, Verdict::Idle);
}

#[test]
fn what_is_there_after_all_is_said_to_be_there() {
    outcomes(THERE, Verdict::Passed);
}
