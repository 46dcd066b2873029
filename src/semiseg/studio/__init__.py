"""``semiseg studio``: see, label, train, correct, again, in one browser tab; nothing leaves this machine."""
