"""Settings of generation on the command line."""

import json
import re
from collections.abc import Sequence
from typing import Any

from bpjax.errors import UserError

_WORDS = {"True": True, "False": False, "None": None}
"""Values as Python writes them, beside those of JSON."""


def read_settings(arguments: Sequence[str]) -> dict[str, Any]:
    """Settings by name, of arguments such as `--generation.num_beams=4`.

    Raises:
      UserError: another argument.
    """
    found = {}
    for argument in arguments:
        match = re.fullmatch(r"--generation\.(\w+)=(.*)", argument, re.DOTALL)
        if not match:
            raise UserError(
                f"argument {argument!r}: expected --generation.FIELD=VALUE, or an option of "
                "bpjax predict --help; write it so"
            )
        name, value = match.groups()
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = _WORDS.get(value, value)
    return found
