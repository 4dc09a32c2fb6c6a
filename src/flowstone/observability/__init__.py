"""Observers and what they need: log shapes and the capture of users' lines. Imports events, never stores."""
