"""Every scene, by what suffers."""
