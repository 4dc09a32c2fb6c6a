"""The upgrade scripts, in order; a script that has been released is never edited."""
