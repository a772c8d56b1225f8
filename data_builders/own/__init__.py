"""Your own recordings as a TFDS builder, and the reader of the csv file that goes with them."""
