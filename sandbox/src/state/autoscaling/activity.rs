//! What a group did, as DescribeScalingActivities tells it.

use jiff::Timestamp;
use serde::Serialize;

/// Older ones are dropped.
const KEPT: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ActivityStatus {
    PreInService,
    InProgress,
    Successful,
    Failed,
}

impl ActivityStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::PreInService => "PreInService",
            Self::InProgress => "InProgress",
            Self::Successful => "Successful",
            Self::Failed => "Failed",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    pub id: String,
    pub description: String,
    pub cause: String,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub status: ActivityStatus,
    pub message: Option<String>,
    pub instance_id: Option<String>,
}

impl Activity {
    pub(crate) fn new(description: String, cause: String, at: Timestamp) -> Self {
        Self {
            id: uuid::Uuid::new_v4().to_string(),
            description,
            cause,
            started: at,
            ended: None,
            status: ActivityStatus::InProgress,
            message: None,
            instance_id: None,
        }
    }

    pub(crate) fn of(mut self, instance_id: &str) -> Self {
        self.instance_id = Some(instance_id.to_owned());
        self
    }

    pub(crate) fn end(&mut self, status: ActivityStatus, at: Timestamp) {
        self.status = status;
        self.ended = Some(at);
    }
}

/// The activities of one group, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Activities(pub Vec<Activity>);

impl Activities {
    pub(crate) fn add(&mut self, activity: Activity) {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push(activity);
    }

    /// Ends what is under way with an instance.
    pub(crate) fn succeed(&mut self, instance_id: &str, at: Timestamp) {
        let open =
            |activity: &&mut Activity| activity.ended.is_none() && activity.instance_id.as_deref() == Some(instance_id);
        for activity in self.0.iter_mut().filter(open) {
            activity.end(ActivityStatus::Successful, at);
        }
    }
}
