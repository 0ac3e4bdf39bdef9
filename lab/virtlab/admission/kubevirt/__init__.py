"""What virt-api and virt-operator do to writes: pkg/virt-api/webhooks and pkg/virt-operator/webhooks of KubeVirt."""
