//! The preferences of an instance refresh.

use super::call::{invalid, list, null};
use crate::error::ApiError;
use crate::protocol::params::Scope;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::refresh::{RefreshPreferences, Reluctant};

/// Two days, in seconds.
const LONGEST_WAIT: u32 = 172_800;

pub(super) fn read(root: &Scope<'_>) -> Result<RefreshPreferences, ApiError> {
    let Some(scope) = root.child("Preferences") else { return Ok(RefreshPreferences::default()) };
    let mut checkpoint_percentages = Vec::new();
    for text in list(&scope, "CheckpointPercentages") {
        let percentage = text.parse::<u32>().ok().filter(|percentage| (1..=100).contains(percentage));
        checkpoint_percentages
            .push(percentage.ok_or_else(|| invalid("CheckpointPercentages must be integers from 1 to 100."))?);
    }
    let alarms = scope.child("AlarmSpecification").map(|scope| list(&scope, "Alarms")).unwrap_or_default();
    let preferences = RefreshPreferences {
        min_healthy_percentage: within(&scope, "MinHealthyPercentage", 0, 100)?,
        max_healthy_percentage: within(&scope, "MaxHealthyPercentage", 100, 200)?,
        instance_warmup: scope.integer("InstanceWarmup")?,
        checkpoint_percentages,
        checkpoint_delay: within(&scope, "CheckpointDelay", 0, LONGEST_WAIT)?,
        skip_matching: scope.boolean("SkipMatching")?.unwrap_or(false),
        auto_rollback: scope.boolean("AutoRollback")?.unwrap_or(false),
        scale_in_protected: reluctant(&scope, "ScaleInProtectedInstances", "Refresh")?,
        standby: reluctant(&scope, "StandbyInstances", "Terminate")?,
        alarms: alarms.into_iter().map(str::to_owned).collect(),
        bake_time: within(&scope, "BakeTime", 0, LONGEST_WAIT)?,
    };
    check(&preferences)?;
    Ok(preferences)
}

fn within(scope: &Scope<'_>, field: &str, least: u32, most: u32) -> Result<Option<u32>, ApiError> {
    let value = scope.integer::<i64>(field)?;
    let good = |value: i64| u32::try_from(value).ok().filter(|value| (least..=most).contains(value));
    let refuse = |value: i64| {
        let (side, bound) = if value < i64::from(least) { ("greater than", least) } else { ("less than", most) };
        let mut name = field.to_owned();
        name[..1].make_ascii_lowercase();
        invalid(format!(
            "1 validation error detected: Value '{value}' at 'preferences.{name}' failed to satisfy constraint: Member \
             must have value {side} or equal to {bound}"
        ))
    };
    value.map(|value| good(value).ok_or_else(|| refuse(value))).transpose()
}

fn reluctant(scope: &Scope<'_>, field: &str, replace: &str) -> Result<Reluctant, ApiError> {
    let allowed = [(replace, Reluctant::Replace), ("Ignore", Reluctant::Ignore), ("Wait", Reluctant::Wait)];
    Ok(scope.one_of(field, &allowed)?.unwrap_or_default())
}

fn check(preferences: &RefreshPreferences) -> Result<(), ApiError> {
    match (preferences.min_healthy_percentage, preferences.max_healthy_percentage) {
        (None, Some(_)) => {
            return Err(invalid("MinHealthyPercentage must be specified when MaxHealthyPercentage is specified."));
        }
        (Some(min), Some(max)) if max - min > 100 => {
            return Err(invalid(
                "The difference between MaxHealthyPercentage and MinHealthyPercentage cannot be greater than 100.",
            ));
        }
        _good => {}
    }
    let checkpoints = &preferences.checkpoint_percentages;
    if !checkpoints.is_sorted_by(|one, next| one < next) {
        return Err(invalid("CheckpointPercentages must be unique and in ascending order."));
    }
    if checkpoints.is_empty() && preferences.checkpoint_delay.is_some() {
        return Err(null("Preferences.CheckpointPercentages"));
    }
    if preferences.alarms.len() > 10 {
        return Err(invalid("At most 10 alarms can be specified."));
    }
    Ok(())
}

pub(super) fn write(xml: &mut Xml, preferences: &RefreshPreferences) {
    let name = |reluctant: Reluctant, replace: &'static str| match reluctant {
        Reluctant::Replace => replace,
        Reluctant::Ignore => "Ignore",
        Reluctant::Wait => "Wait",
    };
    xml.option("MinHealthyPercentage", preferences.min_healthy_percentage);
    xml.option("MaxHealthyPercentage", preferences.max_healthy_percentage);
    xml.option("InstanceWarmup", preferences.instance_warmup);
    if !preferences.checkpoint_percentages.is_empty() {
        xml.texts("CheckpointPercentages", &preferences.checkpoint_percentages);
        xml.text("CheckpointDelay", preferences.delay().as_secs());
    }
    xml.text("SkipMatching", preferences.skip_matching);
    xml.text("AutoRollback", preferences.auto_rollback);
    xml.text("ScaleInProtectedInstances", name(preferences.scale_in_protected, "Refresh"));
    xml.text("StandbyInstances", name(preferences.standby, "Terminate"));
    if !preferences.alarms.is_empty() {
        xml.element("AlarmSpecification", |xml| xml.texts("Alarms", &preferences.alarms));
    }
    xml.option("BakeTime", preferences.bake_time);
}
