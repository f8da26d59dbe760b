"""Deep followers: networks, losses, loops, environments, reward learning; needs the extra `envs`."""
