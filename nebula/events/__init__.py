"""Events: numbered rows per stream, and waking whoever follows them."""
