"""Jarvis on Discord: messages, commands and buttons in; streamed answers, files and cards out."""
