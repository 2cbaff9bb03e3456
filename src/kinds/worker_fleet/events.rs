//! Events about workers that never became ready, with their console output, and about workers that were terminated
//! outside muster or lost their tags.

use std::collections::BTreeSet;

use kube::runtime::events::EventType;

use crate::{
    aws::{Session, ec2::Ec2},
    crd::{launches::TerminationReason, worker_fleet::WorkerFleet},
    ids::{InstanceId, list},
    kinds::worker_fleet::desired::Desired,
    workers::{
        kind::{Pass, PassResult},
        ledger::Ledger,
        memory::Memory,
        observe::instances::ObservedInstances,
    },
};

/// The maximum number of consoles that one reconcile reads.
const READ: usize = 3;
/// The maximum number of characters that are quoted. The note of an event is limited to 1 kB.
const QUOTED: usize = 600;
/// The maximum number of ids in a message.
const NAMED: usize = 20;
const REASON: &str = "StartupDeadlineExceeded";

/// The message about instances that lost the tags of their fleet.
pub(super) fn untagged<'a>(ids: impl ExactSizeIterator<Item = &'a InstanceId>) -> String {
    format!(
        "{} no longer carry the tags of this fleet: they are not counted and not changed, and were replaced. They keep \
         running. Terminate them, adopt them, or restore their tags. To adopt them, use spec.adopt",
        list(ids, NAMED)
    )
}

/// Reports new losses.
pub(super) async fn losses(pass: &mut Pass<'_, WorkerFleet>) {
    let Pass { ctx, live, memory, .. } = pass;
    let lost = memory.workers.losses.newly_lost();
    if !lost.is_empty() {
        let note = format!("terminated outside muster: {lost}");
        ctx.event(live, EventType::Warning, "WorkersLost", "Replace", note).await;
    }
    let new = memory.workers.losses.newly_untagged();
    if !new.is_empty() {
        ctx.event(live, EventType::Warning, "TagsLost", "Replace", untagged(new.iter())).await;
    }
}

/// The instances that are terminated for the startup deadline, by the records before and after the reconcile, and that
/// this process has not reported. If a process fails before the event, the next one reports from the record; it may
/// report an instance that is still terminating a second time.
fn late(reported: &mut BTreeSet<InstanceId>, records: [&Ledger; 2]) -> Vec<InstanceId> {
    let open = records.into_iter().flat_map(|record| &record.terminations);
    let late = open.filter(|open| open.reason == TerminationReason::StartupDeadline);
    let late: BTreeSet<_> = late.flat_map(|open| &open.instance_ids).cloned().collect();
    let unreported = late.difference(reported).cloned().collect();
    *reported = late;
    unreported
}

/// One event for each of the first, with the end of its console if EC2 returns it, and one event for the rest.
pub(super) async fn never_ready(
    pass: &mut Pass<'_, WorkerFleet>,
    desired: &Desired,
    recorded: &Ledger,
    found: &PassResult<WorkerFleet>,
) {
    let late = late(&mut pass.memory.reported, [recorded, &found.ledger]);
    let Pass { ctx, session, live, memory, .. } = pass;
    let (read, rest) = late.split_at(late.len().min(READ));
    let seconds = desired.criteria.startup_deadline.as_secs();
    let why = format!("not ready {seconds} s after it was first seen (readiness.startupDeadline), and replaced");
    for id in read {
        let quoted = if may_quote(id, &found.observed.instances, &memory.workers) {
            quote(session, id).await
        } else {
            format!("; its console may contain secret parameters; see aws ec2 get-console-output --instance-id {id}")
        };
        ctx.event(live, EventType::Warning, REASON, "Replace", format!("{id}: {why}{quoted}")).await;
    }
    if !rest.is_empty() {
        let note = format!("{why}: {}", list(rest.iter(), rest.len()));
        ctx.event(live, EventType::Warning, REASON, "Replace", note).await;
    }
}

/// A user who may read events may not be allowed to read the secrets of the workers.
fn may_quote(id: &InstanceId, instances: &ObservedInstances, memory: &Memory) -> bool {
    let Some(worker) = instances.shown.get(id) else { return false };
    match memory.revisions.parameters_of(&worker.known.revision) {
        None => false,
        Some(None) => true,
        Some(Some(hash)) => memory.parameters.is_plain(hash),
    }
}

async fn quote(session: &Session, id: &InstanceId) -> String {
    match Ec2::new(session).console_output(id).await.map(|output| tail(&printable(&output), QUOTED)) {
        Ok(output) if output.is_empty() => String::new(),
        Ok(output) => format!("; its console ended with: {output}"),
        Err(error) => {
            tracing::info!(instance = %id, %error, "the console output of a worker could not be read");
            String::new()
        }
    }
}

/// All lines as one, without control characters and escape sequences.
fn printable(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.next_if_eq(&'[').is_some() => {
                // ECMA-48, 5.4: parameters and intermediates, up to a final byte.
                while characters.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
                characters.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            '\n' => plain.push('\n'),
            '\t' => plain.push(' '),
            other if other.is_control() => {}
            other => plain.push(other),
        }
    }
    let lines: Vec<_> = plain.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" | ")
}

fn tail(text: &str, characters: usize) -> String {
    let skipped = text.chars().count().saturating_sub(characters);
    let end: String = text.chars().skip(skipped).collect();
    if skipped == 0 { end } else { format!("...{end}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::worker_fleet::sample::{id, victims};

    #[test]
    fn each_victim_has_one_event_per_controller_process_while_it_is_recorded() {
        let record = |ids: &[u32]| {
            let mut record = victims(ids);
            record.terminations[0].reason = TerminationReason::StartupDeadline;
            record
        };
        let none = Ledger::default();
        let mut reported = BTreeSet::new();
        assert_eq!(late(&mut reported, [&none, &record(&[1])]), [id(1)]);
        assert_eq!(late(&mut reported, [&record(&[1]), &record(&[1, 2])]), [id(2)]);
        assert_eq!(late(&mut reported, [&record(&[1, 2]), &none]), []);
        // Killed after the record: it is removed in the reconcile in which the next process finds it.
        assert_eq!(late(&mut BTreeSet::new(), [&record(&[1]), &none]), [id(1)]);
        let other = victims(&[3]);
        assert_eq!(late(&mut BTreeSet::new(), [&other, &other]), []);
    }

    #[test]
    fn console_output_becomes_one_printable_line() {
        let console = "[  1.0] boot\r\n\u{1b}[1;31mfailed\u{1b}[0m\tall\r\n\r\n\u{7}exit 7\u{0}\n";
        assert_eq!(printable(console), "[  1.0] boot | failed all | exit 7");
        assert_eq!(printable("\u{1b}"), "");
    }

    #[test]
    fn the_end_of_the_console_output_is_cut_between_characters() {
        assert_eq!(tail("äöü", 3), "äöü");
        assert_eq!(tail("äöü", 2), "...öü");
    }
}
