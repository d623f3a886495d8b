"""What is posted on Discord on somebody's behalf: messages now and later, and polls."""
