"""What runs on the nodes: guests that are played, or real ones on KVM hosts. Controllers know neither, but the seam."""
