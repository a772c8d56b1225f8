"""Does discrete feedback help: on points and on drawn faces."""
