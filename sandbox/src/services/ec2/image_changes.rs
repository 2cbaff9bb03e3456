//! DisableImage, EnableImage, EnableImageDeprecation and DisableImageDeprecation

use jiff::Timestamp;

use super::call::{Ec2Call, Operation};
use crate::error::ApiError;
use crate::protocol::params::invalid;
use crate::protocol::xml::Xml;
use crate::state::ec2::ids;
use crate::state::ec2::image::{Image, ImageState};
use crate::state::throttle::MUTATING;

pub(super) const DISABLE: Operation = Operation { name: "DisableImage", requests: MUTATING, run: disable };
pub(super) const ENABLE: Operation = Operation { name: "EnableImage", requests: MUTATING, run: enable };
pub(super) const DEPRECATE: Operation =
    Operation { name: "EnableImageDeprecation", requests: MUTATING, run: enable_deprecation };
pub(super) const UNDEPRECATE: Operation =
    Operation { name: "DisableImageDeprecation", requests: MUTATING, run: disable_deprecation };

fn disable(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    change(call, |image| {
        if image.state != ImageState::Available {
            return Err(in_state(image));
        }
        image.state = ImageState::Disabled;
        // Nobody else may launch it any more, nor when it is enabled again.
        image.public = false;
        Ok(())
    })
}

fn enable(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    change(call, |image| {
        if image.state != ImageState::Disabled {
            return Err(in_state(image));
        }
        image.state = ImageState::Available;
        Ok(())
    })
}

fn enable_deprecation(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    let at = call.root().required("DeprecateAt")?;
    let at: Timestamp = at.parse().map_err(|_not_a_time| invalid(format!("Invalid value '{at}' for DeprecateAt.")))?;
    if at <= call.now {
        return Err(invalid("DeprecateAt must be in the future."));
    }
    change(call, |image| {
        image.deprecated_at = Some(at);
        Ok(())
    })
}

fn disable_deprecation(call: &Ec2Call<'_>) -> Result<Xml, ApiError> {
    change(call, |image| {
        image.deprecated_at = None;
        Ok(())
    })
}

fn in_state(image: &Image) -> ApiError {
    ApiError::new("IncorrectState", format!("The image '{}' is in the state '{}'.", image.id, image.state.name()))
}

/// Changes an image of the caller's own.
fn change(call: &Ec2Call<'_>, work: impl FnOnce(&mut Image) -> Result<(), ApiError>) -> Result<Xml, ApiError> {
    let id = call.root().required("ImageId")?;
    let dry_run = call.finish()?;
    ids::check_image_id(id)?;
    let account = &call.caller.id.account;
    call.with(|world| {
        let image = world.images(&call.caller.region, call.now).get_mut(id);
        let image = image.filter(|image| image.is_visible_to(account)).ok_or_else(|| ids::images_not_found(&[id]))?;
        if image.owner != *account {
            return Err(ApiError::new("AuthFailure", format!("Not authorized for image:{id}"))
                .with_status(http::StatusCode::FORBIDDEN));
        }
        let mut changed = image.clone();
        work(&mut changed)?;
        dry_run.end()?;
        *image = changed;
        let mut xml = Xml::default();
        xml.text("return", true);
        Ok(xml)
    })
}
