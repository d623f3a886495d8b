"""GPUs: what is on the graphics cards, how much VRAM is free, switch between AI services, load and unload models."""
