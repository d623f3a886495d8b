"""An assistant that obeys every instruction it reads, and what stands between it and harm."""
