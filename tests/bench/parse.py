"""How long an inventory takes once Ansible is up: parse.py FILE prints the seconds of the best of three."""

from __future__ import annotations

import sys
import time

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader


def main() -> None:
    try:
        # From ansible-core 2.16 on, a program says itself that collections may be loaded.
        from ansible.plugins.loader import init_plugin_loader

        init_plugin_loader()
    except ImportError:
        pass
    seconds = []
    for _number in range(3):
        start = time.perf_counter()
        InventoryManager(loader=DataLoader(), sources=[sys.argv[1]])
        seconds.append(time.perf_counter() - start)
    print(f"parsed in {min(seconds):.4f}")


if __name__ == "__main__":
    main()
