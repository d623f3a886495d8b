"""Small servers that speak real protocols, and can misbehave."""
