"""Documents in and out: the tables in which municipalities publish how their plans are going."""
