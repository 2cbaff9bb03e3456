//! Counts the calls of all SDK clients by operation.

use std::sync::Arc;

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::FinalizerInterceptorContextRef, dyn_dispatch_hint},
        orchestrator::Metadata,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::config_bag::ConfigBag;

use crate::metrics::Metrics;

#[derive(Clone, Debug)]
pub(super) struct CallCounter(pub(super) Arc<Metrics>);

#[dyn_dispatch_hint]
impl Intercept for CallCounter {
    fn name(&self) -> &'static str {
        "CallCounter"
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let outcome = match context.output_or_error() {
            Some(Ok(_)) => "ok",
            Some(Err(error)) if error.is_operation_error() => "refused",
            Some(Err(_)) | None => "unanswered",
        };
        if let Some(metadata) = config.load::<Metadata>() {
            self.0.called(metadata.service(), metadata.name(), outcome);
        }
        Ok(())
    }
}
