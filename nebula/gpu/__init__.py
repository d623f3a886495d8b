"""GPU memory: snapshots, placement and the drivers of the services that use it."""
