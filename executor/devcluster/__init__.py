"""A Kubernetes API server for pods on loopback, with kubelets that run them as processes or simulate their life."""
