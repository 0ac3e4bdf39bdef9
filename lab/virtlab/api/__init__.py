"""HTTP in front of the cluster: what kube-apiserver's handlers do."""
