"""One runnable comparison per measured goal; `python -m benchmarks` prints them all."""
