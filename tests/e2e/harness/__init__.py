"""What the end-to-end tests and the demo stand on: a registry, images, a cluster, real clients."""
