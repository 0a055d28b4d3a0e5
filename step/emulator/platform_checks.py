"""The checks of platform policies: which are well-formed, and what they say of an image.

Fields and their meaning:
https://cloud.google.com/binary-authorization/docs/reference/rest/v1/projects.platforms.policies
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.cloud import binaryauthorization_v1 as ba
from grafeas import grafeas_v1 as g

from step.emulator.binary_authorization import check_payload, digest_of
from step.emulator.grafeas import Grafeas
from step.emulator.patterns import covers
from step.emulator.refusal import Refusal, invalid
from step.emulator.shapes import Document, Shape
from step.emulator.verification import NotVerified, PkixKey

_ALGORITHMS = ba.PkixPublicKey.SignatureAlgorithm

ALLOWLIST: Shape = {"allowPattern": [str]}

# Each allows its own severity and what is lower; only ALLOW_ALL allows an unspecified one.
_LIMITS = ("BLOCK_ALL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL", "ALLOW_ALL")
_LIMIT: Shape = frozenset({"MAXIMUM_ALLOWED_SEVERITY_UNSPECIFIED", *_LIMITS})
_VULNERABILITY_PROJECTS = "containerAnalysisVulnerabilityProjects"
_ATTESTATION_PROJECTS = "containerAnalysisAttestationProjects"
_MAX_PROJECTS = 10

_KINDS: dict[str, Shape] = {
    "alwaysDeny": bool,
    "imageFreshnessCheck": {"maxUploadAgeDays": int},
    "sigstoreSignatureCheck": {
        "sigstoreAuthorities": [
            {"displayName": str, "publicKeySet": {"publicKeys": [{"publicKeyPem": str}]}}
        ]
    },
    "simpleSigningAttestationCheck": {
        "attestationAuthenticators": [
            {
                "displayName": str,
                "pkixPublicKeySet": {
                    "pkixPublicKeys": [
                        {
                            "publicKeyPem": str,
                            "signatureAlgorithm": frozenset(_ALGORITHMS.__members__),
                            "keyId": str,
                        }
                    ]
                },
            }
        ],
        _ATTESTATION_PROJECTS: [str],
    },
    "slsaCheck": {
        "rules": [
            {
                "attestationSource": {_ATTESTATION_PROJECTS: [str]},
                "configBasedBuildRequired": bool,
                "customConstraints": str,
                "trustedBuilder": frozenset({"BUILDER_UNSPECIFIED", "GOOGLE_CLOUD_BUILD"}),
                "trustedSourceRepoPatterns": [str],
            }
        ]
    },
    "trustedDirectoryCheck": {"trustedDirPatterns": [str]},
    "vulnerabilityCheck": {
        "maximumFixableSeverity": _LIMIT,
        "maximumUnfixableSeverity": _LIMIT,
        "allowedCves": [str],
        "blockedCves": [str],
        _VULNERABILITY_PROJECTS: [str],
    },
}
CHECK: Shape = {"displayName": str, "imageAllowlist": ALLOWLIST, **_KINDS}

# A `*` stands at the end, after the registry.
_ALLOW_PATTERN = re.compile(r"[^*\s]+|[^*/\s]+/[^*\s]*\*{1,2}")
# Also at the beginning, for what varies in a registry's subdomain: TrustedDirectoryCheck.
_DIRECTORY = re.compile(
    r"(?P<sub>\*[.-])?(?P<registry>[a-z0-9-]+(\.[a-z0-9-]+)+(:[0-9]+)?)"
    r"(?P<path>(/[^*/\s]+)*)((?P<last>/[^*/\s]*)(?P<wild>\*{1,2}))?"
)
_PROJECT = re.compile(r"projects/(?!\d+$)[^/]+")
# What gcloud signs with --pae-encode-payload, unless told otherwise by --dsse-type.
_DSSE_TYPE = b"application/vnd.dev.cosign.simplesigning.v1+json"


class Verdict(StrEnum):
    """What is found of a check, an image, a Pod or all Pods."""

    CONFORMANT = "CONFORMANT"
    NON_CONFORMANT = "NON_CONFORMANT"
    ERROR = "ERROR"

    @classmethod
    def of(cls, verdicts: Iterable[str]) -> "Verdict":
        """The verdict on the whole: non-conformance has precedence over errors."""
        given = set(verdicts)
        for verdict in (cls.NON_CONFORMANT, cls.ERROR):
            if verdict in given:
                return verdict
        return cls.CONFORMANT


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a check found of an image."""

    verdict: Verdict
    explanation: str


def kind_of(check: Document) -> str:
    """The one field that says what a check requires; Refusal unless it is one."""
    kinds = [kind for kind in _KINDS if kind in check]
    if len(kinds) != 1:
        raise invalid(f"A check needs exactly one of {', '.join(_KINDS)}.")
    return kinds[0]


def check_check(check: Document) -> None:
    """Refuse (INVALID_ARGUMENT) a check that could not be evaluated as it is meant."""
    kind_of(check)
    match check:
        case {"trustedDirectoryCheck": rule}:
            for pattern in _required(rule, "trustedDirPatterns"):
                _directories(pattern)
        case {"simpleSigningAttestationCheck": rule}:
            _check_projects(rule, _ATTESTATION_PROJECTS)
            for authenticator in _required(rule, "attestationAuthenticators"):
                for key in _required(authenticator.get("pkixPublicKeySet", {}), "pkixPublicKeys"):
                    _public_key(key)
        case {"vulnerabilityCheck": rule}:
            _check_projects(rule, _VULNERABILITY_PROJECTS)
            _check_limits(rule)
        case {"imageFreshnessCheck": {"maxUploadAgeDays": days}} if days > 0:
            pass
        case {"imageFreshnessCheck": _}:
            raise invalid("maxUploadAgeDays must be greater than zero.")


def check_allowlist(holder: Document) -> None:
    """Refuse (INVALID_ARGUMENT) an image allowlist with no or with malformed patterns."""
    if "imageAllowlist" in holder:
        for pattern in _required(holder["imageAllowlist"], "allowPattern"):
            if not _ALLOW_PATTERN.fullmatch(pattern):
                raise invalid(f"{pattern!r} is not an image name pattern.")


def matched_pattern(holder: Document, image: str) -> str | None:
    """The first pattern of an image allowlist that covers the image."""
    patterns = holder.get("imageAllowlist", {}).get("allowPattern", ())
    return next((str(pattern) for pattern in patterns if covers(pattern, image)), None)


class Checks:
    """Evaluates checks with what Container Analysis lists at that time."""

    def __init__(self, grafeas: Grafeas) -> None:
        self._grafeas = grafeas

    def outcome(self, check: Document, image: str) -> Outcome:
        """What a well-formed check says of an image; never conformant where it cannot be told."""
        kind = kind_of(check)
        match check:
            case {"alwaysDeny": True}:
                return Outcome(Verdict.NON_CONFORMANT, "Every image is denied.")
            case {"trustedDirectoryCheck": rule}:
                return _in_trusted_directory(rule, image)
            case {"simpleSigningAttestationCheck": rule}:
                evaluate = self._attested
            case {"vulnerabilityCheck": rule}:
                evaluate = self._without_vulnerabilities
            case _:
                return _error(f"The emulator does not evaluate {kind}.")
        # https://cloud.google.com/binary-authorization/docs/use-pre-evaluation
        digest = digest_of(image)
        if digest is None:
            return _error("The image must be named by its digest, as IMAGE_URL@IMAGE_DIGEST.")
        return evaluate(rule, digest)

    def _attested(self, rule: Document, digest: str) -> Outcome:
        projects = rule.get(_ATTESTATION_PROJECTS, ())
        if not projects:
            return _error(f"{_ATTESTATION_PROJECTS} names no project to look in.")
        keys = [
            _public_key(key)
            for authenticator in rule["attestationAuthenticators"]
            for key in authenticator["pkixPublicKeySet"]["pkixPublicKeys"]
        ]
        for occurrence in self._occurrences(projects, "ATTESTATION", digest):
            payload = occurrence.attestation.serialized_payload
            for signature in occurrence.attestation.signatures:
                for key_id, key in keys:
                    if key_id == signature.public_key_id and _verifies(
                        key, signature.signature, payload, digest
                    ):
                        return Outcome(
                            Verdict.CONFORMANT, f"{occurrence.name} verifies with {key_id!r}."
                        )
        return Outcome(
            Verdict.NON_CONFORMANT,
            f"No attestation of {digest} in {', '.join(projects)} verifies with a trusted key.",
        )

    def _without_vulnerabilities(self, rule: Document, digest: str) -> Outcome:
        projects = rule.get(_VULNERABILITY_PROJECTS, ())
        scanned = [project for project in projects if self._is_scanned(project, digest)]
        if not scanned:
            looked = ", ".join(projects) or "no project at all"
            return _error(f"No valid vulnerability scan of {digest}: looked in {looked}.")
        issues = self._occurrences(projects, "VULNERABILITY", digest)
        violations = list(filter(None, (_violation(rule, issue) for issue in issues)))
        if violations:
            return Outcome(Verdict.NON_CONFORMANT, "; ".join(violations) + ".")
        return Outcome(Verdict.CONFORMANT, f"Scanned in {', '.join(scanned)}; no violation found.")

    def _is_scanned(self, project: str, digest: str) -> bool:
        """Whether there is a vulnerability scan and every one has ended well."""
        scans = [
            occurrence.discovery.analysis_status
            for occurrence in self._occurrences([project], "DISCOVERY", digest)
            if self._is_of_vulnerabilities(occurrence.note_name)
        ]
        finished = g.DiscoveryOccurrence.AnalysisStatus.FINISHED_SUCCESS
        return bool(scans) and all(status == finished for status in scans)

    def _is_of_vulnerabilities(self, note: str) -> bool:
        try:
            written = self._grafeas.get_note(g.GetNoteRequest(name=note))
        except Refusal:  # a note may be deleted while its occurrences stay
            return False
        return written.discovery.analysis_kind == g.NoteKind.VULNERABILITY

    def _occurrences(
        self, projects: Iterable[str], kind: str, digest: str
    ) -> Iterator[g.Occurrence]:
        for project in projects:
            home = project.removeprefix("projects/")
            about = f'has_suffix(resourceUrl, "{digest}")'
            for occurrence in self._grafeas.listed(about, kind=kind, projectId=home):
                if digest_of(occurrence.resource_uri) == digest:
                    yield occurrence


def _error(explanation: str) -> Outcome:
    return Outcome(Verdict.ERROR, explanation)


def _required(holder: Document, name: str) -> list[Any]:
    entries: list[Any] = holder.get(name, [])
    if not entries:
        raise invalid(f"{name} must have at least one entry.")
    return entries


def _check_projects(rule: Document, name: str) -> None:
    projects = rule.get(name, [])
    if len(projects) > _MAX_PROJECTS:
        raise invalid(f"{name} holds at most {_MAX_PROJECTS} projects.")
    for project in projects:
        if not _PROJECT.fullmatch(project):
            raise invalid(f"{name}: {project!r} is not projects/[PROJECT_ID].")


def _check_limits(rule: Document) -> None:
    for name in ("maximumFixableSeverity", "maximumUnfixableSeverity"):
        if rule.get(name) not in _LIMITS:
            raise invalid(f"{name} is required.")


def _public_key(key: Document) -> tuple[str, PkixKey]:
    """A key and the id that signatures must name."""
    given = key.get("signatureAlgorithm", _ALGORITHMS(0).name)
    parsed = PkixKey.parse(key.get("publicKeyPem", ""), _ALGORITHMS.__members__[given].name)
    return key.get("keyId") or parsed.default_id(), parsed


def _verifies(key: PkixKey, signature: bytes, payload: bytes, digest: str) -> bool:
    """Whether a signature over the payload or over its PAE is good, and the payload's digest so."""
    for message in (payload, _pae(payload)):
        try:
            key.verify(signature, message)
            check_payload(payload, digest)
        except NotVerified:
            continue
        return True
    return False


def _pae(payload: bytes) -> bytes:
    """https://github.com/secure-systems-lab/dsse/blob/master/protocol.md"""
    return b"DSSEv1 %d %s %d %s" % (len(_DSSE_TYPE), _DSSE_TYPE, len(payload), payload)


def _in_trusted_directory(rule: Document, image: str) -> Outcome:
    # A tag and a digest stand behind the last slash.
    directory = image.rpartition("/")[0]
    for pattern in rule["trustedDirPatterns"]:
        if _directories(pattern).fullmatch(directory):
            return Outcome(Verdict.CONFORMANT, f"{directory} matches {pattern}.")
    return Outcome(Verdict.NON_CONFORMANT, f"{directory or image} is no trusted directory.")


def _directories(pattern: str) -> re.Pattern[str]:
    """What a trusted directory pattern matches; Refusal (INVALID_ARGUMENT) if it is none."""
    parts = _DIRECTORY.fullmatch(pattern)
    if parts is None:
        raise invalid(f"{pattern!r} is not a trusted directory pattern.")
    sub = r"[a-z0-9-]+" + re.escape(parts["sub"][1:]) if parts["sub"] else ""
    literal = re.escape(parts["registry"] + parts["path"] + (parts["last"] or ""))
    return re.compile(sub + literal + {None: "", "*": "[^/]*", "**": ".*"}[parts["wild"]])


def _violation(rule: Document, occurrence: g.Occurrence) -> str | None:
    """What a vulnerability violates, if anything; a CVE that is blocked is so before all else."""
    cve = occurrence.note_name.rpartition("/")[2]
    if cve in rule.get("blockedCves", ()):
        return f"{cve} is blocked"
    if cve in rule.get("allowedCves", ()):
        return None
    fixable = _is_fixable(occurrence.vulnerability)
    limit = rule["maximumFixableSeverity" if fixable else "maximumUnfixableSeverity"]
    severity = g.Severity(occurrence.vulnerability.effective_severity)
    # Grafeas' severities count from MINIMAL = 1, the limits from BLOCK_ALL = 0.
    if limit == "ALLOW_ALL" or (severity and severity <= _LIMITS.index(limit)):
        return None
    return f"{'fixable' if fixable else 'unfixable'} {cve} is {severity.name}, the limit {limit}"


def _is_fixable(vulnerability: g.VulnerabilityOccurrence) -> bool:
    """vulnerability.proto: a fixed version of kind MAXIMUM is one that does not exist."""
    unknown = (g.Version.VersionKind.VERSION_KIND_UNSPECIFIED, g.Version.VersionKind.MAXIMUM)
    return vulnerability.fix_available or any(
        issue.fix_available or issue.fixed_version.kind not in unknown
        for issue in vulnerability.package_issue
    )
