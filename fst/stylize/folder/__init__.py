"""Many pictures: what is written where, painted one by one or by several processes."""
