"""One driver per kind of service: what is loaded, load, unload. Outside errors end here."""
