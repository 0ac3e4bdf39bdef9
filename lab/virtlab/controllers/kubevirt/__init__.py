"""KubeVirt: virtual machines, their instances, and what moves, copies and saves them."""
