"""What may be a label's key and value, and what Kubernetes says of what may not.

Source: k8s.io/apimachinery/pkg/api/validate/content.
"""

import re
from collections.abc import Iterator

_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME_PART = re.compile(_NAME)
_VALUE = re.compile(f"({_NAME})?")
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")

_MOST_BYTES = 63
_MOST_BYTES_OF_SUBDOMAIN = 253
_NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
    f" (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    f" '{_VALUE.pattern}')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and"
    f" end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN.pattern}')"
)


def problems_of_key(key: str) -> str:
    """Why it can't be a label's key; nothing if it can."""
    if key.count("/") > 1:
        return (
            f"a valid label key {_NAME_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
    prefix, slash, name = key.rpartition("/")
    of_prefix = _problems_of_prefix(prefix) if slash else ()
    return "; ".join(
        [
            *(f"prefix part {problem}" for problem in of_prefix),
            *(f"name part {each}" for each in _problems_of_name(name)),
        ]
    )


def problems_of_value(value: str) -> str:
    """Why it can't be a label's value; nothing if it can."""
    return "; ".join(_broken(value, _MOST_BYTES, _VALUE, _VALUE_RULE))


def _problems_of_prefix(prefix: str) -> Iterator[str]:
    if not prefix:
        yield "must be non-empty"
    else:
        yield from _broken(prefix, _MOST_BYTES_OF_SUBDOMAIN, _SUBDOMAIN, _SUBDOMAIN_RULE)


def _problems_of_name(name: str) -> Iterator[str]:
    if not name:
        yield "must be non-empty"
    yield from _broken(name, _MOST_BYTES, _NAME_PART, _NAME_RULE)


def _broken(text: str, most_bytes: int, pattern: re.Pattern[str], rule: str) -> Iterator[str]:
    if len(text.encode("utf-8", "surrogateescape")) > most_bytes:
        yield f"must be no more than {most_bytes} bytes"
    if not pattern.fullmatch(text):
        yield rule
