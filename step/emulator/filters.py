"""List filters: the AIP-160 dialect of Grafeas.

Grammar: https://github.com/grafeas/grafeas/tree/master/go/filtering and https://google.aip.dev/160
(a restriction compares one field with one literal; OR binds tighter than AND and than mere
juxtaposition, which also means AND).
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne

from step.emulator.refusal import Refusal, invalid

Value = str | datetime

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<operator> <= | >= | != | [=<>:] )
    | (?P<mark> [(),] )
    | (?P<minus> -(?=[\w(]) )
    | (?P<word> [\w.*/@+~-][\w.*/@+~-]* )
    )""",
    re.VERBOSE,
)
_FUNCTIONS: dict[str, Callable[[str, str], bool]] = {
    "has_prefix": str.startswith,
    "has_suffix": str.endswith,
}
_ORDER: dict[str, Callable[[Value, Value], bool]] = {
    "=": eq,
    "!=": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}
_KEYWORDS = frozenset({"AND", "OR", "NOT"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field operator literal``."""

    field: str
    operator: str
    literal: str

    def matches(self, fields: Mapping[str, Value]) -> bool:
        value = fields[self.field]
        if self.operator == ":":
            return self.literal == "*" or self.literal in _text(value)
        literal: Value = _time(self.literal) if isinstance(value, datetime) else self.literal
        return _ORDER[self.operator](value, literal)


@dataclass(frozen=True, slots=True)
class Call:
    """``has_prefix(field, "literal")`` or ``has_suffix(field, "literal")``."""

    function: str
    field: str
    literal: str

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return _FUNCTIONS[self.function](_text(fields[self.field]), self.literal)


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of an expression."""

    term: "Expression"

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return not self.term.matches(fields)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of several."""

    operands: tuple["Expression", ...]

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return any(term.matches(fields) for term in self.operands)


@dataclass(frozen=True, slots=True)
class And:
    """All of several; all of none matches everything."""

    operands: tuple["Expression", ...]

    def matches(self, fields: Mapping[str, Value]) -> bool:
        return all(term.matches(fields) for term in self.operands)


Expression = Comparison | Call | Not | Or | And


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter; the empty one matches everything."""

    expression: Expression

    @classmethod
    def parse(cls, text: str, fields: Collection[str]) -> "Filter":
        """Read a filter over these fields, given in camelCase and also known in snake_case.

        Raises Refusal (INVALID_ARGUMENT) for a text outside the grammar or an unknown field.
        """
        try:
            return cls(_Parser(text, fields).parse())
        except RecursionError:
            raise invalid("Invalid filter: it is nested too deeply.") from None

    def matches(self, fields: Mapping[str, Value]) -> bool:
        """Whether a resource with these values is chosen."""
        return self.expression.matches(fields)

    def suffixes(self, *fields: str) -> Iterator[str]:
        """What one of the fields ends with in all that is chosen, as far as that is plain."""
        whole = self.expression
        for term in whole.operands if isinstance(whole, And) else (whole,):
            match term:
                case Comparison(field, "=", literal) | Call("has_suffix", field, literal):
                    if field in fields:
                        yield literal


class _Parser:
    """Recursive descent, one method a rule of the grammar."""

    def __init__(self, text: str, fields: Collection[str]) -> None:
        self._text = text
        self._tokens = self._scan(text.rstrip())
        self._at = 0
        self._fields = {spelling: name for name in fields for spelling in (name, _snake(name))}

    def parse(self) -> Expression:
        if not self._tokens:
            return And(())
        expression = self._expression()
        if self._at < len(self._tokens):
            raise self._error(f"unexpected {self._tokens[self._at][1]!r}")
        return expression

    def _expression(self) -> Expression:
        operands = [self._factor()]
        while self._taken("word", "AND") or self._starts_term():
            operands.append(self._factor())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _factor(self) -> Expression:
        operands = [self._term()]
        while self._taken("word", "OR"):
            operands.append(self._term())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _term(self) -> Expression:
        if self._taken("word", "NOT") or self._taken("minus", "-"):
            return Not(self._simple())
        return self._simple()

    def _simple(self) -> Expression:
        if self._taken("mark", "("):
            inner = self._expression()
            self._expect("mark", ")")
            return inner
        name = self._next("word", "a field")
        if name in _FUNCTIONS and self._taken("mark", "("):
            field = self._field(self._next("word", "a field"))
            self._expect("mark", ",")
            literal = self._literal()
            self._expect("mark", ")")
            return Call(name, field, literal)
        field = self._field(name)
        operator = self._next("operator", "a comparison")
        literal = self._literal()
        if field.endswith("Time") and operator != ":":
            self._check_time(literal)
        return Comparison(field, operator, literal)

    def _field(self, name: str) -> str:
        if name not in self._fields:
            raise self._error(f"unknown field {name!r}")
        return self._fields[name]

    def _literal(self) -> str:
        kind, text = self._peek()
        if kind == "string":
            self._at += 1
            return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
        return self._next("word", "a value")

    def _check_time(self, literal: str) -> None:
        try:
            _time(literal)
        except ValueError:
            raise self._error(f"{literal!r} is not an RFC 3339 time") from None

    def _starts_term(self) -> bool:
        kind, text = self._peek()
        return (kind, text) == ("mark", "(") or kind == "minus" or (kind == "word" and text != "OR")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _taken(self, kind: str, text: str) -> bool:
        if self._peek() != (kind, text):
            return False
        self._at += 1
        return True

    def _expect(self, kind: str, text: str) -> None:
        if not self._taken(kind, text):
            raise self._error(f"expected {text!r}")

    def _next(self, kind: str, what: str) -> str:
        given, text = self._peek()
        if given != kind or text in _KEYWORDS:
            raise self._error(f"expected {what}")
        self._at += 1
        return text

    def _scan(self, text: str) -> list[tuple[str, str]]:
        tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise self._error(f"unexpected {text[at:].lstrip()[:1]!r}")
            tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return tokens

    def _error(self, problem: str) -> Refusal:
        return invalid(f"Invalid filter {self._text!r}: {problem}.")


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda upper: f"_{upper[0].lower()}", name)


def _text(value: Value) -> str:
    return value if isinstance(value, str) else value.isoformat()


def _time(text: str) -> datetime:
    """An RFC 3339 time; one without a zone is UTC."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
