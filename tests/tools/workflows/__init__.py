"""Tests of the workflows feature."""
