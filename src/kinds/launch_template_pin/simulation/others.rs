//! What the user and others do, and what happens by itself.

use std::rc::Rc;

use crate::{
    aws::ec2::ImageState,
    kinds::launch_template_pin::simulation::{
        history::Step,
        scaling::Asg,
        spec::{Edit, image_id},
        world::World,
    },
};

impl World {
    pub(super) fn happen(&mut self, step: Step) {
        let aws = &mut self.aws;
        let name = |n: usize| format!("g{n}");
        match step {
            Step::Image(available) => aws.make_image(available),
            Step::Available => {
                let pending = aws.images.iter_mut().filter(|image| image.state == ImageState::Pending);
                pending.for_each(|image| image.state = ImageState::Available);
            }
            Step::Deregister(n) => {
                let image = aws.images.iter_mut().rev().nth(n);
                image.into_iter().for_each(|image| image.state = ImageState::Unusable("deregistered".into()));
            }
            Step::Version(like) => {
                let image = match like {
                    Some(n) => aws.versions[&aws.nth(n)].image.clone(),
                    None => image_id(901 + aws.versions.len()).to_string(),
                };
                aws.add_version(image, "by others".into(), 0);
            }
            Step::Default(n) => aws.default = aws.nth(n),
            Step::Delete(n) => drop(aws.delete(aws.nth(n))),
            Step::Stick(n) => {
                aws.stuck.insert(aws.nth(n));
            }
            Step::Group(n, version) => {
                let version = version.map_or("$Latest".into(), |nth| aws.nth(nth).to_string());
                aws.groups.get_mut(&name(n)).into_iter().for_each(|group| group.version.clone_from(&version));
            }
            Step::Scale(n, out) => {
                let Some(version) = aws.groups.get(&name(n)).map(|group| aws.resolve(&group.version)) else { return };
                let Some(group) = aws.groups.get_mut(&name(n)) else { return };
                if !out {
                    group.instances.pop();
                } else if aws.versions.contains_key(&version) {
                    group.instances.push(version);
                }
            }
            Step::Made(n, follows) if !aws.groups.contains_key(&name(n)) => {
                let oldest = aws.versions.first_key_value().map_or(1, |(number, _)| *number);
                let version = if follows { "$Latest".into() } else { oldest.to_string() };
                let runs = aws.resolve(&version);
                aws.groups.insert(name(n), Asg::new(&version, n == 2, vec![runs]));
            }
            Step::Gone(n) => drop(aws.groups.remove(&name(n))),
            Step::Tag(n) => aws.groups.get_mut(&name(n)).into_iter().for_each(|group| group.tagged ^= true),
            Step::Process(n) => aws.groups.get_mut(&name(n)).into_iter().for_each(|group| group.suspended ^= true),
            Step::Progress(n) => aws.progress(&name(n)),
            Step::Fails(n) => {
                let refresh = aws.groups.get_mut(&name(n)).and_then(Asg::running);
                refresh.into_iter().for_each(|refresh| refresh.fail());
            }
            Step::Start(n) => drop(aws.start_refresh(&name(n), None, None)),
            Step::Cancel(n) => {
                let refresh = aws.groups.get_mut(&name(n)).and_then(Asg::running);
                refresh.into_iter().for_each(|refresh| refresh.end());
            }
            Step::Instance(Some(n)) => aws.instances.push(aws.nth(n)),
            Step::Instance(None) => aws.instances.clear(),
            Step::Fleet(Some(n)) => {
                aws.fleets.insert(aws.nth(n));
            }
            Step::Fleet(None) => aws.fleets.clear(),
            _ => {}
        }
    }

    pub(super) fn edit(&mut self, edit: Edit) {
        self.touch();
        let (spec, images) = (&mut self.object.spec, self.aws.images.len());
        match edit {
            Edit::Rollback(n) => spec.rollback_to = n.map(|n| self.aws.nth(n)),
            Edit::Reject(n) => {
                let image = images.saturating_sub(n + 1);
                self.rejected.insert(image);
                let known = spec.rejected.iter().position(|rejected| *rejected == image);
                match known {
                    Some(place) => drop(spec.rejected.remove(place)),
                    None => spec.rejected.push(image),
                }
            }
            Edit::Approve => spec.approved = images.checked_sub(1),
            Edit::Refresh => spec.refresh ^= true,
            Edit::Window => spec.window ^= true,
            Edit::SetDefault => spec.set_default ^= true,
            Edit::Suspend => spec.suspend ^= true,
            Edit::Follow(n, follow) => spec.named[n] = follow,
            Edit::Request => {
                self.object.requested = Some(self.aws.now.to_string());
                return;
            }
        }
        self.object.desired = Rc::new(spec.desired());
        self.object.generation += 1;
    }
}
