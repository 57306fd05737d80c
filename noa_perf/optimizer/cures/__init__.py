"""What to change: the code to add, in the words of the place where it goes."""
