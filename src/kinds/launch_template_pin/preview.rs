//! What would be done, without a controller: for `muster plan -f --aws`, and for `muster.dev/plan-only`.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    access::{Permits, grants::Namespace},
    aws::{Aws, Session},
    clock::{Clock, Timings},
    crd::{
        aws_account::{AwsAccountSpec, Grant, NamespaceGrant},
        launch_template_pin::LaunchTemplatePin,
    },
    ids::Region,
    inventory::{instances::Sweeps, lookups::Lookups},
    k8s::{live::Live, object::Object},
    kinds::launch_template_pin::{
        desired,
        desired::Desired,
        memory::PinMemory,
        observe::{Freshness, Reader, observe, read_refreshes, template_id},
        observed::Observed,
        plan::{Call, PlanContext, forecast::forecast, target::target},
    },
    reconcile::Failure,
};

/// What a controller would do with the object, as the caller's own identity sees AWS. Nothing is changed.
pub(super) async fn preview(aws: &Aws, live: &Live<LaunchTemplatePin>) -> Result<Vec<String>, Failure> {
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
    Ok(steps(live, &desired, &observed).iter().map(|call| call.describe(&template)).collect())
}

/// All calls that would be made from now on.
pub(super) fn steps(live: &Live<LaunchTemplatePin>, desired: &Desired, observed: &Observed) -> Vec<Call> {
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
    forecast(desired, observed, &live.status(), &mut context)
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
    Permits { account: "", spec, kind: LaunchTemplatePin::NAME, namespace }
}
