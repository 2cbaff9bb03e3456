//! What workers that never became ready said on their consoles, told in events.

use std::{collections::BTreeSet, time::Duration};

use kube::runtime::events::EventType;

use crate::{
    aws::{Session, ec2::Ec2},
    context::Context,
    ids::InstanceId,
    live::Live,
    worker_fleet::crd::WorkerFleet,
    workers::{launch::TerminationReason, ledger::Ledger, revisions::Revisions, roster::Roster},
};

/// So many consoles are read in one look.
const READ: usize = 3;
/// So many characters of a console are quoted. A note of an event has room for 1 kB.
const QUOTED: usize = 600;
const REASON: &str = "StartupDeadlineExceeded";

/// Who was chosen to end for the startup deadline, as the record says that a look began with and the one that it came to,
/// and was not told of by this process. One that dies between the choice and the event leaves the record, from which the
/// next tells; it may tell a second time of one that is still ending.
pub(super) fn late(told: &mut BTreeSet<InstanceId>, records: [&Ledger; 2]) -> Vec<InstanceId> {
    let open = records.into_iter().flat_map(|record| &record.terminations);
    let late = open.filter(|open| open.reason == TerminationReason::StartupDeadline);
    let late: BTreeSet<_> = late.flat_map(|open| &open.instance_ids).cloned().collect();
    let untold = late.difference(told).cloned().collect();
    *told = late;
    untold
}

/// One event each for the first few, with the end of its console where EC2 gives it, and one for the rest.
pub(super) async fn tell(
    ctx: &Context,
    session: &Session,
    live: &Live<WorkerFleet>,
    late: &[InstanceId],
    knowledge: (&Roster, &Revisions),
    deadline: Duration,
) {
    let (read, rest) = late.split_at(late.len().min(READ));
    let seconds = deadline.as_secs();
    let why = format!("not ready within {seconds} s of being seen (readiness.startupDeadline), and replaced");
    for id in read {
        let quoted = if may_quote(ctx, live, id, knowledge).await {
            quote(session, id).await
        } else {
            format!(
                "; its console may show secret parameters, so it is not quoted: aws ec2 get-console-output --instance-id {id}"
            )
        };
        ctx.event(live, EventType::Warning, REASON, "Replace", format!("{id}: {why}{quoted}")).await;
    }
    if !rest.is_empty() {
        let named: Vec<_> = rest.iter().map(InstanceId::as_str).collect();
        ctx.event(live, EventType::Warning, REASON, "Replace", format!("{why}: {}", named.join(", "))).await;
    }
}

/// Who may see the events of a namespace may not see what workers were handed as secrets.
async fn may_quote(
    ctx: &Context,
    live: &Live<WorkerFleet>,
    id: &InstanceId,
    (roster, revisions): (&Roster, &Revisions),
) -> bool {
    let Some(machine) = roster.machines.get(id) else { return false };
    match revisions.parameters_of(machine.instance.revision()) {
        None => false,
        Some(None) => true,
        Some(Some(hash)) => ctx.parameters.is_plain(live.uid(), hash).await,
    }
}

async fn quote(session: &Session, id: &InstanceId) -> String {
    match Ec2::new(session).console_output(id).await.map(|words| tail(&printable(&words), QUOTED)) {
        Ok(words) if words.is_empty() => String::new(),
        Ok(words) => format!("; its console ended with: {words}"),
        Err(error) => {
            tracing::info!(instance = %id, %error, "the console of a worker was not read");
            String::new()
        }
    }
}

/// Lines in one, without control characters and the sequences that colour a terminal.
fn printable(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
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
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::workers::launch::Termination;

    #[test]
    fn each_victim_is_told_of_once_by_a_process_and_again_by_the_next_while_it_is_on_record() {
        let id = |n: u32| InstanceId::try_from(format!("i-{n:08x}")).unwrap();
        let ending = |ids: &[u32], reason| {
            let instance_ids = ids.iter().map(|n| id(*n)).collect();
            let started_at = Time(Timestamp::UNIX_EPOCH);
            let terminations = vec![Termination { holder: "me".into(), reason, started_at, instance_ids }];
            Ledger { terminations, ..Ledger::default() }
        };
        let record = |ids: &[u32]| ending(ids, TerminationReason::StartupDeadline);
        let none = Ledger::default();
        let mut told = BTreeSet::new();
        assert_eq!(late(&mut told, [&none, &record(&[1])]), [id(1)]);
        assert_eq!(late(&mut told, [&record(&[1]), &record(&[1, 2])]), [id(2)]);
        assert_eq!(late(&mut told, [&record(&[1, 2]), &none]), []);
        // Killed after the record: it is struck in the very look in which the next process finds it.
        assert_eq!(late(&mut BTreeSet::new(), [&record(&[1]), &none]), [id(1)]);
        let other = ending(&[3], TerminationReason::ScaleDown);
        assert_eq!(late(&mut BTreeSet::new(), [&other, &other]), []);
    }

    #[test]
    fn a_console_becomes_one_printable_line() {
        let console = "[  1.0] boot\r\n\u{1b}[1;31mfailed\u{1b}[0m\tall\r\n\r\n\u{7}exit 7\u{0}\n";
        assert_eq!(printable(console), "[  1.0] boot | failed all | exit 7");
        assert_eq!(printable("\u{1b}"), "");
    }

    #[test]
    fn the_end_is_quoted_by_characters() {
        assert_eq!(tail("äöü", 3), "äöü");
        assert_eq!(tail("äöü", 2), "...öü");
    }
}
