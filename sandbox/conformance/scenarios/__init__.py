"""What AWS does, as the sandbox must do it. One file a topic."""

from . import (  # noqa: F401
    describe,
    faults,
    groups,
    identity,
    images,
    launch,
    lifecycle,
    metrics,
    network,
    objects,
    parameters,
    refreshes,
    templates,
    tokens,
    topics,
)
