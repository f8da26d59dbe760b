"""Deep followers: networks, loops, environments, reward learning; needs the extra `envs`."""
