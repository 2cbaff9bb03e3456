//! DeregisterImage

use super::call::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::protocol::xml::Xml;
use crate::state::ec2::ids;
use crate::state::throttle::MUTATING;

pub(super) const OPERATION: Operation = Operation { name: "DeregisterImage", requests: MUTATING, run };

fn run(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let root = call.root();
    let id = root.required("ImageId")?;
    root.boolean("DeleteAssociatedSnapshots")?;
    let dry_run = call.finish()?;
    ids::check_image_id(id)?;
    call.with(|world| {
        let images = world.images(&call.caller.region, call.now);
        let image = images.get(id).filter(|image| image.is_visible_to(&call.caller.id.account));
        let image = image.ok_or_else(|| {
            // EC2 tells a deregistered image from one that never was; both end here as unavailable.
            ApiError::new("InvalidAMIID.Unavailable", format!("The image ID '{id}' is no longer available"))
        })?;
        if image.owner != call.caller.id.account {
            return Err(ApiError::new("AuthFailure", format!("Not authorized for image:{id}"))
                .with_status(http::StatusCode::FORBIDDEN));
        }
        dry_run.end()?;
        images.remove(id);
        let mut xml = Xml::default();
        xml.text("return", true);
        Ok(xml)
    })
}
