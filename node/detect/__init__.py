"""What this machine is made of and what runs on it. Nothing here raises for what is not there."""
