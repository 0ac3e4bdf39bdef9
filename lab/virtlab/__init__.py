"""virtlab: a cluster for one machine, for playbooks and tests."""

__version__ = "0.1.0"
