"""Deep followers: networks, losses, replay and environments; needs the extra `envs`."""
