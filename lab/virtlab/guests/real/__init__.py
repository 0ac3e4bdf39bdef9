"""Guests that are domains of libvirt, on nodes that are KVM hosts."""
