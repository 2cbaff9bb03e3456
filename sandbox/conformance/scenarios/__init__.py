"""What AWS does, as the sandbox must do it. One file a topic."""

from . import describe, faults, identity, images, launch, lifecycle, network, objects, templates, tokens  # noqa: F401
