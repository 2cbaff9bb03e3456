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

impl ImageRow {
    fn is_of(&self, owner: &str, account: &AccountId) -> bool {
        match owner {
            "self" => self.owner == *account,
            "amazon" => self.owner_alias.as_deref() == Some("amazon"),
            id => self.owner.as_str() == id,
        }
    }
}

/// How many images that cannot be launched are remembered by id.
const NAMED: usize = 5;
/// How many available images are remembered: one more than a user can reject.
const NEWEST: usize = 33;

/// What a selector matches: the newest images of each state, because a selector may match all images of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewestImages {
    /// The newest first.
    pub available: Vec<ImageRow>,
    /// The newest available image that is not old enough.
    pub young: Option<ImageRow>,
    pub pending: Option<ImageRow>,
    /// The first images that cannot be launched, and how many there are.
    pub unusable: Vec<ImageId>,
    pub unusable_total: usize,
}

impl NewestImages {
    /// Adds an image of an owner in `selector`. EC2 was asked only for those, but the owner is checked again: an image
    /// of another owner with a similar name is a known attack.
    pub fn add(&mut self, selector: &AmiSelector, old_enough: Timestamp, account: &AccountId, row: ImageRow) {
        if !selector.owners.iter().any(|owner| row.is_of(owner, account)) {
            return;
        }
        let newest = match &row.state {
            ImageState::Available if row.created_at > old_enough => &mut self.young,
            ImageState::Available => {
                let rank = |row: &ImageRow| std::cmp::Reverse((row.created_at, row.id.clone()));
                let place = self.available.partition_point(|other| rank(other) < rank(&row));
                self.available.insert(place, row);
                self.available.truncate(NEWEST);
                return;
            }
            ImageState::Pending => &mut self.pending,
            ImageState::Unusable(_) => {
                self.unusable_total += 1;
                if self.unusable.len() < NAMED {
                    self.unusable.push(row.id);
                }
                return;
            }
        };
        if newest.as_ref().is_none_or(|newest| (newest.created_at, &newest.id) <= (row.created_at, &row.id)) {
            *newest = Some(row);
        }
    }
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

    /// The newest images that match `selector`, for an object in `account`. Those made after `old_enough` are told apart.
    pub async fn newest_images(
        &self,
        selector: &AmiSelector,
        old_enough: Timestamp,
        account: &AccountId,
    ) -> Result<NewestImages, Error> {
        let AmiSelector { owners, name, description, tags } = selector;
        let filter = |key: &str, value: &String| Filter::builder().name(key).values(value).build();
        let mut filters: Vec<_> = tags.iter().flat_map(tag_filters).collect();
        filters.extend(name.iter().map(|name| filter("name", name)));
        filters.extend(description.iter().map(|description| filter("description", description)));
        let call = self.client.describe_images().set_owners(Some(owners.clone())).set_filters(Some(filters));
        let mut pages = call.include_deprecated(true).max_results(PAGE).into_paginator().send();
        let mut newest = NewestImages::default();
        while let Some(page) = pages.next().await {
            for image in page.map_err(|e| Error::from_sdk(OPERATION, &e))?.images() {
                newest.add(selector, old_enough, account, row(image)?);
            }
        }
        Ok(newest)
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
