"""Services: which AI and other services there are, whether they are up, down or slow right now; start, stop, restart, logs, and install one on a machine."""
