"""The syntax of names, labels and the like: k8s.io/apimachinery/pkg/util/validation, with its wording."""

from __future__ import annotations

import re

LABEL_1123 = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN_1123 = rf"{LABEL_1123}(\.{LABEL_1123})*"
LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
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
LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    f"'{LABEL_1035}')"
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


def _problems(value: str, pattern: str, text: str, limit: int, prefix: str = "") -> list[str]:
    problems = []
    if len(value) > limit:
        problems.append(f"{prefix}must be no more than {limit} bytes")
    if not re.fullmatch(pattern, value):
        problems.append(prefix + text)
    return problems


def subdomain_problems(name: str) -> list[str]:
    return _problems(name, SUBDOMAIN_1123, SUBDOMAIN_TEXT, 253)


def label_problems(name: str) -> list[str]:
    return _problems(name, LABEL_1123, LABEL_TEXT, 63)


def label_1035_problems(name: str) -> list[str]:
    return _problems(name, LABEL_1035, LABEL_1035_TEXT, 63)


def path_segment_problems(name: str) -> list[str]:
    """Names of RBAC objects: whatever fits into a URL's path segment."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in name]


def label_key_problems(key: str) -> list[str]:
    """A qualified name, as label and annotation keys and finalizers are."""
    prefix, slash, name = key.rpartition("/")
    problems = []
    if slash:
        if "/" in prefix:
            return [
                f"a qualified name {QUALIFIED_TEXT.removeprefix('name part ')} with an optional DNS subdomain prefix "
                "and '/' (e.g. 'example.com/MyName')"
            ]
        if not prefix:
            problems.append("prefix part must be non-empty")
        else:
            problems += ["prefix part " + problem for problem in subdomain_problems(prefix)]
    if not name:
        problems.append("name part must be non-empty")
    return problems + _problems(name, QUALIFIED, QUALIFIED_TEXT, 63, "" if len(name) <= 63 else "name part ")


def label_value_problems(value: str) -> list[str]:
    return _problems(value, LABEL_VALUE, LABEL_VALUE_TEXT, 63)
