"""`make demo`: real traffic through the local cloud, watched live and checked to the last value."""
