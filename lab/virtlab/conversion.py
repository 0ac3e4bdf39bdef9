"""Objects in another version of their API than the one they are stored in."""

from __future__ import annotations

from collections.abc import Callable

from virtlab.resource import Object, Resource

Converter = Callable[[Object, str], Object]  # the object and the version wanted

_converters: dict[str, Converter] = {}


def converter(qualified: str) -> Callable[[Converter], Converter]:
    """The decorated function converts objects of a resource whose versions differ in more than their name."""

    def register(function: Converter) -> Converter:
        _converters[qualified] = function
        return function

    return register


def convert(obj: Object, resource: Resource) -> Object:
    """C(obj) in the version of C(resource); the original stays as it is."""
    function = _converters.get(resource.qualified)
    if function is not None:
        obj = function(obj, resource.version)
    return {**obj, "apiVersion": resource.api_version}
