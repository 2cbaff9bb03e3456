//! What would be done, without a controller: for `muster plan -f --aws`, and for `muster.dev/plan-only`.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    access::{Permits, grants::Namespace},
    aws::{Aws, Session},
    clock::{Clock, Timings},
    condition::{ConditionType, Reason, Truth, Verdict},
    crd::{
        aws_account::{AwsAccountSpec, Grant, NamespaceGrant},
        launch_template_pin::LaunchTemplatePin,
    },
    ids::Region,
    inventory::{instances::Sweeps, lookups::Lookups},
    k8s::{live::Live, object::Object},
    kinds::launch_template_pin::{
        conditions::verdicts,
        desired::{Desired, desired},
        found::Found,
        memory::PinMemory,
        observe::{Freshness, Reader, observe, read_refreshes, template_id},
        observed::Observed,
        plan::{Assessment, Call, PlanContext, forecast::forecast, target::target},
    },
    reconcile::{Failure, Forecast},
};

/// What a controller would do with the object, as the caller's own identity sees AWS. Nothing is changed.
pub(super) async fn preview(aws: &Aws, live: &Live<LaunchTemplatePin>) -> Result<Forecast, Failure> {
    let desired = desired(live)?;
    let spec = &live.object().spec;
    let region = Region::try_from(spec.aws.region.as_str());
    let region = region.map_err(|error| Failure::InvalidSpec(format!("spec.aws.region: {error}")))?;
    let identity = aws.identity(None, &region).await?;
    let session: Session = aws.session(identity.account, region, None).await;
    let (timings, sweeps) = (Timings::default(), Sweeps::default());
    let lookups = Lookups::new(timings);
    let reader = Reader { sweeps: &sweeps, lookups: &lookups, references: None, timings: &timings };
    let permits = everything(live);
    let now = Clock.monotonic();
    let id = template_id(&reader, &session, live, &permits, now).await?;
    let freshness = Freshness { not_before: now, own: false };
    let wanted = (&desired, &permits, &id);
    let mut observed = observe(&reader, &session, live, wanted, &mut PinMemory::default(), freshness).await?;
    let target = target(&desired, &observed, &live.status(), live.uid(), Clock.now());
    read_refreshes(&session, live, &desired, &mut observed, &target).await?;
    let template = observed.template.id.to_string();
    let steps: Vec<_> = steps(live, &desired, &observed).iter().map(|call| call.describe(&template)).collect();
    let assessment = assess(live, &desired, &observed);
    let found = Found { desired: &desired, observed: &observed, assessment: &assessment, planned: &[], acts: true };
    let verdicts = verdicts(&found, &live.status(), &PinMemory::default());
    let is_stalled = |verdict: &&Verdict| verdict.condition == ConditionType::Stalled;
    let stalled = verdicts.iter().find(is_stalled);
    let mut notes: Vec<String> = Vec::new();
    for verdict in stalled.into_iter().chain(verdicts.iter().filter(|verdict| is_problem(verdict))) {
        let note = format!("{}: {}", verdict.reason.as_str(), verdict.message);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    Ok(Forecast { steps, notes, is_stalled: stalled.is_some() })
}

/// What keeps something from happening that the spec asks for.
fn is_problem(verdict: &Verdict) -> bool {
    let waits = matches!(verdict.reason, Reason::AwaitingApproval | Reason::WindowClosed | Reason::OtherWriter);
    match verdict.condition {
        ConditionType::AmiResolved => verdict.truth == Truth::False,
        ConditionType::TemplateUpdated => waits,
        ConditionType::GroupsFollowing => {
            matches!(verdict.reason, Reason::GroupsNotFollowing | Reason::NoGroups) && verdict.truth == Truth::False
        }
        ConditionType::Refreshing => matches!(verdict.reason, Reason::RefreshBlocked | Reason::RefreshFailed),
        _ => false,
    }
}

fn assess(live: &Live<LaunchTemplatePin>, desired: &Desired, observed: &Observed) -> Assessment {
    with_context(live, |context| Assessment::of(desired, observed, &live.status(), context))
}

/// All calls that would be made from now on.
pub(super) fn steps(live: &Live<LaunchTemplatePin>, desired: &Desired, observed: &Observed) -> Vec<Call> {
    with_context(live, |context| forecast(desired, observed, &live.status(), context))
}

fn with_context<T>(live: &Live<LaunchTemplatePin>, then: impl FnOnce(&mut PlanContext<'_>) -> T) -> T {
    let (none, no_versions) = (BTreeSet::new(), BTreeSet::new());
    let mut nonce = || 0;
    let mut context = PlanContext {
        uid: live.uid(),
        now: Clock.now(),
        holder: "",
        nonce: &mut nonce,
        waits: &none,
        refused: &no_versions,
        retries: false,
    };
    then(&mut context)
}

/// The grants are those of the AwsAccount, which is not asked: IAM limits the caller.
fn everything(live: &Live<LaunchTemplatePin>) -> Permits<'_> {
    let all = || vec!["*".to_owned()];
    let grant = Grant {
        kinds: all(),
        launch_templates: all(),
        auto_scaling_groups: all(),
        parameter_paths: all(),
        topics: all(),
        namespaces: NamespaceGrant { names: all(), selector: None },
        ..Grant::default()
    };
    let spec = Arc::new(AwsAccountSpec {
        role_arn: None,
        external_id: None,
        regions: vec![live.object().spec.aws.region.clone()],
        grants: vec![grant],
        suspend: false,
    });
    let namespace = Namespace { name: live.namespace(), ..Namespace::default() };
    Permits { account: &live.object().spec.aws.account_ref.name, spec, kind: LaunchTemplatePin::NAME, namespace }
}
