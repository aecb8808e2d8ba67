"""The base of every error: facts in `context`, a code, a chain of causes, and safe passage between processes."""

import copy
import pickle
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar, cast, overload

from parquedb.errors.codes import ErrorCode
from parquedb.errors.plain import jsonable, qualified_name, stack_of, text_of

T = TypeVar("T")

_CHAIN_MAX = 32
_RETRY_AFTER_S_MAX = 1e9
_OWN_ATTRIBUTES = frozenset({"_message", "_code", "_context", "cause"})


class Fact(Generic[T]):
    """A read-only attribute of an error that is kept in its `context`; None when it was not given."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: "ParqueDBError", owner: type) -> T: ...
    def __get__(self, instance: "ParqueDBError | None", owner: type) -> Self | T:
        return self if instance is None else cast(T, instance.context.get(self._name))

    def __set__(self, instance: "ParqueDBError", value: object) -> None:
        raise AttributeError(f"{self._name!r} of {type(instance).__name__} is read-only")


class _Cause:
    """`error.cause`, an alias of `__cause__`, so that `raise ... from` counts too.

    It has no `__set__` on purpose: Ray's wrapper class inherits ours and assigns its own `cause`, which must win there.
    """

    def __get__(self, instance: "ParqueDBError | None", owner: type) -> BaseException | None:
        return None if instance is None else instance.__cause__


class ParqueDBError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened; worded from the facts when empty.
        code: Overrides the code of the class.
        context: Facts by name; names given as keywords win.
        cause: What led to this error; becomes `__cause__` as well.
        **facts: Facts by name; kept in `context`, those the class declares also as attributes.
    """

    default_code: ClassVar[ErrorCode] = ErrorCode.UNKNOWN
    cause = _Cause()

    def __init__(
        self,
        message: str = "",
        *,
        code: ErrorCode | None = None,
        context: Mapping[str, Any] | None = None,
        cause: BaseException | None = None,
        **facts: Any,
    ) -> None:
        self._code = type(self).default_code if code is None else code
        self._context = {text_of(name): value for name, value in (context or {}).items()} | facts
        self._message = message or self._words()
        super().__init__(self._message)
        if cause is not None:
            self.__cause__ = cause

    @property
    def message(self) -> str:
        """What happened, without the remote stack that Ray adds to `str(error)`."""
        return self._message

    @property
    def code(self) -> ErrorCode:
        """The stable code."""
        return self._code

    @property
    def context(self) -> Mapping[str, Any]:
        """The facts, read-only."""
        return MappingProxyType(self._context)

    @property
    def http_status(self) -> int:
        """HTTP status of a response that reports this error."""
        return self.code.http_status

    @property
    def retryable(self) -> bool:
        """Whether the very same call may be sent again; see `ErrorCode.retryable`."""
        return self.code.retryable

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before a repeat can succeed, where that is known."""
        value = self.context.get("retry_after")
        known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _RETRY_AFTER_S_MAX
        return float(cast(float, value)) if known else None

    def _describe(self) -> str:
        """Word the facts; subclasses say it better."""
        return self.code.value.lower().replace("_", " ")

    def _words(self) -> str:
        try:
            return self._describe()
        except Exception:  # noqa: BLE001 - a fact may be any object; one that cannot be worded must not hide the error
            return ParqueDBError._describe(self)

    def to_json(self, *, stack: bool = False) -> dict[str, Any]:
        """Return plain JSON data: name, code, number, message, context and the chain of causes.

        Never raises: a context value that is not JSON becomes text. `stack` adds the formatted traceback of each link.
        """
        data: dict[str, Any] | None = None
        for link in reversed(chain_of(self)):
            below, data = data, _link_to_json(link)
            if stack:
                data["stack"] = stack_of(link)
            if below is not None:
                data["cause"] = below
        return cast(dict[str, Any], data)

    @staticmethod
    def from_json(data: Any) -> "ParqueDBError":
        """Rebuild an error from `to_json` data; an unknown class becomes the nearest one by code. Never raises."""
        from parquedb.errors.convert import error_from_json  # noqa: PLC0415 - it needs the subclasses of this class

        return error_from_json(data)

    def __reduce__(self) -> tuple[Any, ...]:
        # The default protocol replays `args` into `__init__` and drops causes; and one value in the context
        # that does not pickle would make Ray replace the whole error by another one.
        return rebuild_chain, (tuple(_pack(link) for link in chain_of(self)),)

    def __copy__(self) -> Self:
        if unwrap(self) is not self:
            remake, arguments = self.__reduce__()[:2]
            return cast(Self, remake(*arguments))
        parts = Parts(type(self), self._message, self._code, self._context, _extra_of(self))
        return cast(Self, rebuild(parts, self.cause))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        if unwrap(self) is not self:
            remake, arguments = self.__reduce__()[:2]
            return cast(Self, remake(*copy.deepcopy(arguments, memo)))
        context = {name: _deep(value, memo) for name, value in self._context.items()}
        extra = {name: _deep(value, memo) for name, value in _extra_of(self).items()}
        return cast(Self, rebuild(Parts(type(self), self._message, self._code, context, extra), self.cause))


class ForeignError(Exception):
    """Stands for a cause from another library after it crossed a process boundary.

    Attributes:
        name: Qualified class name of the original, such as `botocore.exceptions.ClientError`.
        message: Its text.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(name, message)
        self.name = name
        self.message = message

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.message else self.name


def unwrap(error: T) -> T | ParqueDBError:
    """Return our own error from a `RayTaskError` that wraps it; anything else as it is."""
    inner = _without_ray(error)
    return inner if isinstance(inner, ParqueDBError) else error


def _without_ray(error: object) -> object:
    # Ray is not imported for this: without its module nothing can be an instance of its class.
    task_error = getattr(sys.modules.get("ray.exceptions"), "RayTaskError", None)
    for _ in range(_CHAIN_MAX):
        if task_error is None or not isinstance(error, task_error):
            break
        inner = vars(error).get("cause")
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


def chain_of(error: BaseException) -> list[BaseException]:
    """Return the error and its causes, outermost first, Ray's wrappers taken off; finite even for a cycle."""
    links: list[BaseException] = []
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and len(links) < _CHAIN_MAX:
        link = cast(BaseException, _without_ray(link))
        # `raise error.cause from error` around `ray.get` makes our error the cause of its own wrapper.
        if id(link) in seen:
            break
        seen.add(id(link))
        links.append(link)
        link = link.cause if isinstance(link, ParqueDBError) else link.__cause__
    return links


class Parts(NamedTuple):
    """All there is to an error of ours but its cause; `extra` holds notes and what a user's subclass keeps."""

    cls: type[ParqueDBError]
    message: str
    code: ErrorCode
    context: Mapping[str, Any]
    extra: Mapping[str, Any]


class ForeignParts(NamedTuple):
    """What is kept of an error that is not ours."""

    name: str
    message: str


def rebuild(parts: Parts, cause: BaseException | None) -> ParqueDBError:
    """Make an error without calling the `__init__` of its class, whose parameters may differ."""
    error = BaseException.__new__(parts.cls)
    ParqueDBError.__init__(error, parts.message, code=parts.code, context=parts.context, cause=cause)
    vars(error).update(parts.extra)
    return error


def retold(error: ParqueDBError, message: str, facts: Mapping[str, Any]) -> ParqueDBError:
    """Return the same error in other words, with more facts."""
    return rebuild(Parts(type(error), message, error.code, {**error.context, **facts}, {}), error.cause)


def rebuild_chain(links: tuple[Parts | ForeignParts, ...]) -> BaseException:
    """Undo `__reduce__`: the first link, with the others as its chain of causes."""
    error: BaseException | None = None
    for link in reversed(links):
        if isinstance(link, Parts):
            error = rebuild(link, error)
        else:
            cause, error = error, ForeignError(*link)
            error.__cause__ = cause
    return cast(BaseException, error)


def _pack(link: BaseException) -> Parts | ForeignParts:
    if isinstance(link, ParqueDBError):
        return Parts(type(link), link._message, link._code, _portable(link._context), _portable(_extra_of(link)))
    return ForeignParts(foreign_name(link), foreign_message(link))


def _link_to_json(link: BaseException) -> dict[str, Any]:
    if isinstance(link, ParqueDBError):
        return {
            "name": type(link).__name__,
            "code": link.code.value,
            "number": link.code.number,
            "message": text_of(link.message),
            "context": jsonable(dict(link.context)),
        }
    return {"name": foreign_name(link), "message": foreign_message(link)}


def foreign_name(error: BaseException) -> str:
    """Return the qualified class name of a cause that is not ours."""
    return error.name if isinstance(error, ForeignError) else qualified_name(type(error))


def foreign_message(error: BaseException) -> str:
    """Return the text of a cause that is not ours."""
    return error.message if isinstance(error, ForeignError) else text_of(error)


def _extra_of(error: ParqueDBError) -> dict[str, Any]:
    # Notes (`add_note`) and what a user's subclass keeps for itself.
    return {name: value for name, value in vars(error).items() if name not in _OWN_ATTRIBUTES}


def _deep(value: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # noqa: BLE001 - any class may refuse in any way; an error must still copy
        return value


def _portable(value: Any, depth: int = 8) -> Any:
    """Return `value` if it survives pickling, else the same with what does not replaced by its text."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    try:
        pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes, made in this line
    except Exception:  # noqa: BLE001 - any class may refuse in any way; an error must still travel
        if type(value) is dict and depth:
            return {name: _portable(item, depth - 1) for name, item in value.items()}
        if type(value) in (list, tuple) and depth:
            return type(value)(_portable(item, depth - 1) for item in value)
        return jsonable(value)
    return value
