"""What a request wants to do, as authorization sees it."""

from __future__ import annotations

from dataclasses import dataclass

from virtlab.operation import User
from virtlab.status import StatusError

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Attributes:
    """C(path) is set for requests about no resource, such as C(/version), the rest for all others."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def forbidden(self, user: User) -> StatusError:
        """The 403 that the API server gives, down to its wording."""
        if self.path:
            message = f'forbidden: User "{user.name}" cannot {self.verb} path "{self.path}"'
            return StatusError(403, message, "Forbidden")
        qualified = f"{self.resource}.{self.group}" if self.group else self.resource
        subject = f'{qualified} "{self.name}"' if self.name else qualified
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        message = (
            f'{subject} is forbidden: User "{user.name}" cannot {self.verb} resource "{self.full_resource}" '
            f'in API group "{self.group}" {scope}'
        )
        details = {"name": self.name, "group": self.group, "kind": self.resource}
        return StatusError(403, message, "Forbidden", {key: value for key, value in details.items() if value})
