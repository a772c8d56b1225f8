"""One file a kind of training; stages meet through exports alone."""
