//! Chooses the image. Pure.

use jiff::Timestamp;

use crate::{
    aws::ec2::{ImageRow, ImageState, NewestImages},
    crd::template::AmiSelector,
    ids::list,
    workers::launch_spec::resolve::{
        resolution::Image,
        unresolved::{Why, marks},
    },
};

/// The newest available image that matches `selector`.
pub(super) fn choose(selector: &AmiSelector, newest: NewestImages, now: Timestamp) -> Result<Image, Why> {
    let NewestImages { available, young: _, pending, unusable, unusable_total } = newest;
    if let Some(row) = available.first() {
        return Ok(image(row, now));
    }
    if let Some(row) = pending {
        return Err(self::pending(&row));
    }
    let described = described(selector);
    Err(Why::Nothing(if unusable.is_empty() {
        format!(
            "no image matches {described}: create one, share it with this account, or change spec.template.ami.selector"
        )
    } else {
        let (count, named) = (unusable_total, list(unusable.iter(), unusable.len()));
        format!(
            "no image that matches {described} is available ({count} cannot be launched: {named}): create one, or change \
             spec.template.ami.selector"
        )
    }))
}

/// An image that is named by id, if it can be launched.
pub(super) fn usable(row: &ImageRow, now: Timestamp) -> Result<Image, Why> {
    match &row.state {
        ImageState::Available => Ok(image(row, now)),
        ImageState::Pending => Err(pending(row)),
        ImageState::Unusable(state) => {
            Err(Why::Nothing(format!("{} is {state} and cannot be launched: use another image", row.id)))
        }
    }
}

fn image(row: &ImageRow, now: Timestamp) -> Image {
    let deprecated = row.deprecated_at.is_some_and(|since| since <= now);
    Image { id: row.id.clone(), name: row.name.clone(), deprecated }
}

fn pending(row: &ImageRow) -> Why {
    Why::Pending(format!("{} is still pending: muster uses it once it is available", row.id))
}

fn described(selector: &AmiSelector) -> String {
    let AmiSelector { owners, name, description, tags } = selector;
    let name = name.iter().map(|name| format!("name {name}"));
    let description = description.iter().map(|description| format!("description {description}"));
    let tags = tags.iter().map(|tags| format!("tags {}", marks(tags)));
    let all: Vec<_> = name.chain(description).chain(tags).collect();
    format!("{} of owners {}", all.join(", "), owners.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountId, ImageId};

    const US: &str = "111111111111";

    fn now() -> Timestamp {
        "2026-06-01T00:00:00Z".parse().unwrap()
    }

    fn row(n: u32, owner: &str, month: u32, state: ImageState) -> ImageRow {
        ImageRow {
            id: ImageId::try_from(format!("ami-{n:08x}")).unwrap(),
            name: Some(format!("app-{n}")),
            owner: AccountId::try_from(owner).unwrap(),
            owner_alias: (owner == "137112412989").then(|| "amazon".to_owned()),
            state,
            created_at: format!("2026-{month:02}-01T00:00:00Z").parse().unwrap(),
            deprecated_at: None,
        }
    }

    fn folded(selector: &AmiSelector, rows: &[ImageRow]) -> NewestImages {
        let (mut newest, us) = (NewestImages::default(), AccountId::try_from(US).unwrap());
        rows.iter().for_each(|row| newest.add(selector, Timestamp::MAX, &us, row.clone()));
        newest
    }

    fn chosen(owners: &[&str], rows: &[ImageRow]) -> Result<String, Why> {
        let owners = owners.iter().map(|owner| (*owner).to_owned()).collect();
        let selector = AmiSelector { owners, name: Some("app-*".into()), description: None, tags: None };
        choose(&selector, folded(&selector, rows), now()).map(|image| image.id.to_string())
    }

    #[test]
    fn the_newest_available_image_is_selected() {
        use ImageState::{Available, Pending};
        let rows = [row(1, US, 1, Available), row(3, US, 3, Pending), row(2, US, 2, Available)];
        assert_eq!(chosen(&["self"], &rows), Ok("ami-00000002".into()));
    }

    #[test]
    fn an_image_of_another_owner_is_never_selected() {
        use ImageState::Available;
        let (stranger, amazon) = ("999999999999", "137112412989");
        let rows = [row(1, US, 1, Available), row(2, stranger, 5, Available), row(3, amazon, 4, Available)];
        for (owners, expected) in [
            (&["self"][..], "ami-00000001"),
            (&[US], "ami-00000001"),
            (&["amazon"], "ami-00000003"),
            (&["self", "amazon"], "ami-00000003"),
            (&[stranger], "ami-00000002"),
        ] {
            assert_eq!(chosen(owners, &rows), Ok(expected.into()), "{owners:?}");
        }
        // An alias of another kind is not Amazon.
        let mut liar = row(4, stranger, 5, Available);
        liar.owner_alias = Some("aws-marketplace".into());
        assert!(chosen(&["amazon"], &[liar]).is_err());
    }

    #[test]
    fn of_many_images_only_the_newest_are_kept() {
        let selector = AmiSelector { owners: vec!["self".into()], name: None, description: None, tags: None };
        let rows: Vec<_> = (0..1000)
            .flat_map(|n| {
                [ImageState::Available, ImageState::Pending, ImageState::Unusable("disabled".into())]
                    .map(|state| row(n, US, 1 + n % 12, state))
            })
            .collect();
        let newest = folded(&selector, &rows);
        let id = |row: Option<ImageRow>| row.unwrap().id.to_string();
        assert_eq!((newest.unusable.len(), newest.unusable_total, newest.available.len()), (5, 1000, 33));
        assert_eq!(
            (id(newest.available.first().cloned()), id(newest.pending)),
            ("ami-000003e3".into(), "ami-000003e3".into())
        );
    }

    #[test]
    fn unusable_images_have_distinct_messages() {
        let message = |rows: &[ImageRow]| match chosen(&["self"], rows).unwrap_err() {
            Why::Pending(message) => ("pending", message),
            Why::Nothing(message) => ("nothing", message),
            Why::Aws(_) | Why::NotGranted(_) | Why::Unrenderable(_) | Why::Kubernetes(_) => panic!("no call was made"),
        };
        let (kind, none) = message(&[]);
        assert_eq!(kind, "nothing");
        assert!(none.starts_with("no image matches name app-* of owners self: "), "{none}");
        let (kind, pending) = message(&[row(1, US, 1, ImageState::Pending)]);
        assert!(kind == "pending" && pending.contains("ami-00000001"), "{pending}");
        let (kind, failed) = message(&[row(1, US, 1, ImageState::Unusable("failed".into()))]);
        assert!(kind == "nothing" && failed.contains("ami-00000001"), "{failed}");
    }

    #[test]
    fn an_image_is_deprecated_from_its_deprecation_time_on() {
        for (time, deprecated) in [("2026-05-31T00:00:00Z", true), ("2026-06-02T00:00:00Z", false)] {
            let row = ImageRow { deprecated_at: Some(time.parse().unwrap()), ..row(1, US, 1, ImageState::Available) };
            assert_eq!(usable(&row, now()).unwrap().deprecated, deprecated);
        }
    }
}
