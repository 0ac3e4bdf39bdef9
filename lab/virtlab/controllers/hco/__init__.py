"""OpenShift Virtualization's operators: HyperConverged and the components it brings."""
