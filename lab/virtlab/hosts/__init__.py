"""KVM hosts on one machine: each in namespaces of its own, with its own libvirtd, joined by a network of their own."""
