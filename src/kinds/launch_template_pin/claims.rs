//! Which object of this process manages a launch template, before its tag says so: two objects that are created together
//! would both find it without a tag.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    aws::SessionIdentity,
    ids::{LaunchTemplateId, Uid},
};

type Place = (SessionIdentity, LaunchTemplateId);

/// Cheap to clone; clones share the claims.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Arc<Mutex<HashMap<Place, Uid>>>);

/// It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    place: Place,
}

impl Claims {
    /// Claims the launch template for `uid`.
    ///
    /// # Errors
    /// The uid of the object that has it.
    pub(super) fn claim(&self, place: Place, uid: &Uid, held: &mut Option<Claim>) -> Result<(), Uid> {
        if held.as_ref().is_some_and(|claim| claim.place == place) {
            return Ok(());
        }
        *held = None;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = all.get(&place).filter(|other| *other != uid) {
            return Err(other.clone());
        }
        all.insert(place.clone(), uid.clone());
        drop(all);
        *held = Some(Claim { claims: self.clone(), place });
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_template_is_free_again_when_its_object_is_forgotten() {
        let claims = Claims::default();
        let uid = |n: u32| Uid::try_from(format!("{n:08}-0000-4000-8000-000000000000")).unwrap();
        let place = || {
            let id = LaunchTemplateId::try_from("lt-00000001").unwrap();
            (SessionIdentity::of_test("111111111111", "eu-west-1"), id)
        };
        let (mut first, mut second) = (None, None);
        assert_eq!(claims.claim(place(), &uid(1), &mut first), Ok(()));
        assert_eq!(claims.claim(place(), &uid(1), &mut first), Ok(()));
        assert_eq!(claims.claim(place(), &uid(2), &mut second), Err(uid(1)));
        first = None;
        assert_eq!(claims.claim(place(), &uid(2), &mut second), Ok(()));
        assert!(first.is_none());
    }
}
