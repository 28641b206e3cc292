"""What the service promises, each promise with a figure: short ones in `make test`, full ones in `make prove`."""
