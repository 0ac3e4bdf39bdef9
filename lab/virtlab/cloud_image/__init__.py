"""A whole Debian with cloud-init for guests, as clouds have it: what the tiny guest is too small to show."""
