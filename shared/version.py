"""The version of this package, in one place for `--version`, build info and records."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("sfvopi-fleet")
except PackageNotFoundError:  # run from a checkout that is not installed
    VERSION = "0.0.0"
