#!/usr/bin/python
# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_screenshot
short_description: Save what the display of a virtual machine shows
description:
  - Saves what the display of a running guest shows as a PNG file where the task runs.
version_added: 0.1.0
author:
  - The virtstack.core founders (@virtstack)
extends_documentation_fragment:
  - virtstack.core.cluster
attributes:
  check_mode:
    support: full
    description: The picture is taken and compared, and no file is written.
  diff_mode:
    support: none
    description: Pictures are not shown.
seealso:
  - module: virtstack.core.vm_console_log
options:
  name:
    description: Name of the machine.
    type: str
    required: true
  namespace:
    description: Its namespace.
    type: str
    required: true
  dest:
    description:
      - Path of the file to write. Its directory must exist. A file that is there is replaced as a whole, and only when
        the picture is another one.
      - A path that is a directory is refused.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: See what the guest shows
  virtstack.core.vm_screenshot:
    name: db
    namespace: prod
    dest: /tmp/db.png
"""

RETURN = r"""
dest:
  description: Path of the file.
  returned: success
  type: str
width:
  description: Width of the picture in pixels.
  returned: success
  type: int
height:
  description: Height of the picture in pixels.
  returned: success
  type: int
size:
  description: Size of the file in bytes.
  returned: success
  type: int
"""

from ansible_collections.virtstack.core.plugins.module_utils.cluster.client import connect
from ansible_collections.virtstack.core.plugins.module_utils.cluster.options import CONNECTION_OPTIONS
from ansible_collections.virtstack.core.plugins.module_utils.objects.kubevirt_console import save_screenshot
from ansible_collections.virtstack.core.plugins.module_utils.task import ModuleSpec, Result, Task, main

SPEC = ModuleSpec(
    {
        **CONNECTION_OPTIONS,
        "name": {"type": "str", "required": True},
        "namespace": {"type": "str", "required": True},
        "dest": {"type": "path", "required": True},
    }
)


def run(task: Task) -> Result:
    return save_screenshot(connect(task.params), task)


if __name__ == "__main__":
    main(SPEC, run)
