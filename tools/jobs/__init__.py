"""Jobs: see long work that runs or waits, its progress and log; submit, cancel, retry, reorder."""
