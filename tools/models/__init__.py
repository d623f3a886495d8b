"""Models on disk: list, search, download and delete language models, checkpoints, LoRAs and VAEs of Ollama, ComfyUI and SD WebUI."""
