"""Plans of every engine as one tree, and the faults read off it."""
