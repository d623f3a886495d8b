"""Human doors: the web chat and the terminal."""
