# Copyright (c) 2026 The virtstack.core founders
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that wait; they are defined in module_utils/task.py."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until the result is there. The wait ends at once, with the reason, when it cannot come any more.
      - In check mode nothing is waited for.
      - What is waited for is watched. Where the user may get it but not watch it, it is read every 2 seconds, which is
        shown with the progress.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds to wait with O(wait=true). When they are over, the task fails with what was seen last. Must be 0
        or more.
      - That no node has room for a pod (C(Unschedulable)) ends a wait only when that has held for a tenth of these
        seconds, at most 30, since a node may become free or come. Where a cluster autoscaler says that it makes a node
        (the event C(TriggeredScaleUp)), it is waited on. That the source of a clone is missing ends it likewise, after
        at most 10.
    type: int
    default: 300
"""
