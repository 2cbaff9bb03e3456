//! The progress as a status stores it: the indexes that are done, and the workers that hold one.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    crd::{
        indexes::Indexes,
        worker_job::{Holder, IndexFailures, WorkerJobStatus},
    },
    workers::{
        ledger::progress::{Finish, Progress},
        status::whole,
    },
};

pub(super) fn progress_of(status: &WorkerJobStatus) -> Progress {
    let count = |stored: i32| u32::try_from(stored).unwrap_or_default();
    let failures = status.index_failures.iter().flat_map(|entry| {
        let count = count(entry.count);
        entry.indexes.iter().map(move |index| (index, count))
    });
    let holders = status.instances.iter().map(|holder| {
        let index = holder.index.and_then(|index| u32::try_from(index).ok());
        (holder.id.clone(), index)
    });
    let finished = status.outcome.zip(status.completion_time.as_ref());
    let progress = Progress {
        completed: status.completed_indexes.clone(),
        failed: status.failed_indexes.clone(),
        failures: failures.filter(|(_, count)| *count > 0).collect(),
        unlisted: count(status.workers.instances_total).saturating_sub(status.instances.len() as u32),
        holders: holders.collect(),
        sealed: BTreeMap::new(),
        started: status.start_time.as_ref().map(|time| time.0),
        finished: finished.map(|(outcome, at)| Finish { outcome, at: at.0 }),
    };
    progress.with_sealed_text(&status.unlisted_workers)
}

pub(super) fn with_progress(mut status: WorkerJobStatus, progress: &Progress) -> WorkerJobStatus {
    let mut by_count: BTreeMap<u32, Indexes> = BTreeMap::new();
    for (index, count) in &progress.failures {
        by_count.entry(*count).or_default().insert(*index);
    }
    let duration = progress.started.zip(progress.finished).map(|(started, finish)| finish.at.duration_since(started));
    let failures = by_count.into_iter().map(|(count, indexes)| IndexFailures { count: whole(count), indexes });
    let holders = progress.holders.iter().map(|(id, index)| Holder { id: id.clone(), index: index.map(whole) });
    status.workers.instances_total = whole(progress.holders.len() + progress.unlisted as usize);
    status.workers.instances_truncated = progress.unlisted > 0;
    WorkerJobStatus {
        succeeded: whole(progress.completed.len()),
        failed: whole(progress.failed.len()),
        completed_indexes: progress.completed.clone(),
        failed_indexes: progress.failed.clone(),
        index_failures: failures.collect(),
        instances: holders.collect(),
        unlisted_workers: progress.sealed_text(),
        start_time: progress.started.map(Time),
        completion_time: progress.finished.map(|finish| Time(finish.at)),
        duration: duration.map(|span| human(span.unsigned_abs())),
        outcome: progress.finished.map(|finish| finish.outcome),
        ..status
    }
}

/// A duration as kubectl writes it: its two largest units.
fn human(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")];
    let greatest = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let two = parts[greatest..].iter().take(2).enumerate();
    two.filter(|(place, (n, _))| *place == 0 || *n > 0).map(|(_, (n, unit))| format!("{n}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        crd::worker_job::JobOutcome,
        kinds::worker_job::sample::{at, id},
        workers::ledger::progress::Seal,
    };

    #[test]
    fn progress_survives_a_round_trip() {
        let progress = Progress {
            completed: [0, 1, 2, 7].into_iter().collect(),
            failed: [9].into_iter().collect(),
            failures: [(3, 1), (5, 2), (6, 1)].into(),
            holders: [(id(7), Some(3)), (id(8), None)].into(),
            unlisted: 5,
            sealed: [(4, Seal::new(4, &id(9))), (8, Seal::new(8, &id(10)))].into(),
            started: Some(at(10)),
            finished: Some(Finish { outcome: JobOutcome::FailedIndexes, at: at(100) }),
        };
        let status = with_progress(WorkerJobStatus::default(), &progress);
        assert_eq!(progress_of(&status), progress);
        let stored = serde_json::to_value(&status).unwrap();
        assert_eq!(stored["completedIndexes"], "0-2,7");
        // Of the indexes 3 to 6 and 8.
        let [fourth, eighth] = [4, 8].map(|index| progress.sealed[&index]);
        assert_eq!(stored["unlistedWorkers"], format!(".{fourth}..{eighth}"));
        assert_eq!(stored["indexFailures"], json!([{"count": 1, "indexes": "3,6"}, {"count": 2, "indexes": "5"}]));
        assert_eq!(progress_of(&serde_json::from_value(stored).unwrap()), progress);
        assert_eq!((status.workers.instances_total, status.workers.instances_truncated), (7, true));
        assert_eq!((status.succeeded, status.failed, status.duration.as_deref()), (4, 1, Some("1m30s")));
    }

    #[test]
    fn a_changed_record_of_workers_never_panics() {
        for text in ["", ".", "....", "abc", "abcd", "äbcd", "!!!!", "abcdé", ".abcd.", "abcde"] {
            let status = WorkerJobStatus { unlisted_workers: text.into(), ..WorkerJobStatus::default() };
            assert!(progress_of(&status).sealed.len() <= 1, "{text}");
        }
    }

    #[test]
    fn a_duration_is_shown_with_its_two_largest_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m"), (3725, "1h2m"), (7200, "2h"), (90_061, "1d1h")] {
            assert_eq!(human(Duration::from_secs(seconds)), text);
        }
    }
}
