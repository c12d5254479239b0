"""beanstalkd's rule for tube names, checked before one goes into a command: a line break in it is a second command."""

import re

from app.settings import SettingError

_SHOWN = 60  # characters of a refused name: enough to know it by, too few to fill a screen
_TUBE_NAME = re.compile(r"(?!-)[A-Za-z0-9\-+/;.$_()]{1,200}")


class TubeNameError(SettingError):
    """A text that can't name a tube; `str()` is a sentence for the person who wrote it."""


def check_tube_name(name: str) -> str:
    """Return `name` if beanstalkd accepts it (doc/protocol.txt, "Tubes": 1 to 200 bytes). Raises TubeNameError."""
    if not is_tube_name(name):
        raise TubeNameError(
            f"{_shown(name)} can't name a tube: beanstalkd takes 1 to 200 of the characters"
            " A-Z a-z 0-9 - + / ; . $ _ ( ) and no '-' at the start"
        )
    return name


def is_tube_name(name: str) -> bool:
    """Whether beanstalkd accepts `name`."""
    return _TUBE_NAME.fullmatch(name) is not None


def _shown(name: str) -> str:
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}… ({len(name)} characters)"
