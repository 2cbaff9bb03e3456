"""Where moto does otherwise than AWS, and so otherwise than the sandbox. The scenario and the reason.

A scenario that moto passes must not be listed: the conformance test fails on it, so that the table stays true.
"""

MOTO_DIFFERS = {
    # Identity: moto knows no wrong credentials unless its own IAM is switched on.
    "unknown_keys_are_refused": "accepts any key",
    "temporary_keys_need_their_token": "does not look at session tokens",
    "an_unknown_role_is_denied": "lets anybody assume any role, whether it was made or not",
    "role_sessions_are_checked": "does not check session names and durations",
    "a_role_bounds_its_sessions": "has no longest session of a role",
    "an_unknown_action_is_refused": "answers HTTP 500 with a page of HTML",
    # Client tokens.
    "a_token_is_shown": "has no filter client-token",
    "the_same_request_launches_once": "launches again for the same token",
    "a_changed_request_is_a_mismatch": "knows no IdempotentParameterMismatch",
    "a_token_counts_per_zone_when_a_subnet_is_named": "launches again for the same token",
    "a_token_outlives_its_instances": "launches again for the same token",
    "long_tokens_are_refused": "takes tokens of any length",
    # Launches.
    "a_profile_is_named_once": "looks the profile up before it checks the parameters",
    "volumes_follow_the_mappings": "does not hand Iops on from a block device mapping",
    "impossible_volumes_are_refused": "answers InvalidParameterDependency in both cases",
    "spot_instances_say_so": "has no filter instance-lifecycle",
    "an_interface_takes_subnet_and_groups": "loses the groups of an interface",
    "an_interface_excludes_subnet_and_groups": "takes subnets and groups in two places",
    "unknown_images_are_refused": "launches from images that are not there, with a warning for its user",
    "unknown_types_are_refused": "launches types that are not there, with a warning for its user",
    "another_architecture_is_refused": "does not compare architectures",
    "counts_are_checked": "accepts MinCount 0 and MinCount beyond MaxCount",
    "user_data_has_a_limit": "takes user data of any length",
    "metadata_tags_limit_the_keys": "takes any tag key",
    "impossible_tags_are_refused": "does not check the tags of a launch",
    "duplicate_tags_are_refused": "does not check the tags of a launch",
    "a_dry_run_finds_mistakes": "answers a dry run before it looks at the request",
    # Instances.
    "instances_come_up": "shows a state reason on running instances",
    "a_terminated_instance_has_no_network": "leaves the network on terminated instances",
    "terminating_twice_is_fine": "shows a terminated instance as shutting down again",
    "malformed_ids_are_not_terminated": "answers InvalidInstanceID.NotFound for a malformed id",
    "protected_instances_are_not_terminated": "ignores DisableApiTermination at launch",
    "tags_go_to_all_or_none": "tags instances that are not there",
    "ids_are_checked": "names the first missing id only",
    "malformed_ids_are_told_apart": "answers InvalidInstanceID.NotFound for a malformed id",
    "filters_find_their_instances": "compares availability-zone with the whole placement",
    "unknown_filters_are_refused": "ignores filters that it does not know",
    "pages_are_complete": "pages by reservation, not by instance",
    "pages_have_bounds": "takes pages of any size",
    "foreign_page_tokens_are_refused": "answers HTTP 500 with a page of HTML",
    # Objects.
    "unknown_keys_read_nothing": "accepts any key",
    "wrong_checksums_are_refused": "keeps the checksum that it is given",
    # Images and networks.
    "a_registered_image_is_ones_own": "loses the tags of RegisterImage",
    "images_are_found_by_filters": "loses the architecture of RegisterImage",
    "image_names_are_taken_once": "takes a name twice",
    "image_names_are_checked": "takes any name",
    "an_image_needs_a_root_device": "registers images without a root device",
    "a_deregistered_image_is_gone": "launches from images that are not there",
    "a_deregistered_image_is_not_described": "shows a deregistered image when asked by its id",
    "public_images_belong_to_others": "deregisters images of other accounts",
    "unknown_subnet_filters_are_refused": "answers HTTP 500 with a page of HTML",
}
