r"""Regular expressions of filters: RE2, which takes time linear in the text whatever the pattern.

A backtracking engine such as Python's or MongoDB's can take exponential time (`(a+)+$` on a row of `a`), and nobody
could stop it. RE2 refuses what needs backtracking, look-around and back references, and its memory has a bound here.

Options are MongoDB's: `i` ignores case, `m` lets `^` and `$` match at lines, `s` lets `.` match a newline, `x` ignores
blanks and comments in the pattern, `u` says what holds anyway.

Source: https://github.com/google/re2/wiki/Syntax; MongoDB manual, "$regex".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from parquedb.documents.values import type_name
from parquedb.errors import ValidationError

OPTIONS: Final = "imsxu"
PATTERN_CHARS_MAX: Final = 4_096
PROGRAM_MAX: Final = 2_000
"""Instructions of a compiled pattern. Each costs at most 4 ns per byte of text, hardly anything as a rule."""

_MEMORY_MAX: Final = 512 * 1024
"""Bytes of one compiled pattern with its caches; RE2 keeps the last 128 patterns."""

_FLAGS: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
_META: Final = frozenset("\\.^$|?*+()[]{}")
_BLANKS: Final = frozenset(" \t\n\r\v\f")


@dataclass(frozen=True, slots=True)
class Regex:
    """A pattern with its options, a subset of `imsx` in this order. It may be wrong until `check` says otherwise."""

    pattern: str
    options: str = ""

    @classmethod
    def of(cls, given: re.Pattern[Any]) -> Regex:
        """Return a compiled pattern of Python's as it is written.

        Raises:
            ValidationError: a pattern of bytes.
        """
        if not isinstance(given.pattern, str):
            raise _refused("a pattern of str", "a pattern of bytes")
        return cls(given.pattern, "".join(name for name, flag in _FLAGS.items() if given.flags & flag))

    def check(self) -> Regex:
        """Compile it.

        Raises:
            ValidationError: no pattern that RE2 understands, or too large a one.
        """
        if len(self.pattern) > PATTERN_CHARS_MAX:
            raise _refused(f"a pattern of at most {PATTERN_CHARS_MAX:,} characters", f"one of {len(self.pattern):,}")
        self.program_size()
        return self

    def program_size(self) -> int:
        """Return the number of instructions of the compiled pattern.

        Raises:
            ValidationError: as `check`.
        """
        size: int = _compiled(self).programsize
        if size > PROGRAM_MAX:
            raise _refused(
                f"a pattern that takes at most {PROGRAM_MAX:,} instructions", f"one that takes {size:,}; repeat less"
            )
        return size

    def search(self) -> Callable[[str], bool]:
        """Return the test whether a text has a match anywhere."""
        find = _compiled(self).search
        return lambda text: find(text.encode("utf-8", "surrogatepass")) is not None

    def source(self) -> str:
        """Return the whole of it in RE2's syntax, options in front."""
        flags = "".join(option for option in self.options if option != "x")
        pattern = _without_blanks(self.pattern) if "x" in self.options else self.pattern
        return f"(?{flags}){pattern}" if flags else pattern

    def prefix(self) -> str:
        """Return what every matching text begins with; "" where nothing is certain."""
        # An `|` may make all of it optional, also inside a group that would have to be found first.
        if self.options.strip("s") or not self.pattern.startswith("^") or "|" in self.pattern:
            return ""
        found: list[str] = []
        at, pattern = 1, self.pattern
        while at < len(pattern) and (pattern[at] not in _META or _is_quoted(pattern, at)):
            at += pattern[at] == "\\"
            found.append(pattern[at])
            at += 1
        if at < len(pattern) and pattern[at] in "?*{":
            found = found[:-1]  # The last one may be left out.
        return "".join(found)


def ordered(options: str) -> str:
    """Return options in one order, each once, without `u`.

    Raises:
        ValidationError: another letter.
    """
    wrong = sorted(set(options) - set(OPTIONS))
    if wrong:
        raise _refused(f"options out of {', '.join(OPTIONS)}", repr(wrong[0]))
    return "".join(option for option in _FLAGS if option in options)


def read(pattern: Any, options: Any) -> Regex:
    """Return the operands of `$regex` and `$options` as one, checked.

    Raises:
        ValidationError: they are not understood.
    """
    if isinstance(pattern, re.Pattern):
        pattern = Regex.of(pattern)
    if options is not None and not isinstance(options, str):
        raise _refused("options of str", type_name(options))
    if isinstance(pattern, Regex):
        if pattern.options and options:
            raise _refused("options in $options or in the compiled pattern", "both")
        return Regex(pattern.pattern, ordered(pattern.options + (options or ""))).check()
    if type(pattern) is not str:
        raise _refused("a str or a compiled pattern", type_name(pattern))
    return Regex(pattern, ordered(options or "")).check()


def _refused(expected: str, actual: str) -> ValidationError:
    return ValidationError(field="$regex", expected=expected, actual=actual)


def _compiled(regex: Regex) -> Any:
    import re2  # noqa: PLC0415 - only filters that search need it

    options = re2.Options()
    options.max_mem = _MEMORY_MAX
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(regex.source(), options)
    except UnicodeEncodeError:
        raise _refused("a pattern of valid Unicode", "a lone surrogate") from None
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise _refused(
            "a regular expression as RE2 takes it, without look-around and back references",
            f"{regex.pattern[:80]!r} ({reason})",
        ) from None


def _is_quoted(pattern: str, at: int) -> bool:
    # A letter or digit behind a backslash stands for something else, anything else for itself.
    return pattern[at] == "\\" and at + 1 < len(pattern) and not pattern[at + 1].isalnum()


def _without_blanks(pattern: str) -> str:
    """Return a pattern without its blanks and comments, as option `x` reads it."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern[at] in _BLANKS:
            at += 1
        elif pattern[at] == "#":
            end = pattern.find("\n", at)
            at = len(pattern) if end < 0 else end + 1
        else:
            end = _token_end(pattern, at)
            if found and pattern[at - 1] in _BLANKS and found[-1][-1].isalnum() and pattern[at].isalnum():
                found.append("(?:)")  # Or `\x4 1` would become `\x41`.
            found.append(pattern[at:end])
            at = end
    return "".join(found)


def _token_end(pattern: str, at: int) -> int:
    """Return where the escape, quotation, class or character that begins at `at` ends."""
    if pattern.startswith("\\Q", at):
        end = pattern.find("\\E", at)
        return len(pattern) if end < 0 else end + 2
    if pattern[at] == "\\":
        return at + 2
    if pattern[at] != "[":
        return at + 1
    at += 1 + pattern.startswith("^", at + 1)
    at += pattern.startswith("]", at)  # There it stands for itself.
    while at < len(pattern) and pattern[at] != "]":
        if pattern.startswith("[:", at) and (end := pattern.find(":]", at)) >= 0:
            at = end + 2
        else:
            at += 2 if pattern[at] == "\\" else 1
    return at + 1
