"""Whether nodes have power. A node without it says nothing more, and nothing of it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from virtlab.hosts.requirements import HostError

Followed = Callable[[str], None]


class Power(Protocol):
    """The power of a cluster's nodes. All of it happens in the server's event loop."""

    def down(self, node: str) -> bool: ...

    def follow(self, changed: Followed) -> None:
        """C(changed) is called with the name of a node that went down or came back."""
        ...

    async def cut(self, node: str) -> None:
        """Every process of the node dies at once."""
        ...

    async def restore(self, node: str) -> None:
        """Switch the node on; nothing that ran on it does any more. Raises HostError."""
        ...


class Switches:
    """Implements Power for nodes that are played, and remembers it for those that are not."""

    def __init__(self) -> None:
        self._off: set[str] = set()
        self._followers: list[Followed] = []

    def down(self, node: str) -> bool:
        return node in self._off

    def follow(self, changed: Followed) -> None:
        self._followers.append(changed)

    async def cut(self, node: str) -> None:
        self.set(node, on=False)

    async def restore(self, node: str) -> None:
        self.set(node, on=True)

    def set(self, node: str, *, on: bool) -> None:
        """Tell those who follow, where it is another state than before."""
        if on is not self.down(node):
            return
        if on:
            self._off.remove(node)
        else:
            self._off.add(node)
        for follower in self._followers:
            follower(node)


def checked(power: Power, node: str, *, on: bool) -> None:
    """Raises HostError where a node is in that state already."""
    if power.down(node) is not on:
        raise HostError(f"node {node} is {'on' if on else 'off'} already")
