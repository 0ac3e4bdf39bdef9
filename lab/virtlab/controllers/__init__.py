"""The controllers: everything that acts behind the API. What a simulated kubelet, guest or image would do is played."""
