"""`--help` as plain text: options under headings, and examples, within 80 columns."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

# What to type, by verb; `VERB --help` ends with it.
_EXAMPLES = {
    "attest": (
        "attest IMAGE --attestor projects/P/attestors/A",
        "attest --from-file metadata.json --attestor A --project P",
        "attest --image NAME --digest DIGEST --attestor A --project P",
        "attest IMAGE --attestor A --project P --policy-check",
    ),
    "reattest": (
        "reattest --from-key OLD --attestor A --kms-key-version NEW",
        "reattest --from-pods pods.json --attestor A --dry-run",
        "reattest --from-file images.txt --attestor A --yes",
    ),
    "verify": ("verify IMAGE --attestor A --attestor B --project P",),
    "gate": (
        "gate IMAGE --attestor A --project P --timeout 30m",
        "gate IMAGE --attestor A --project P -- systemctl start app",
    ),
    "list": (
        "list --attestor projects/P/attestors/A",
        "list IMAGE --attestor A --project P",
        "list --project P --public-key-id ID",
    ),
    "discover": (
        "discover --from-file metadata.json",
        "discover docker.io/library/debian:13 --resolve-tags",
    ),
    "payload": ("payload IMAGE > payload.json",),
    "emulator": (
        "emulator --seed seed.yaml -- bash",
        "emulator --seed seed.yaml -- ./try-attest.sh",
        "emulator --seed seed.yaml --port 9010 --visibility-delay 3s",
    ),
    "show": ("policy show --project P",),
    "check": (
        "policy check IMAGE --project P --cluster us-east1.prod",
        "policy check IMAGE --policy-file policy.yaml",
    ),
}


class Verb(TyperCommand):
    """A verb with a help of its own: what typer draws cuts options off at 80 columns."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The arguments and options under the headings that they name, in order."""
        sections: dict[str, list[tuple[str, str]]] = {}
        parameter: Any
        for parameter in self.get_params(ctx):
            if not parameter.hidden:
                heading = parameter.rich_help_panel or "Options"
                sections.setdefault(heading, []).append(_row(parameter))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples, which are not wrapped, so that they can be copied."""
        with formatter.section("Examples"):
            for example in _EXAMPLES[str(self.name)]:
                formatter.write(f"  binauthz-attest {example}\n")


def _row(parameter: Any) -> tuple[str, str]:
    """A parameter's name with what it takes, and its meaning with its default."""
    if parameter.param_type_name == "argument":
        return parameter.metavar, parameter.help or ""
    [flag] = parameter.opts
    name = f"--[no-]{flag.removeprefix('--')}" if parameter.secondary_opts else flag
    if parameter.metavar:
        name += f" {parameter.metavar}"
    match parameter.default:
        case None | False:
            default = ""
        case True:
            default = f" [default: {flag}]"
        case value:
            default = f" [default: {getattr(value, 'value', value)}]"
    return name, f"{parameter.help}{default}"
