"""What a call needs besides its pickle: the user's own modules, and packages."""
