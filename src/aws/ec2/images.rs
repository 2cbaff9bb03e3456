//! Machine images.

use aws_sdk_ec2::types::{Filter, Image, ImageState as SdkImageState};
use jiff::Timestamp;

use crate::{
    aws::{
        Error,
        ec2::{Ec2, tag_filters},
    },
    crd::template::AmiSelector,
    ids::{AccountId, ImageId, InvalidId},
};

const OPERATION: &str = "ec2:DescribeImages";
/// The largest page of DescribeImages.
const PAGE: i32 = 1000;

/// An image as EC2 shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    pub id: ImageId,
    pub name: Option<String>,
    pub owner: AccountId,
    /// The alias of an owner that is AWS: `amazon`, `aws-marketplace`.
    pub owner_alias: Option<String>,
    pub state: ImageState,
    pub created_at: Timestamp,
    /// When its owner deprecates it.
    pub deprecated_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    Available,
    Pending,
    /// A state in which it cannot be launched, as EC2 names it: `failed`, `disabled`, `deregistered`.
    Unusable(String),
}

impl Ec2 {
    /// Describes an image.
    ///
    /// # Errors
    /// [`Class::NotFound`](crate::aws::Class::NotFound), with the code of EC2, for an image that does not exist or that
    /// this account may not use.
    pub async fn image(&self, id: &ImageId) -> Result<ImageRow, Error> {
        let answer = self.client.describe_images().image_ids(id.as_str()).send().await;
        let answer = answer.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        // For some deleted images EC2 returns an empty list.
        answer.images().first().map(row).transpose()?.ok_or_else(|| {
            Error::not_found(OPERATION, "InvalidAMIID.NotFound", format!("The image id '{id}' does not exist"))
        })
    }

    /// The images that match `selector`, in any state.
    pub async fn images(&self, selector: &AmiSelector) -> Result<Vec<ImageRow>, Error> {
        let AmiSelector { owners, name, description, tags } = selector;
        let filter = |key: &str, value: &String| Filter::builder().name(key).values(value).build();
        let mut filters: Vec<_> = tags.iter().flat_map(tag_filters).collect();
        filters.extend(name.iter().map(|name| filter("name", name)));
        filters.extend(description.iter().map(|description| filter("description", description)));
        let call = self.client.describe_images().set_owners(Some(owners.clone())).set_filters(Some(filters));
        let pages = call.include_deprecated(true).max_results(PAGE).into_paginator().items().send();
        let images = pages.try_collect().await.map_err(|e| Error::from_sdk(OPERATION, &e))?;
        images.iter().map(row).collect()
    }
}

fn row(image: &Image) -> Result<ImageRow, Error> {
    let bad = |error: InvalidId| Error::garbled(OPERATION, error);
    let time = |text: &str| text.parse::<Timestamp>().map_err(|error| Error::garbled(OPERATION, error));
    Ok(ImageRow {
        id: ImageId::try_from(image.image_id().unwrap_or_default()).map_err(bad)?,
        name: image.name().map(str::to_owned),
        owner: AccountId::try_from(image.owner_id().unwrap_or_default()).map_err(bad)?,
        owner_alias: image.image_owner_alias().map(str::to_owned),
        state: match image.state() {
            Some(SdkImageState::Available) => ImageState::Available,
            Some(SdkImageState::Pending) => ImageState::Pending,
            other => ImageState::Unusable(other.map_or("unknown", |state| state.as_str()).to_owned()),
        },
        created_at: time(image.creation_date().unwrap_or_default())?,
        deprecated_at: image.deprecation_time().map(time).transpose()?,
    })
}
