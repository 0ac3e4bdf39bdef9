"""The actions that virt-api serves as C(subresources.kubevirt.io): pkg/virt-api/rest of KubeVirt."""
