//! Groups, their instances and activities in answers.

use super::source;
use crate::protocol::xml::Xml;
use crate::state::autoscaling::activity::{Activity, ActivityStatus};
use crate::state::autoscaling::config::LaunchSource;
use crate::state::autoscaling::group::{AutoScalingGroup, Member};

pub(super) fn group(xml: &mut Xml, group: &AutoScalingGroup, instances: bool) {
    xml.text("AutoScalingGroupName", &group.name);
    xml.text("AutoScalingGroupARN", &group.arn);
    source::write(xml, &group.launch);
    xml.text("MinSize", group.min_size);
    xml.text("MaxSize", group.max_size);
    xml.text("DesiredCapacity", group.desired_capacity);
    xml.text("DefaultCooldown", group.default_cooldown);
    xml.texts("AvailabilityZones", &group.zones);
    xml.texts("LoadBalancerNames", [""; 0]);
    xml.texts("TargetGroupARNs", [""; 0]);
    xml.text("HealthCheckType", &group.health_check_type);
    xml.text("HealthCheckGracePeriod", group.health_check_grace_period);
    let shown = group.members.values().filter(|_| instances);
    xml.members("Instances", shown, |xml, one| {
        member(xml, one);
        if let LaunchSource::Configuration(name) = &group.launch
            && one.template.is_none()
        {
            xml.text("LaunchConfigurationName", name);
        }
    });
    xml.time("CreatedTime", group.created);
    xml.members("SuspendedProcesses", &group.suspended, |xml, (process, reason)| {
        xml.text("ProcessName", process);
        xml.text("SuspensionReason", reason);
    });
    xml.text("VPCZoneIdentifier", group.subnets.join(","));
    xml.members("EnabledMetrics", [(); 0], |_, ()| {});
    xml.option("Status", group.deleting.then_some("Delete in progress"));
    xml.members("Tags", &group.tags, |xml, (key, tag)| {
        xml.text("ResourceId", &group.name);
        xml.text("ResourceType", "auto-scaling-group");
        xml.text("Key", key);
        xml.text("Value", &tag.value);
        xml.text("PropagateAtLaunch", tag.propagate_at_launch);
    });
    xml.texts("TerminationPolicies", &group.termination_policies);
    xml.text("NewInstancesProtectedFromScaleIn", group.new_instances_protected);
    xml.text(
        "ServiceLinkedRoleARN",
        format!(
            "arn:aws:iam::{}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling",
            group.arn.split(':').nth(4).unwrap_or_default()
        ),
    );
    xml.option("DefaultInstanceWarmup", group.default_instance_warmup);
    if let Some(policy) = group.maintenance_policy {
        xml.element("InstanceMaintenancePolicy", |xml| {
            xml.text("MinHealthyPercentage", policy.min_healthy_percentage);
            xml.text("MaxHealthyPercentage", policy.max_healthy_percentage);
        });
    }
    // Newer than some SDKs: shown only where a service is the group's operator.
    if let Some(operator) = &group.operator {
        xml.element("Operator", |xml| xml.text("Principal", operator));
    }
}

pub(super) fn member(xml: &mut Xml, member: &Member) {
    xml.text("InstanceId", &member.instance_id);
    xml.text("InstanceType", &member.instance_type);
    xml.text("AvailabilityZone", &member.zone);
    xml.text("AvailabilityZoneId", &member.zone_id);
    xml.text("LifecycleState", member.state.name());
    xml.text("HealthStatus", health(member));
    if let Some(template) = &member.template {
        xml.element("LaunchTemplate", |xml| {
            xml.text("LaunchTemplateId", &template.id);
            xml.text("LaunchTemplateName", &template.name);
            xml.text("Version", template.version);
        });
    }
    xml.option("ImageId", member.image_id.as_ref());
    xml.text("ProtectedFromScaleIn", member.protected_from_scale_in);
}

pub(super) fn health(member: &Member) -> &'static str {
    if member.healthy { "Healthy" } else { "Unhealthy" }
}

pub(super) fn activity(xml: &mut Xml, group: &str, activity: &Activity) {
    xml.text("ActivityId", &activity.id);
    xml.text("AutoScalingGroupName", group);
    xml.text("Description", &activity.description);
    xml.text("Cause", &activity.cause);
    xml.time("StartTime", activity.started);
    if let Some(ended) = activity.ended {
        xml.time("EndTime", ended);
    }
    xml.text("StatusCode", activity.status.name());
    xml.option("StatusMessage", activity.message.as_ref().map(|text| text.chars().take(255).collect::<String>()));
    xml.text("Progress", if activity.status == ActivityStatus::Successful { 100 } else { 50 });
    xml.text("Details", "{}");
}
