"""Tests of the recall tools."""
