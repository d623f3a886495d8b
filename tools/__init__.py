"""One folder per feature, each with its typed tools."""
