"""The syntax of names, labels and the like: k8s.io/apimachinery/pkg/util/validation, with its wording."""

from __future__ import annotations

import re

LABEL_1123 = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN_1123 = rf"{LABEL_1123}(\.{LABEL_1123})*"
QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
LABEL_VALUE = f"({QUALIFIED})?"

SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN_1123}')"
)
LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL_1123}')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{QUALIFIED}')"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{LABEL_VALUE}')"
)


# apimachinery counts the same lengths in characters for names and in bytes for label keys and values.
CHARACTERS, BYTES = "characters", "bytes"


def _problems(value: str, pattern: str, text: str, limit: int, unit: str) -> list[str]:
    problems = []
    if len(value) > limit:
        problems.append(f"must be no more than {limit} {unit}")
    if not re.fullmatch(pattern, value):
        problems.append(text)
    return problems


def subdomain_problems(name: str, unit: str = CHARACTERS) -> list[str]:
    return _problems(name, SUBDOMAIN_1123, SUBDOMAIN_TEXT, 253, unit)


def label_problems(name: str) -> list[str]:
    dotted = "." in name and re.fullmatch(SUBDOMAIN_1123, name)
    return _problems(name, LABEL_1123, "must not contain dots" if dotted else LABEL_TEXT, 63, CHARACTERS)


def path_segment_problems(name: str) -> list[str]:
    """Names of RBAC objects: whatever fits into a URL's path segment."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in name]


def label_key_problems(key: str) -> list[str]:
    """What label and annotation keys and finalizers must be: a name, perhaps after a domain and a slash."""
    prefix, slash, name = key.rpartition("/")
    problems = []
    if slash:
        if "/" in prefix:
            return [
                f"a valid label key {QUALIFIED_TEXT.removeprefix('name part ')} with an optional DNS subdomain prefix "
                "and '/' (e.g. 'example.com/MyName')"
            ]
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += ["prefix part " + problem for problem in subdomain_problems(prefix, BYTES)]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not re.fullmatch(QUALIFIED, name):
        problems.append(QUALIFIED_TEXT)
    return problems


def label_value_problems(value: str) -> list[str]:
    return _problems(value, LABEL_VALUE, LABEL_VALUE_TEXT, 63, BYTES)
