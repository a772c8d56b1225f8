"""Networks, as Flax modules; everything above sees pure functions over pytrees."""
